"""On a GPU only operations with the same bits each time; on a CPU nothing is changed."""

import os

import pytest
import torch

from sslm_platform.engine.determinism import keep_deterministic


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.mark.parametrize(("has_gpu", "wanted"), [(True, True), (True, False), (False, True)])
def test_torch_is_told_on_a_gpu_alone(monkeypatch, has_gpu, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    keep_deterministic(wanted)
    assert torch.are_deterministic_algorithms_enabled() == (has_gpu and wanted)
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == has_gpu
    assert torch.utils.deterministic.fill_uninitialized_memory != has_gpu
