"""AdaLoRA (Zhang et al. 2023, ICLR): low-rank updates whose ranks go where they matter most."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from sslm_platform.errors import Problem, SpecError
from sslm_platform.model.adapter import NAME

START = "encoder/ranks"
AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # of weight times gradient (section 3.2, equations 8 to 10)
PATTERN = "pattern"


class RankSchedule:
    """Each update is P diag(E) Q; entries of E are set to 0 by their sensitivity (algorithm 1), by ``peft``.

    Ranks fall from ``init_r`` to ``target_r`` on average, from step ``tinit`` until ``tfinal`` steps before
    the end of the training, by the budget of equation 11.

    Args:
        backbone: has such an adapter.
    """

    def __init__(self, backbone: Any) -> None:
        from peft.tuners.adalora.layer import RankAllocator

        self._config = backbone.peft_config[NAME]
        self._allocator = RankAllocator(backbone, self._config, NAME)
        self._factors = {
            name: parameter
            for name, parameter in backbone.named_parameters()
            if f".lora_A.{NAME}" in name or f".lora_B.{NAME}" in name
        }
        self._tuner = SimpleNamespace(
            model=backbone,
            peft_config=backbone.peft_config,
            trainable_adapter_name=NAME,
            rankallocator=self._allocator,
        )

    def pull(self) -> None:
        """Add the gradient of g · mean |PᵀP - I| (and QQᵀ) to the factors' own (equation 4).

        g is ``orth_reg_weight``.
        """
        with torch.enable_grad():
            terms = [_skewness(p if ".lora_A." in name else p.T) for name, p in self._factors.items()]
            loss = self._config.orth_reg_weight * torch.stack(terms).mean()
            found = torch.autograd.grad(loss, list(self._factors.values()))
        for parameter, gradient in zip(self._factors.values(), found, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)

    def stepped(self, step: int, num_steps: int) -> None:
        """Measure sensitivities, and set to 0 what is over the step's budget.

        Raises:
            SpecError: ``tinit`` and ``tfinal`` leave no step to do it in.
        """
        from peft.tuners.adalora.model import AdaLoraModel

        self._config.total_step = num_steps
        if self._config.tinit >= num_steps - self._config.tfinal:
            what = f"tinit and tfinal leave none of {num_steps} steps to take ranks away in"
            raise SpecError(Problem("encoder.adapter.options", what))
        AdaLoraModel.update_and_allocate(self._tuner, step + 1)  # type: ignore[arg-type]

    def state(self) -> dict[str, Tensor]:
        """Return the running averages, and which entries are left, on the CPU."""
        found = {
            f"{START}/{kind}/{name}": value.detach().cpu().clone()
            for kind in AVERAGES
            for name, value in getattr(self._allocator, kind).items()
        }
        pattern = self._config.rank_pattern or {}
        return found | {f"{START}/{PATTERN}/{n}": torch.tensor(kept).float() for n, kept in pattern.items()}

    def load_state(self, saved: Mapping[str, Tensor]) -> None:
        """Read what :meth:`state` returned."""
        device = next(iter(self._factors.values())).device
        for kind in AVERAGES:
            setattr(self._allocator, kind, _under(f"{START}/{kind}/", saved, device))
        pattern = _under(f"{START}/{PATTERN}/", saved, device)
        self._config.rank_pattern = {n: kept.bool().tolist() for n, kept in pattern.items()} or None


def rank_schedule(backbone: Any) -> RankSchedule | None:
    """Return the schedule of a backbone's adapter, if it is an AdaLoRA."""
    config = getattr(backbone, "peft_config", {}).get(NAME)
    return RankSchedule(backbone) if config is not None and config.peft_type == "ADALORA" else None


def _skewness(rows_RD: Tensor) -> Tensor:
    """Return how far rows are from orthonormal ones, in Frobenius' norm."""
    return torch.linalg.matrix_norm(rows_RD @ rows_RD.T - torch.eye(len(rows_RD), device=rows_RD.device))


def _under(start: str, saved: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name.removeprefix(start): saved[name].to(device) for name in saved if name.startswith(start)}
