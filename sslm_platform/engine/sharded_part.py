"""A part in an engine of its own at ZeRO stages 1 to 3: the encoder, or a head too large to replicate."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from deepspeed.runtime.zero import GatheredParameters
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor, nn

from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.encoder_part import Others, on_its_own
from sslm_platform.engine.optimizer import MOMENTS
from sslm_platform.engine.part import Part, moment_key, read_moment, step_key
from sslm_platform.engine.weights import check_names, check_shape, to_host
from sslm_platform.errors import Problem, RunError


class ShardedPart:
    """Stages 1 to 3: ranks own slices of the fp32 weights and moments, at stage 3 of the parameters too.

    DeepSpeed's own checkpoints are pickles; here every tensor is gathered and scattered by name instead.
    """

    def __init__(
        self, engine: Any, part: Part, rank: int, world_size: int, given: Mapping[str, Tensor] | None = None
    ) -> None:
        """Take over an engine; ``given`` are the fp32 weights that it has rounded to 16 bits, if it has."""
        self._engine = engine
        self._part = part
        self._rank = rank
        self._world_size = world_size
        self._parameters = dict(part.module.named_parameters(remove_duplicate=False))
        self._buffers = {
            name: buffer for name, buffer in part.module.state_dict().items() if name not in self._parameters
        }
        self._skip = False
        self._others: Others | None = None
        self._ask_before_updates()
        # frozen weights have no masters, and are saved as they came, by rank 0
        self._frozen = {n for n, p in self._parameters.items() if given and not p.requires_grad}
        self._as_given: TensorDict = {}
        if given:
            self.load_weights(given)

    def step(self, learning_rate: float, skip: bool = False, others: Others = on_its_own) -> float:
        """Reduce, clip, step and clear."""
        self._skip, self._others = skip, others
        self._part.set_rate(learning_rate)
        self._engine.step()
        if self._others is not None:  # it has cleared a gradient that is not finite, and made no update
            others(False)
        return float(self._engine.get_global_grad_norm())

    def _ask_before_updates(self) -> None:
        """DeepSpeed has no place to say no between norm and update, but there it calls torch's optimizer."""
        update = self._part.optimizer.step

        def step(*args: Any, **kwargs: Any) -> Any:
            if self._others is not None:  # the first group of several
                others, self._others = self._others, None
                self._skip = not others(not self._skip)
            return None if self._skip else update(*args, **kwargs)

        self._part.optimizer.step = step  # type: ignore[method-assign]

    def count_in(self, norm: Callable[[], Tensor]) -> None:
        """Clip by one norm with parameters elsewhere: DeepSpeed has no setting for it, but one method."""
        optimizer = self._engine.optimizer
        if hasattr(optimizer, "_get_norm_groups"):  # stage 3
            groups = optimizer._get_norm_groups
            optimizer._get_norm_groups = lambda: [*(own := groups()), norm().to(own[0].device)]
        else:
            of_trunk = optimizer.scaled_global_norm
            optimizer.scaled_global_norm = lambda: torch.hypot(own := of_trunk(), norm().to(own.device))

    def weights(self) -> TensorDict:
        """Return full weights: of what is trained the fp32 masters."""
        state: TensorDict = {}
        for name, parameter in self._parameters.items():
            if name not in self._frozen:
                self._keep(state, name, self._full(parameter))
            elif self._rank == 0:
                state[name] = self._as_given[name].clone()
        for name, buffer in self._buffers.items():
            self._keep(state, name, buffer)
        return state

    def _keep(self, state: TensorDict, name: str, full: Tensor) -> None:
        """One rank keeps a copy, so that the others never hold more than one full tensor."""
        if self._rank == 0:
            state[name] = to_host(full)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write what the forward reads, and the fp32 masters."""
        check_names(self._part.name, weights, [*self._parameters, *self._buffers])
        with torch.no_grad():
            for name, buffer in self._buffers.items():
                value = weights[name]
                check_shape(self._part.name, name, value, buffer.shape)
                buffer.copy_(value)
            for name, parameter in self._parameters.items():
                value = weights[name]
                check_shape(self._part.name, name, value, full_shape(parameter))
                if name in self._frozen and self._rank == 0:
                    self._as_given[name] = to_host(value)
                self._write_weight(parameter, value)

    def optimizer_state(self) -> TensorDict:
        """Return full moments and the step count; empty before the first step."""
        if not self._has_moments:
            return {}
        step = next(state["step"] for state in self._part.optimizer.state.values() if state)
        self._link_moments()
        result: TensorDict = {}
        self._keep(result, step_key(self._part.name), step)
        for name, parameter in self._part.parameters.items():
            for moment in MOMENTS:
                full = safe_get_full_optimizer_state(parameter, moment)
                self._keep(result, moment_key(self._part.name, moment, name), full)
        return result

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write full moments and the step count."""
        if step_key(self._part.name) not in saved:
            if self._has_moments:
                raise RunError(
                    Problem(step_key(self._part.name), "missing, and this engine's part has stepped")
                )
            return
        if not self._has_moments:
            self._make_state()
        self._link_moments()
        for name, parameter in self._part.parameters.items():
            for moment in MOMENTS:
                value = read_moment(saved, self._part.name, moment, name, full_shape(parameter))
                self._write_moment(parameter, value, moment)
        for state in self._part.optimizer.state.values():
            state["step"].fill_(saved[step_key(self._part.name)].item())

    @property
    def _has_moments(self) -> bool:
        return any(self._part.optimizer.state.values())  # DeepSpeed makes empty entries in a skipped step

    def _make_state(self) -> None:
        """Give each slice the moments that Adam's first step would make: before it there are none."""
        optimizer = self._engine.optimizer
        swapped = getattr(optimizer, "_swappable_optimizer_subgroup", lambda index: False)
        for index, master in enumerate(masters(optimizer)):
            if swapped(index):
                optimizer._optimizer_states_and_gradient_swap_in(index)
            self._part.optimizer.state[master] = {
                "step": torch.zeros((), device=master.device),
                **{moment: torch.zeros_like(master) for moment in MOMENTS},
            }
            if swapped(index):
                optimizer._optimizer_states_and_gradient_swap_out(index)

    def _link_moments(self) -> None:
        """Tie parameters to their moments (stages 1 and 2).

        DeepSpeed 0.19 does this after the first *group* has stepped, when the others have no moments yet.
        """
        optimizer = self._engine.optimizer
        if hasattr(optimizer, "_hp_optimizer_states_linked"):
            optimizer._hp_optimizer_states_linked = False
            optimizer._lazy_init_hp_params_optimizer_state()

    def _full(self, parameter: nn.Parameter) -> Tensor:
        if parameter.requires_grad:
            return safe_get_full_fp32_param(parameter)
        with GatheredParameters([parameter], enabled=is_partitioned(parameter)):
            return parameter.detach().clone()

    def _write_weight(self, parameter: nn.Parameter, value: Tensor) -> None:
        value = value.to(parameter.device)
        with GatheredParameters([parameter], modifier_rank=0, enabled=is_partitioned(parameter)):
            if self._rank == 0 or not is_partitioned(parameter):
                parameter.copy_(value)
        if parameter.requires_grad:
            self._write(parameter, value, safe_set_full_fp32_param, safe_set_local_fp32_param)

    def _write_moment(self, parameter: nn.Parameter, value: Tensor, moment: str) -> None:
        self._write(
            parameter,
            value.to(parameter.device),
            lambda p, v: safe_set_full_optimizer_state(p, v, moment),
            lambda p, v: safe_set_local_optimizer_state(p, v, moment),
        )

    def _write(self, parameter: nn.Parameter, value: Tensor, write_full: Writer, write_local: Writer) -> None:
        """At stage 3, DeepSpeed's setter of full values fails unless the ranks divide the size evenly."""
        if is_partitioned(parameter):
            write_local(parameter, own_slice(value, self._rank, self._world_size))
        else:
            write_full(parameter, value)


Writer = Callable[[nn.Parameter, Tensor], None]


def masters(optimizer: Any) -> list[Tensor]:
    """Return this rank's fp32 slices, on which DeepSpeed's optimizer runs torch's."""
    for name in ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups"):
        if hasattr(optimizer, name):  # stage 3, stages 1 and 2
            return list(getattr(optimizer, name))
    return list(optimizer.fp32_groups_flat_partition)  # stage 1 in bf16


def release(engine: Any) -> None:
    """Free the tensors of a destroyed stage 3 engine, which its hooks and caches keep alive (0.19)."""
    for parameter in engine.module.parameters():
        for held in (parameter, getattr(parameter, "ds_tensor", parameter)):
            held.data = held.new_empty(0)
    engine.basic_optimizer.state.clear()
    engine.basic_optimizer._optimizer_step_post_hooks.clear()
    vars(engine.optimizer).clear()


def is_partitioned(parameter: nn.Parameter) -> bool:
    """Whether ZeRO-3 has taken the parameter over."""
    return hasattr(parameter, "ds_id")


def full_shape(parameter: nn.Parameter) -> torch.Size:
    """Return the shape before ZeRO-3 took it away."""
    return getattr(parameter, "ds_shape", parameter.shape)


def own_slice(value: Tensor, rank: int, world_size: int) -> Tensor:
    """Return a rank's slice of the flat value; the last ones are padded with zeros."""
    flat = value.flatten()
    size = -(-flat.numel() // world_size)
    padded = torch.nn.functional.pad(flat, (0, size * world_size - flat.numel()))
    return padded[rank * size : (rank + 1) * size]
