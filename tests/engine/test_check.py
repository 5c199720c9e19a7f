import importlib.util
import subprocess
import sys

import pytest

from sslm_platform.engine.check import check_engine
from sslm_platform.engine.deepspeed_config import deepspeed_config
from sslm_platform.spec.schema import EngineSpec, OptimizerSpec

pytestmark = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs deepspeed")


def messages(config=None, stage=2, **rest):
    spec = EngineSpec(name="deepspeed", zero_stage=stage, config=config or {}, **rest)
    return [str(problem) for problem in check_engine(spec)]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"gradient_clipping": 1.0},
            "engine.config.gradient_clipping: the platform sets this; set optimizer.clip",
        ),
        ({"optimizer": {"type": "Adam"}}, "engine.config.optimizer: the platform sets this; set optimizer"),
        ({"train_batch_size": 8}, "set schedule.tokens_per_batch"),
        (
            {"zero_optimization": {"stage": 1}},
            "engine.config.zero_optimization.stage: the platform sets this",
        ),
        (
            {"bf16": {"enabled": True}},
            "engine.config.bf16.enabled: the platform sets this; set engine.precision",
        ),
        ({"fp16": {"enabled": True}}, "engine.config.fp16: refused: its loss scaling"),
        ({"zero_optimization": {"mics_shard_size": 4}}, "mics_shard_size: refused: states are saved"),
        ({"communication_data_type": "bf16"}, "communication_data_type: must be fp32"),
        ({"data_types": {"grad_accum_dtype": "bf16"}}, "data_types.grad_accum_dtype: must be fp32"),
        ({"zero_optimization": {"zenflow": {}}}, "zenflow: refused: it delays updates"),
        ({"bf16": {"bf16_master_weights_and_grads": True}}, "refused: masters are fp32"),
        ({"bf16": {"bf16_optimizer_states": True}}, "refused: moments are fp32"),
        ({"tensor_parallel": {"autotp_size": 2}}, "refused: ranks share the examples"),
        ({"elasticity": {"enabled": True}}, "refused: the platform draws the examples"),
        ({"wall_clock_breakdwn": True}, "unknown key; did you mean wall_clock_breakdown?"),
        ({"zero_optimization": 2}, "engine.config.zero_optimization: must be a mapping; got 2"),
    ],
)
def test_config_keys(config, message):
    found = messages(config)
    assert len(found) == 1
    assert message in found[0]


def test_all_problems_are_reported_at_once():
    assert len(messages({"fp16": {}, "scheduler": {}, "zero_optimization": {"stage": 3}})) == 3


def test_what_deepspeed_cannot_do_is_said_before_it_is_tried():
    assert "needs engine.zero_stage 1, 2 or 3" in messages(stage=0, precision="bf16")[0]
    overlap = {"zero_optimization": {"overlap_comm": True}}
    assert "overlap_comm" in messages(overlap, stage=1)[0]
    assert messages(overlap, stage=2) == []


def test_gradients_by_task_are_possible_of_the_slice_alone():
    spec = EngineSpec(name="deepspeed", zero_stage=3)
    assert check_engine(spec, "last_layer") == []
    (problem,) = check_engine(spec, "all")
    assert problem.where == "balancer.scope"
    assert "set balancer.scope: last_layer, or engine.name: local" in problem.what
    assert check_engine(EngineSpec(), "all") == []
    halved = EngineSpec(name="deepspeed", zero_stage=1, precision="bf16")
    (problem,) = check_engine(halved, "last_layer")
    assert "cannot clip by one norm" in problem.what
    assert check_engine(halved) == []
    assert check_engine(halved.model_copy(update={"zero_stage": 2}), "last_layer") == []


def test_harmless_keys_pass():
    config = {"zero_optimization": {"reduce_bucket_size": 1000}, "wall_clock_breakdown": True}
    config |= {"communication_data_type": "fp32", "data_types": {"grad_accum_dtype": "fp32"}}
    assert messages(config) == []
    assert check_engine(EngineSpec()) == []


def test_a_missing_deepspeed_is_named_with_two_ways_out(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (message,) = messages()
    assert "pip install sslm-platform[deepspeed]" in message
    assert "engine.name: local" in message


@pytest.mark.parametrize(("stage", "clip", "expected"), [(0, 1.0, 0.0), (1, 0.5, 0.5), (3, None, 0.0)])
def test_clipping_is_never_left_to_deepspeeds_default(stage, clip, expected):
    spec = EngineSpec(name="deepspeed", zero_stage=stage)
    assert deepspeed_config(spec, OptimizerSpec(clip=clip), 2)["gradient_clipping"] == expected


def test_the_users_keys_survive_beside_ours():
    spec = EngineSpec(
        name="deepspeed",
        zero_stage=2,
        precision="bf16",
        config={"zero_optimization": {"reduce_bucket_size": 9}},
    )
    config = deepspeed_config(spec, OptimizerSpec(), 4)
    assert config["zero_optimization"] == {"reduce_bucket_size": 9, "stage": 2}
    assert config["bf16"] == {"enabled": True}
    assert config["train_batch_size"] == 4


def test_checking_imports_nothing_heavy():
    code = "import sys, sslm_platform.engine.check; print({'torch', 'deepspeed'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_sharded_head_takes_one_backward_a_slot():
    spec = EngineSpec(name="deepspeed", zero_stage=2)
    (problem,) = check_engine(spec, "last_layer", {"summary"})
    assert "set head.sharded: false for 'summary'" in str(problem)
    assert check_engine(spec, None, {"summary"}) == []
    assert check_engine(EngineSpec(name="deepspeed", zero_stage=0), "last_layer", {"summary"}) == []
