"""From a spec's section to an engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping

import torch
from torch import nn

from sslm_platform.engine.base import Engine
from sslm_platform.engine.check import check_engine
from sslm_platform.engine.determinism import keep_deterministic
from sslm_platform.engine.memory import keep_freed_memory
from sslm_platform.engine.threads import use_threads
from sslm_platform.errors import Problem, SpecError, raise_all
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec, GradientScope

logger = logging.getLogger(__name__)


def make_engine(
    spec: EngineSpec,
    optimizer: OptimizerSpec,
    encoder: nn.Module,
    heads: Mapping[str, nn.Module],
    gradients_of: GradientScope | None = None,
    *,
    sharded_heads: Collection[str] = (),
) -> Engine:
    """Build the engine of one run. It takes over the encoder and the heads: reach them through it.

    Args:
        spec: The section ``engine``.
        optimizer: The section ``optimizer``.
        encoder: Called as ``encoder(input_ids_BL, mask_BL, segment_BL, transform, shift_BLE)``; returns
            hidden_BLD and, with ``transform``, logits_NV, else None. Rank 0's weights count.
        heads: Name to module. Rank 0's weights count.
        gradients_of: What ``task_gradients`` of the engine are of; with ``last_layer`` the encoder is a
            :class:`~sslm_platform.engine.sliced.Splittable`.
        sharded_heads: Names of the heads that ZeRO stages 1 to 3 shard like the encoder; elsewhere they are
            like the others. They run only in steps that name them.

    Raises:
        SpecError: the section asks for what cannot be done here.
    """
    raise_all(SpecError, check_engine(spec, gradients_of, sharded_heads, optimizer))
    use_threads(spec.threads)
    keep_freed_memory()
    keep_deterministic(spec.deterministic)
    if spec.precision == "bf16":
        _warn_of_bf16()
    if not torch.cuda.is_available():
        # else DeepSpeed, which accelerate imports when transformers saves, warns of what it did not find
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if spec.name == "local":
        return _local(spec, optimizer, encoder, heads, gradients_of)
    from sslm_platform.engine.deepspeed import DeepSpeedEngine

    assert gradients_of != "all"
    return DeepSpeedEngine(spec, optimizer, encoder, heads, gradients_of, sharded_heads)


def _local(
    spec: EngineSpec,
    optimizer: OptimizerSpec,
    encoder: nn.Module,
    heads: Mapping[str, nn.Module],
    gradients_of: GradientScope | None,
) -> Engine:
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if num_processes > 1:
        raise SpecError(
            Problem(
                "engine.name",
                f"local runs in one process, and there are {num_processes}; set engine.name: deepspeed",
            )
        )
    from sslm_platform.engine.local import LocalEngine

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return LocalEngine(spec, optimizer, encoder, heads, device, gradients_of)


def _warn_of_bf16() -> None:
    if not torch.cuda.is_available():
        logger.warning("engine.precision: bf16 is far slower than fp32 on most CPUs")
    elif not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name()
        logger.warning("engine.precision: %s has no bf16, and emulates it slowly: set fp32", name)
