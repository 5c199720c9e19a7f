"""The DeepSpeed config of a spec: the user's keys, and the ones that the platform sets."""

from __future__ import annotations

from typing import Any

from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec


def deepspeed_config(spec: EngineSpec, optimizer: OptimizerSpec, world_size: int) -> dict[str, Any]:
    """Return a config for the encoder alone; ``spec`` has passed ``check_engine``."""
    stage = spec.zero_stage or 0
    config: dict[str, Any] = {
        **spec.config,
        # Batches are the platform's business. DeepSpeed only wants three numbers that agree.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": world_size,
        # Any number of backwards before a step.
        "managed_gradient_accumulation": False,
        # Left out it would be 1.0. At stage 0 the part clips itself, since DeepSpeed reports no norm there.
        "gradient_clipping": optimizer.clip if optimizer.clip is not None and stage > 0 else 0.0,
        "zero_optimization": {**spec.config.get("zero_optimization", {}), "stage": stage},
    }
    if "offload_optimizer" in config["zero_optimization"]:
        # torch's fused AdamW on the offloaded slices computes what it computes elsewhere
        config["zero_force_ds_cpu_optimizer"] = False
    if spec.precision == "bf16":
        config["bf16"] = {**spec.config.get("bf16", {}), "enabled": True}
        config["data_types"] = {"grad_accum_dtype": "fp32", **spec.config.get("data_types", {})}
    return config


def head_config(spec: EngineSpec, optimizer: OptimizerSpec, world_size: int) -> dict[str, Any]:
    """Return a config for a head with an engine of its own: heads are fp32 in any precision."""
    fp32 = {key: value for key, value in spec.config.items() if key not in ("bf16", "data_types")}
    plain = spec.model_copy(update={"precision": "fp32", "config": fp32})
    config = deepspeed_config(plain, optimizer, world_size)
    offload = config["zero_optimization"].get("offload_optimizer", {})
    if offload.get("device") == "nvme":  # a second engine's swapped moments come back wrong (DeepSpeed 0.19)
        host = {"device": "cpu", "pin_memory": offload.get("pin_memory", True)}
        config["zero_optimization"] = {**config["zero_optimization"], "offload_optimizer": host}
    return config
