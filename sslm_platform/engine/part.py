"""A module with its own optimizer: what is clipped and stepped as one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.optimizer import MOMENTS, make_adamw, set_rate
from sslm_platform.engine.weights import load_module, module_state
from sslm_platform.errors import Problem, RunError
from sslm_platform.spec.schema import OptimizerSpec


class Part:
    """The encoder, or one head, in plain torch. A frozen part steps without effect."""

    def __init__(self, name: str, module: nn.Module, spec: OptimizerSpec, peak_rate: float) -> None:
        self.name = name
        self.module = module
        self.peak_rate = peak_rate
        self._max_norm = spec.clip
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.optimizer = make_adamw(module, spec, peak_rate)

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of all parameters; call :meth:`fill_gradients` before."""
        return [p.grad for p in self.parameters.values() if p.grad is not None]

    def fill_gradients(self) -> None:
        """Give a gradient of zero to parameters without one, so that all engines treat them alike."""
        for parameter in self.parameters.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)

    def norm(self) -> Tensor:
        """Return the gradient's norm, on the part's device."""
        self.fill_gradients()
        device = next((p.device for p in self.module.parameters()), None)
        return torch.nn.utils.get_total_norm(self.gradients).to(device)

    def clip(self, norm: Tensor) -> None:
        """Clip to the part's largest norm."""
        if self._max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), self._max_norm, norm)

    def step(self, learning_rate: float) -> None:
        """Step with the gradients that are there."""
        if self.parameters:
            set_rate(self.optimizer, self.peak_rate * learning_rate)
            self.optimizer.step()

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def weights(self) -> TensorDict:
        """Return the module's weights on the CPU, floats as fp32."""
        return module_state(self.module)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write weights in place."""
        load_module(self.name, self.module, weights)

    def optimizer_state(self) -> TensorDict:
        """Return ``PART/step`` and ``PART/MOMENT/PARAMETER`` on the CPU; empty before the first step."""
        state = self.optimizer.state
        if not state:
            return {}
        steps = next(iter(state.values()))["step"]
        result = {step_key(self.name): steps.detach().cpu().clone()}
        for name, parameter in self.parameters.items():
            for moment in MOMENTS:
                result[moment_key(self.name, moment, name)] = state[parameter][moment].detach().cpu().clone()
        return result

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write this part's entries of a saved state; none means that it has not stepped yet."""
        self.optimizer.state.clear()
        if step_key(self.name) not in saved:
            return
        for name, parameter in self.parameters.items():
            self.optimizer.state[parameter] = self._entry(saved, name, parameter)

    def _entry(self, saved: Mapping[str, Tensor], name: str, parameter: Tensor) -> dict[str, Any]:
        moments = {
            moment: read_moment(saved, self.name, moment, name, parameter.shape)
            .to(parameter.device, parameter.dtype)
            .clone()
            for moment in MOMENTS
        }
        return {"step": saved[step_key(self.name)].to(parameter.device, torch.float32).clone(), **moments}


def step_key(part: str) -> str:
    """Return the key of a part's step count."""
    return f"{part}/step"


def moment_key(part: str, moment: str, parameter: str) -> str:
    """Return the key of a parameter's moment."""
    return f"{part}/{moment}/{parameter}"


def head_part(name: str) -> str:
    """Return the name of a head's part."""
    return f"heads/{name}"


def read_moment(
    saved: Mapping[str, Tensor], part: str, moment: str, parameter: str, shape: torch.Size
) -> Tensor:
    """Return a saved moment, or raise when it is not there or belongs to another model."""
    key = moment_key(part, moment, parameter)
    if key not in saved:
        raise RunError(Problem(f"optimizer state {key!r}", "missing; the state is of another model"))
    value = saved[key]
    if value.shape != shape:
        raise RunError(
            Problem(
                f"optimizer state {key!r}",
                f"shape {tuple(value.shape)}; this model's is {tuple(shape)}",
            )
        )
    return value


def read_norms(norms: Mapping[str, Tensor]) -> dict[str, float]:
    """Return norms as numbers; all at once, since a read waits for the device."""
    if not norms:
        return {}
    return dict(zip(norms, torch.stack(list(norms.values())).tolist(), strict=True))


def all_finite(norms: Mapping[str, float]) -> bool:
    """Whether no norm is infinite or not a number."""
    return all(math.isfinite(norm) for norm in norms.values())
