"""What is said when an engine is built."""

import pytest
import torch

from sslm_platform.engine import factory
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec


@pytest.mark.parametrize(("precision", "said"), [("bf16", True), ("fp32", False)])
def test_bf16_where_the_processor_is_slow_with_it_is_said(caplog, precision, said):
    spec = EngineSpec(precision=precision, threads=1)
    factory.make_engine(spec, OptimizerSpec(), torch.nn.Linear(2, 2), {})
    assert ("bf16 is far slower than fp32 on most CPUs" in caplog.text) is said


@pytest.mark.parametrize("supported", [True, False])
def test_bf16_that_a_gpu_emulates_is_said_with_the_gpus_name(caplog, monkeypatch, supported):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old GPU")
    factory._warn_of_bf16()
    assert ("Old GPU has no bf16, and emulates it slowly: set fp32" in caplog.text) is not supported
