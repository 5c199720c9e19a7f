"""The facts of a run: what they are must not depend on what the process did before."""

from __future__ import annotations

import pytest
import torch

from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.folder import machine


@pytest.mark.parametrize("engine", [EngineSpec(), EngineSpec(threads=3)], ids=["default", "three"])
def test_the_machine_is_the_same_before_and_after_a_training_has_set_its_threads(engine):
    asked, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(machine(engine))
    finally:
        torch.set_num_threads(asked)
    assert found[0] == found[1]
    if engine.threads:
        assert found[0]["threads"] == str(engine.threads)
