"""Weight decay toward the first weights instead of zero."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class Anchor:
    """Draws what an optimizer trains to where it was when this was made.

    L2-SP (Li et al. 2018, eq. 2) penalizes s/2 · ‖w - w⁰‖². As in AdamW, the penalty's gradient
    does not pass through the moments: an update ends with w ← w - rate · s · (w - w⁰), of which the
    optimizer's own decay has done w ← w - rate · s · w.

    Args:
        optimizer: has an AdamW's groups.
        tensors: what it steps, or will step: parameters, or an engine's flat slices of them.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, tensors: Iterable[Tensor]) -> None:
        self._start = {tensor: tensor.detach().clone() for tensor in tensors}
        optimizer.register_step_post_hook(self._draw)

    @torch.no_grad()
    def _draw(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            force = group["lr"] * group["weight_decay"]
            for tensor in group["params"]:
                if force and tensor.grad is not None:  # else the optimizer has passed over it
                    tensor.add_(self._start[tensor], alpha=force)
