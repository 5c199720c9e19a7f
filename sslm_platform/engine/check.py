"""What can be said of an engine's section before anything heavy is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sslm_platform.engine.offload import check_offload
from sslm_platform.errors import Problem, suggest
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec, GradientScope

# The platform sets these itself; the values say where.
OWNED = {
    "train_batch_size": "set schedule.tokens_per_batch",
    "train_micro_batch_size_per_gpu": "set schedule.tokens_per_batch",
    "gradient_accumulation_steps": "set schedule.slots_per_step",
    "managed_gradient_accumulation": "set schedule.slots_per_step",
    "optimizer": "set optimizer",
    "scheduler": "set optimizer.warmup and optimizer.decay",
    "gradient_clipping": "set optimizer.clip",
    "zero_optimization.stage": "set engine.zero_stage",
    "bf16.enabled": "set engine.precision: bf16",
    "bfloat16": "set engine.precision: bf16",
    "torch_autocast": "set engine.precision: bf16",
    "data_types.param_dtype": "set engine.precision",
    "data_types.buffer_dtype": "set engine.precision",
    "seed": "set seed",
    "zero_force_ds_cpu_optimizer": "set optimizer",
    "zero_allow_untested_optimizer": "set optimizer",
}

_PARALLEL = "ranks share the examples of one whole encoder, and states are saved as slices over all ranks"
_SAVING = "the platform writes checkpoints of its own, which nothing unpickles: set checkpoint"
_DATA = "the platform draws the examples: set schedule"
_MODEL = "it changes the model, so that losses would not be those of the local engine"

# What would not compute the same numbers as the local engine, could not be resumed, or is the platform's.
REFUSED = {
    **dict.fromkeys(("tensor_parallel", "expert_parallel", "pipeline", "hybrid_engine"), _PARALLEL),
    **dict.fromkeys(("checkpoint", "datastates_ckpt"), _SAVING),
    **dict.fromkeys(("data_efficiency", "curriculum_learning", "dataloader_drop_last"), _DATA),
    **dict.fromkeys(("autotuning", "elasticity"), _DATA),
    **dict.fromkeys(("compression_training", "weight_quantization", "progressive_layer_drop"), _MODEL),
    "activation_checkpointing": "the encoder's layers do not call it, so it would have no effect",
    "disable_allgather": "this DeepSpeed stores it and does nothing with it",
    "compile": "the engine is not compiled, so it would have no effect",
    "gradient_allreduce_op": "gradients are summed over ranks, and the platform scales losses for that",
    "sparse_gradients": "this DeepSpeed has no such setting",
    "fp16": "its loss scaling would reach the heads, which are outside, and its skipped steps would not;"
    " set engine.precision: bf16",
    "amp": "apex is not supported; set engine.precision: bf16",
    "bf16.bf16_master_weights_and_grads": "masters are fp32: what is saved and what is clipped by is theirs",
    "bf16.bf16_optimizer_states": "moments are fp32: updates of small rates would be lost",
    "bf16.check_grad_overflow": "a step whose gradient is not finite must be skipped",
    **dict.fromkeys(
        ("zero_optimization.cpu_offload", "zero_optimization.cpu_offload_use_pin_memory"),
        "DeepSpeed has given it up; set offload_optimizer: {device: cpu}",
    ),
    "zero_optimization.cpu_offload_params": "DeepSpeed has given it up; set offload_param: {device: cpu}",
    "zero_optimization.cpu_offload_param": "DeepSpeed has given it up; set offload_param: {device: cpu}",
    "zero_optimization.compute_grad_norm": "the norm is needed: it is reported, and clipped by",
    "zero_optimization.mics_shard_size": "states are saved and loaded as slices over all ranks",
    "zero_optimization.zero_hpz_partition_size": "states are saved and loaded as slices over all ranks",
    "zero_optimization.zenflow": "it delays updates, so that losses would not be those of the local engine",
    "zero_optimization.zero_quantized_weights": "quantized communication is not exact",
    "zero_optimization.zero_quantized_nontrainable_weights": "quantized communication is not exact",
    "zero_optimization.zero_quantized_gradients": "quantized communication is not exact",
}

# Sums of gradients in 16 bits would not be those of the local engine.
FP32_ONLY = ("communication_data_type", "data_types.grad_accum_dtype")

# DeepSpeed ignores top-level keys that it does not know, so a typo would go unnoticed.
ALLOWED = {
    "zero_optimization",
    "bf16",
    "aio",
    "comms_logger",
    "communication_data_type",
    "csv_monitor",
    "data_types",
    "disable_python_gc",
    "dump_state",
    "flops_profiler",
    "gradient_predivide_factor",
    "log_level",
    "memory_breakdown",
    "prescale_gradients",
    "steps_per_print",
    "tensorboard",
    "timers",
    "wall_clock_breakdown",
    "wandb",
}


def check_engine(
    spec: EngineSpec,
    gradients_of: GradientScope | None = None,
    sharded_heads: Collection[str] = (),
    optimizer: OptimizerSpec | None = None,
) -> list[Problem]:
    """Return everything that is wrong with an engine's section.

    Args:
        spec: the section.
        gradients_of: what each task's gradients are wanted of.
        sharded_heads: names of the heads that are to be sharded.
        optimizer: the section ``optimizer``.
    """
    if spec.name != "deepspeed":
        return []
    return [
        *_installation(),
        *_combination(spec),
        *_config(spec.config),
        *check_offload(spec),
        *_gradients(spec, gradients_of, sharded_heads),
        *(_optimizer(spec, optimizer) if optimizer else ()),
    ]


def _installation() -> Iterator[Problem]:
    if importlib.util.find_spec("deepspeed") is None:
        yield Problem(
            "engine.name",
            "deepspeed is not installed: pip install sslm-platform[deepspeed], or set engine.name: local",
        )


def _combination(spec: EngineSpec) -> Iterator[Problem]:
    if spec.precision == "bf16" and not spec.zero_stage:
        yield Problem("engine.precision", "bf16 needs engine.zero_stage 1, 2 or 3, which keep fp32 masters")
    section = spec.config.get("zero_optimization")
    overlaps = isinstance(section, Mapping) and section.get("overlap_comm")
    if overlaps and (spec.zero_stage or 0) < 2:
        yield Problem("engine.config.zero_optimization.overlap_comm", "true needs engine.zero_stage 2 or 3")


def _gradients(
    spec: EngineSpec, gradients_of: GradientScope | None, sharded_heads: Collection[str]
) -> Iterator[Problem]:
    if gradients_of and spec.zero_stage and sharded_heads:
        yield Problem(
            "balancer",
            "each task's gradient takes a backward of its own, and a sharded head can take part in one only:"
            f" set head.sharded: false for {min(sharded_heads)!r}, or a balancer of losses",
        )
    if gradients_of == "all":
        yield Problem(
            "balancer.scope",
            "all needs each task's gradient of the whole encoder, and deepspeed keeps only their sum: set"
            " balancer.scope: last_layer, or engine.name: local",
        )
    if gradients_of and spec.precision == "bf16" and spec.zero_stage == 1:
        yield Problem(
            "engine.zero_stage",
            "1 in bf16 cannot clip by one norm with the slice that tasks' gradients are taken of, which is"
            " outside; set 2 or 3",
        )


def _optimizer(spec: EngineSpec, optimizer: OptimizerSpec) -> Iterator[Problem]:
    if optimizer.average is not None and spec.zero_stage:
        yield Problem(
            "optimizer.average",
            f"stage {spec.zero_stage} keeps slices of the weights, and an average is scored and saved as"
            " a whole: set engine.zero_stage: 0, or engine.name: local",
        )
    if optimizer.consolidate is not None:
        yield Problem(
            "optimizer.consolidate",
            "needs single examples' gradients of the whole encoder, and deepspeed keeps only sums: set"
            " engine.name: local",
        )
    if optimizer.distill is not None and (spec.zero_stage == 3 or spec.precision == "bf16"):
        yield Problem(
            "optimizer.distill",
            "keeps a whole fp32 copy of the encoder on each rank: set engine.zero_stage 0, 1 or 2 and"
            " engine.precision: fp32",
        )
    zero = spec.config.get("zero_optimization")
    offload = zero.get("offload_optimizer") if isinstance(zero, Mapping) else None
    if optimizer.decay_to == "start" and isinstance(offload, Mapping) and offload.get("device") == "nvme":
        yield Problem(
            "optimizer.decay_to",
            "start keeps the first weights in memory, beside weights that are on nvme: set the device to cpu",
        )


def _config(config: Mapping[str, Any]) -> Iterator[Problem]:
    for key, value in config.items():
        paths = [key]
        if key in ("zero_optimization", "bf16", "data_types"):
            if not isinstance(value, Mapping):
                yield Problem(f"engine.config.{key}", f"must be a mapping; got {value!r}")
                continue
            paths += [f"{key}.{inner}" for inner in value]
        for path in paths:
            if path in OWNED:
                yield Problem(f"engine.config.{path}", f"the platform sets this; {OWNED[path]} instead")
            elif path in REFUSED:
                yield Problem(f"engine.config.{path}", f"refused: {REFUSED[path]}")
            elif path in FP32_ONLY and _at(config, path) != "fp32":
                yield Problem(f"engine.config.{path}", "must be fp32: sums in 16 bits are not exact")
        if key not in ALLOWED | OWNED.keys() | REFUSED.keys():
            yield Problem(f"engine.config.{key}", f"unknown key{suggest(key, ALLOWED)}")


def _at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value[key]
    return value
