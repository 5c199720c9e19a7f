"""A module with its own optimizer: what is clipped and stepped as one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from sslm_platform.engine.anchor import Anchor
from sslm_platform.engine.average import Average
from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.course import Phase
from sslm_platform.engine.optimizer import MOMENTS, Depths, make_adamw
from sslm_platform.engine.tables import TableUpdate, large_tables, listed
from sslm_platform.engine.weights import load_module, module_state
from sslm_platform.errors import Problem, RunError
from sslm_platform.spec.optimizer import OptimizerSpec


class Part:
    """The encoder, or one head, in plain torch. A frozen part steps without effect.

    Attributes:
        phase: where the training stands in the step to come.
        average: of the weights after each step, if the spec asks for one.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        spec: OptimizerSpec,
        peak_rate: float,
        depths: Depths | None = None,
    ) -> None:
        self.name = name
        self.module = module
        self.phase = Phase()
        self._peak_rate = peak_rate
        self._layer_decay = spec.layer_decay or 1.0
        self._num_depths = 1 + max((depths or {}).values(), default=0)
        self._max_norm = spec.clip
        self._decay_to = spec.decay_to
        self.parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.optimizer = make_adamw(module, spec, peak_rate, depths)
        self._tables: list[TableUpdate] = []
        self.average = Average(name, self.parameters, spec.average) if spec.average else None
        if self.average is not None:
            self._averaging = self.optimizer.register_step_post_hook(self._stepped)

    def _stepped(self, *_: Any) -> None:
        took_part = any(parameter.grad is not None for parameter in self.parameters.values())
        if self.average is not None and self.phase.averages and took_part:
            self.average.update()

    def anchor(self, tensors: Iterable[Tensor]) -> None:
        """Note where the training starts, if weight decay draws there; ``tensors`` are what is stepped."""
        if self._decay_to == "start":
            Anchor(self.optimizer, tensors)
            if self.average is not None:  # of what the anchor has drawn, so after it
                self._averaging.remove()
                self._averaging = self.optimizer.register_step_post_hook(self._stepped)

    def spare_tables(self) -> None:
        """Update of large embedding tables what batches have read, where nobody else looks at gradients."""
        self._tables = [TableUpdate(module, self.optimizer) for module in large_tables(self.module)]

    def release_tables(self) -> None:
        """Leave the module as it was before :meth:`spare_tables`."""
        for table in self._tables:
            table.release()

    def set_rate(self, learning_rate: float) -> None:
        """Set the groups' learning rates, from the share of the peak rate.

        Layers that wait have rate 0: no engine moves them then, and all see the same gradients and moments.
        """
        for group in self.optimizer.param_groups:
            depth = group.get("depth", 0)
            share = self._layer_decay**depth if self.phase.trains(depth, self._num_depths) else 0.0
            group["lr"] = self._peak_rate * learning_rate * share

    @property
    def gradients(self) -> list[Tensor]:
        """Gradients of all parameters; call :meth:`fill_gradients` before."""
        found = (listed(parameter) for parameter in self.parameters.values())
        return [gradient for gradient in found if gradient is not None]

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
        if self._max_norm is None:
            return
        share = torch.clamp(self._max_norm / (norm + 1e-6), max=1.0)
        gradients = self.gradients
        if gradients and (norm.device.type != "cpu" or share < 1.0):  # to ask a GPU takes longer
            torch._foreach_mul_(gradients, share)

    def step(self, learning_rate: float) -> None:
        """Step with the gradients that are there."""
        if self.parameters:
            self.set_rate(learning_rate)
            for table in self._tables:
                table.step()
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
        for table in self._tables:
            table.flush()
        state = self.optimizer.state
        if not state:
            return {}
        steps = next(iter(state.values()))["step"]
        result = {step_key(self.name): steps.detach().cpu().clone()}
        for name, parameter in self.parameters.items():
            for moment in MOMENTS:
                result[moment_key(self.name, moment, name)] = state[parameter][moment].detach().cpu().clone()
        whole = [index for index, table in enumerate(self._tables) if not table.spares]
        result |= {self._whole_key(index): torch.ones(()) for index in whole}
        return result | (self.average.state() if self.average else {})

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write this part's entries of a saved state; none means that it has not stepped yet."""
        self.optimizer.state.clear()
        for index, table in enumerate(self._tables):
            table.forget()
            table.spares = self._whole_key(index) not in saved
        if self.average is not None:
            self.average.load_state(saved)
        if step_key(self.name) not in saved:
            return
        for name, parameter in self.parameters.items():
            self.optimizer.state[parameter] = self._entry(saved, name, parameter)

    def _whole_key(self, index: int) -> str:
        return f"{self.name}/whole_table/{index}"

    def _entry(self, saved: Mapping[str, Tensor], name: str, parameter: Tensor) -> dict[str, Any]:
        moments = {
            moment: read_moment(saved, self.name, moment, name, parameter.shape)
            .to(parameter.device, parameter.dtype)
            .clone()
            for moment in MOMENTS
        }
        return {"step": saved[step_key(self.name)].to(parameter.device, torch.float32).clone(), **moments}


class Layered(Protocol):
    """An encoder whose layers can be told apart."""

    def layer_depths(self) -> dict[str, int]:
        """Return how many layers are above each parameter's own, by the parameter's name.

        Raises:
            SpecError: there is no list of layers.
        """
        ...


def depths_of(encoder: nn.Module, spec: OptimizerSpec) -> Depths:
    """Return the depths of an encoder's parameters where the spec tells its layers apart."""
    return cast(Layered, encoder).layer_depths() if spec.needs_layers else {}


def enter(phase: Phase, encoder: Iterable[Part], heads: Iterable[Part]) -> None:
    """Begin a step; heads have no layers that could wait."""
    for part in encoder:
        part.phase = phase
    for part in heads:
        part.phase = replace(phase, unfrozen=1.0)


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
    """Return norms as numbers; all at once, since a read waits for the device.

    The norm of a part without parameters is on the CPU.
    """
    if not norms:
        return {}
    device = next((n.device for n in norms.values() if n.device.type != "cpu"), None)
    together = torch.stack([norm.to(device) for norm in norms.values()])
    return dict(zip(norms, together.tolist(), strict=True))


def all_finite(norms: Mapping[str, float]) -> bool:
    """Whether no norm is infinite or not a number."""
    return all(math.isfinite(norm) for norm in norms.values())
