"""The encoder under DeepSpeed: replicated (stage 0) or sharded (stages 1 to 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

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
from sslm_platform.engine.optimizer import MOMENTS, set_rate
from sslm_platform.engine.part import Part, moment_key, read_moment, step_key
from sslm_platform.engine.weights import check_names, check_shape, load_module, module_state, to_host
from sslm_platform.errors import Problem, RunError


class EncoderPart(Protocol):
    """What is clipped, stepped, saved and loaded as the encoder."""

    def step(self, learning_rate: float, skip: bool = False) -> float:
        """Reduce, clip, step and clear; return the gradient's norm before clipping.

        A gradient that is not finite, or with ``skip`` any, is cleared and nothing else.
        """
        ...

    def weights(self) -> TensorDict:
        """Return full fp32 weights on the CPU."""
        ...

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write full weights."""
        ...

    def optimizer_state(self) -> TensorDict:
        """Return full moments and the step count on the CPU."""
        ...

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write full moments and the step count."""
        ...


class ReplicatedEncoder:
    """Stage 0: the optimizer is torch's own, so only reduction and stepping are DeepSpeed's."""

    def __init__(self, engine: Any, part: Part) -> None:
        self._engine = engine
        self._part = part
        self._norm = 0.0
        self._skip = False
        # Between DeepSpeed's reduction and its update there is no other place to clip and to see the norm.
        part.optimizer.register_step_pre_hook(self._clip)

    def _clip(self, *_: Any) -> None:
        norm = self._part.norm()
        self._norm = float(norm)
        if self._skip or not math.isfinite(self._norm):
            self._part.clear_gradients()  # the update passes over parameters that have none
        else:
            self._part.clip(norm)

    def step(self, learning_rate: float, skip: bool = False) -> float:
        """Reduce, clip, step and clear."""
        self._skip = skip
        set_rate(self._part.optimizer, self._part.peak_rate * learning_rate)
        self._engine.step()
        return self._norm

    def weights(self) -> TensorDict:
        """Return weights."""
        return module_state(self._part.module)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write weights."""
        load_module("encoder", self._part.module, weights)

    def optimizer_state(self) -> TensorDict:
        """Return moments and the step count."""
        return self._part.optimizer_state()

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write moments and the step count."""
        self._part.load_optimizer_state(saved)


class ShardedEncoder:
    """Stages 1 to 3: ranks own slices of the fp32 weights and moments, at stage 3 of the parameters too.

    DeepSpeed's own checkpoints are pickles; here every tensor is gathered and scattered by name instead.
    """

    def __init__(self, engine: Any, part: Part, rank: int, world_size: int) -> None:
        self._engine = engine
        self._part = part
        self._rank = rank
        self._world_size = world_size
        self._parameters = dict(part.module.named_parameters(remove_duplicate=False))
        self._buffers = {
            name: buffer for name, buffer in part.module.state_dict().items() if name not in self._parameters
        }
        self._skip = False
        part.optimizer.register_step_pre_hook(self._drop)

    def step(self, learning_rate: float, skip: bool = False) -> float:
        """Reduce, clip, step and clear."""
        self._skip = skip
        set_rate(self._part.optimizer, self._part.peak_rate * learning_rate)
        self._engine.step()  # it drops a gradient that is not finite
        return float(self._engine.get_global_grad_norm())

    def _drop(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if self._skip:  # the update passes over slices that have no gradient
            for group in optimizer.param_groups:
                for slice_N in group["params"]:
                    slice_N.grad = None

    def weights(self) -> TensorDict:
        """Return full weights: of what is trained the fp32 masters."""
        state = {name: to_host(self._full(parameter)) for name, parameter in self._parameters.items()}
        return state | {name: to_host(buffer) for name, buffer in self._buffers.items()}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Write what the forward reads, and the fp32 masters."""
        check_names("encoder", weights, [*self._parameters, *self._buffers])
        with torch.no_grad():
            for name, buffer in self._buffers.items():
                check_shape("encoder", name, weights[name], buffer.shape)
                buffer.copy_(weights[name])
            for name, parameter in self._parameters.items():
                check_shape("encoder", name, weights[name], full_shape(parameter))
                self._write_weight(parameter, weights[name])

    def optimizer_state(self) -> TensorDict:
        """Return full moments and the step count; empty before the first step."""
        if not self._has_moments:
            return {}
        self._link_moments()
        step = next(state["step"] for state in self._part.optimizer.state.values())
        result = {step_key(self._part.name): to_host(step)}
        for name, parameter in self._part.parameters.items():
            for moment in MOMENTS:
                full = safe_get_full_optimizer_state(parameter, moment)
                result[moment_key(self._part.name, moment, name)] = to_host(full)
        return result

    def load_optimizer_state(self, saved: Mapping[str, Tensor]) -> None:
        """Write full moments and the step count."""
        if step_key(self._part.name) not in saved:
            if self._has_moments:
                raise RunError(
                    Problem(step_key(self._part.name), "missing, and this engine's encoder has stepped")
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
        return any(self._part.optimizer.state.values())  # a step that was skipped leaves empty entries

    def _make_state(self) -> None:
        """Step once with a gradient of zero at rate zero: before that there are no moments to write to."""
        device = next(self._part.module.buffers(), next(iter(self._parameters.values()))).device
        one_token_BL = torch.zeros(1, 1, dtype=torch.long, device=device)
        with torch.random.fork_rng(), torch.enable_grad():
            hidden_BLD, _ = self._engine(one_token_BL, torch.ones_like(one_token_BL), None, None)
            self._engine.backward(hidden_BLD.float().sum() * 0.0)
        self.step(0.0)

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
