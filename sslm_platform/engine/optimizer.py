"""AdamW over a module's parameters, and the learning rate's course."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sslm_platform.spec.optimizer import OptimizerSpec

MOMENTS = ("exp_avg", "exp_avg_sq")


Depths = Mapping[str, int]
"""How many layers are above a parameter's own, by the parameter's name; 0 where it has no entry."""


def parameter_groups(
    module: nn.Module, weight_decay: float, depths: Depths | None = None
) -> list[dict[str, Any]]:
    """Split trainable parameters by depth, and into decayed ones and biases and norms (one-dimensional)."""
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = ((depths or {}).get(name, 0), parameter.dim() < 2)
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "weight_decay": 0.0 if is_vector else weight_decay, "depth": depth}
        for (depth, is_vector), parameters in sorted(groups.items())
    ]


def make_adamw(
    module: nn.Module, spec: OptimizerSpec, peak_rate: float, depths: Depths | None = None
) -> torch.optim.AdamW:
    """Build AdamW (Loshchilov & Hutter 2019) over what a module has to train, in the fused form."""
    return torch.optim.AdamW(
        parameter_groups(module, spec.weight_decay, depths) or [{"params": []}],
        lr=peak_rate,
        betas=spec.betas,
        eps=spec.eps,
        fused=True,
    )


def rate_factor(step: int, num_steps: int, spec: OptimizerSpec) -> float:
    """Return the share of the peak rate in optimizer step ``step`` (from 0), in [0, 1].

    The same course as ``transformers``' schedules with ``warmup_ratio``: the first step of a warm-up has
    rate 0, the peak is reached after the warm-up, and the first step after the last one would have rate 0.
    """
    num_warmup = math.ceil(spec.warmup * num_steps)
    if step < num_warmup:
        return step / num_warmup
    if spec.decay == "constant":
        return 1.0
    left = max(0, num_steps - step) / max(1, num_steps - num_warmup)
    if spec.decay == "linear":
        return left
    return 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
