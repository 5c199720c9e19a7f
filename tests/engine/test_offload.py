import ctypes.util
import shutil

import pytest

from sslm_platform.engine import offload
from sslm_platform.engine.deepspeed_config import deepspeed_config, head_config
from sslm_platform.engine.offload import check_offload
from sslm_platform.spec.schema import EngineSpec, OptimizerSpec


def spec(stage=3, **section):
    return EngineSpec(name="deepspeed", zero_stage=stage, config={"zero_optimization": section})


def messages(stage=3, **section):
    return [str(problem) for problem in check_offload(spec(stage, **section))]


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_optimizer_may_be_on_the_host_at_every_sharded_stage(stage):
    assert messages(stage, offload_optimizer={"device": "cpu"}) == []


@pytest.mark.parametrize(
    ("stage", "section", "message"),
    [
        (
            0,
            {"offload_optimizer": {"device": "cpu"}},
            "needs engine.zero_stage 1 or 2 or 3",
        ),
        (2, {"offload_param": {"device": "cpu"}}, "offload_param: needs engine.zero_stage 3"),
        (3, {"offload_param": {"device": "nvme"}}, "offload_param.device: nvme keeps fp32 parameters in 16"),
        (3, {"offload_optimizer": {"device": "cpu", "ratio": 0.5}}, "offload_optimizer.ratio: refused"),
        (3, {"offload_optimizer": "cpu"}, "must be a mapping, say {device: cpu}; got 'cpu'"),
    ],
)
def test_what_is_not_exact_or_not_there_is_refused(stage, section, message):
    (found,) = messages(stage, **section)
    assert message in found


@pytest.fixture
def bare(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(offload, "_on_library_path", lambda: False)


def test_nvme_names_all_that_the_machine_lacks(bare):
    (found,) = messages(offload_optimizer={"device": "nvme", "nvme_path": "/local"})
    assert "there is no C++ compiler" in found
    assert "no ninja (pip install ninja), no libaio (apt install libaio-dev)" in found


def test_nvme_needs_stage_3_and_a_folder(bare, monkeypatch):
    monkeypatch.setattr(offload, "_missing_for_aio", lambda: iter(()))
    first, second = messages(2, offload_optimizer={"device": "nvme"})
    assert "nvme needs engine.zero_stage 3" in first
    assert "nvme_path: needed with nvme" in second


def test_a_built_op_needs_no_compiler(bare, monkeypatch, tmp_path):
    (tmp_path / "ops" / "aio").mkdir(parents=True)
    (tmp_path / "ops" / "aio" / "async_io_op.cpython-311-x86_64-linux-gnu.so").touch()
    package = type("Package", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(offload.importlib.util, "find_spec", lambda name: package)
    assert messages(offload_optimizer={"device": "nvme", "nvme_path": "/local"}) == []


def test_torchs_adamw_is_kept_and_heads_stay_off_the_disk():
    nvme = {"device": "nvme", "nvme_path": "/local", "pin_memory": False}
    given = spec(offload_optimizer=nvme)
    ours = deepspeed_config(given, OptimizerSpec(), 2)
    assert ours["zero_force_ds_cpu_optimizer"] is False
    assert ours["zero_optimization"]["offload_optimizer"] == nvme
    heads = head_config(given, OptimizerSpec(), 2)
    assert heads["zero_optimization"]["offload_optimizer"] == {"device": "cpu", "pin_memory": False}
