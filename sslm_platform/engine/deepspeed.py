"""The engine over DeepSpeed ZeRO.

DeepSpeed gets the encoder alone. One engine over encoder and heads would move idle heads: up to stage 2 a
parameter out of use has a zero gradient, so that momentum and weight decay go on, and at stage 3 its last
gradient comes again. So heads stay outside, replicated, each with an optimizer of its own; one that is too
large for that is alone in an engine of its own, which steps only when the head is active.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import deepspeed
import torch.distributed as dist
from pydantic import ValidationError
from torch import Tensor, nn

from sslm_platform.engine.average import averaged
from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.consolidation import Consolidation
from sslm_platform.engine.course import EVERYTHING, Phase
from sslm_platform.engine.deepspeed_config import deepspeed_config, head_config
from sslm_platform.engine.encoder_part import (
    EnginePart,
    FrozenEncoder,
    ReplicatedEncoder,
    Stored,
    TrunkPart,
    step_together,
)
from sslm_platform.engine.group import broadcast_module, gather_json, join_group, sum_in_place
from sslm_platform.engine.part import Part, all_finite, depths_of, enter, head_part, read_norms
from sslm_platform.engine.precision import Autocast, Bf16
from sslm_platform.engine.sharded_part import ShardedPart, masters, release
from sslm_platform.engine.sliced import slice_of
from sslm_platform.engine.sliced_part import SlicedPart
from sslm_platform.engine.task_gradients import SliceGradients, TaskGradients
from sslm_platform.engine.weights import check_names, module_state
from sslm_platform.errors import Problem, SpecError
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec

logger = logging.getLogger(__name__)


class DeepSpeedEngine:
    """See :class:`~sslm_platform.engine.base.Engine`.

    The encoder's module is DeepSpeed's from here on: at stage 3 its parameters are slices.
    """

    def __init__(
        self,
        spec: EngineSpec,
        optimizer: OptimizerSpec,
        encoder: nn.Module,
        heads: Mapping[str, nn.Module],
        gradients_of: Literal["last_layer"] | None = None,
        sharded_heads: Collection[str] = (),
    ) -> None:
        self.device = join_group()
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        bf16 = spec.precision == "bf16"
        encoder = encoder.to(self.device)
        sliced = slice_of(encoder, bf16=bf16) if gradients_of else None
        depths = depths_of(encoder, optimizer)
        part = Part("encoder", sliced.trunk if sliced else encoder, optimizer, optimizer.lr, depths)
        self._deepspeed: Any = None
        self._top: Part | None = None
        self.consolidation: Consolidation | None = None
        self.task_gradients: TaskGradients | None = None
        self.encoder: nn.Module
        self._encoder: EnginePart
        if sliced and not part.parameters and any(p.requires_grad for p in encoder.parameters()):
            what = "leaves deepspeed nothing to train below the last layer: set engine.name: local"
            raise SpecError(Problem("encoder.freeze", what))
        if not part.parameters:
            _check_frozen(spec, gradients_of, sharded_heads)
            broadcast_module(encoder)
            self._encoder, self.encoder = FrozenEncoder(part), Autocast(encoder) if bf16 else encoder
        else:
            given: TensorDict = {}
            if bf16:  # DeepSpeed makes its fp32 masters of weights that it has rounded
                broadcast_module(part.module)
                given = module_state(part.module)
            self._deepspeed = _initialize(part, deepspeed_config(spec, optimizer, self.world_size))
            trunk: TrunkPart = (
                ShardedPart(self._deepspeed, part, self.rank, self.world_size, given)
                if spec.zero_stage
                else ReplicatedEncoder(self._deepspeed, part)
            )
            part.anchor(masters(self._deepspeed.optimizer) if spec.zero_stage else part.parameters.values())
            self._encoder, self.encoder = trunk, Bf16(self._deepspeed) if bf16 else self._deepspeed
        if sliced:
            sliced.trunk, self.encoder = self._deepspeed, sliced
            broadcast_module(sliced.top)
            self._top = Part("encoder", sliced.top, optimizer, optimizer.lr, depths)
            self._top.anchor(self._top.parameters.values())
            self._encoder = SlicedPart(trunk, self._top)
            backward = self._deepspeed.backward
            self.task_gradients = SliceGradients(sliced, self.world_size, backward, self._mean)
        parts = {name: self._head_part(name, head, optimizer) for name, head in heads.items()}
        apart = {name for name, part in parts.items() if name in sharded_heads and part.parameters}
        apart = apart if spec.zero_stage else set()
        config = head_config(spec, optimizer, self.world_size)
        engines = {name: _initialize(parts[name], config) for name in sorted(apart)}
        self._heads = {name: part for name, part in parts.items() if name not in apart}
        self._sharded_heads = {
            name: ShardedPart(engine, parts[name], self.rank, self.world_size)
            for name, engine in engines.items()
        }
        self._encoder_parts = [part, *([self._top] if self._top else [])]
        self._head_parts = parts
        self._engines = [*([self._deepspeed] if self._deepspeed else []), *engines.values()]
        self.heads: Mapping[str, nn.Module] = {**heads, **engines}

    def _head_part(self, name: str, head: nn.Module, optimizer: OptimizerSpec) -> Part:
        broadcast_module(head.to(self.device))
        return Part(head_part(name), head, optimizer, optimizer.head_lr or optimizer.lr)

    def start_step(self, num_backwards: int, phase: Phase = EVERYTHING) -> None:
        """Note the phase; DeepSpeed does not count backwards."""
        enter(phase, self._encoder_parts, self._head_parts.values())

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients; DeepSpeed averages over ranks, so the sum is this many times the mean.

        The engines of sharded heads take part through the hooks on their outputs.
        """
        scaled = loss * self.world_size
        if self._deepspeed is None:
            scaled.backward()
        else:
            self._deepspeed.backward(scaled)

    def step(self, active_heads: Collection[str], learning_rate: float) -> dict[str, float]:
        """Reduce, clip and step the encoder and the active heads, unless a norm is not finite."""
        active = {name: self._heads[name] for name in sorted(active_heads) if name in self._heads}
        self._mean([gradient for part in self._unreduced(active.values()) for gradient in part.gradients])
        on_device = {name: part.norm() for name, part in active.items()}
        norms = read_norms(on_device)
        sharded = {name: self._sharded_heads[name] for name in sorted(set(active_heads) - active.keys())}
        parts = {"encoder": self._encoder, **sharded}
        norms = step_together(parts, learning_rate, all_finite(norms)) | norms
        if all_finite(norms):
            for name, part in active.items():
                part.clip(on_device[name])
                part.step(learning_rate)
        for part in self._heads.values():
            part.clear_gradients()
        return norms

    def _unreduced(self, active: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts outside DeepSpeed whose gradients are this rank's own, filled."""
        apart = self.task_gradients is not None and self.task_gradients.take_combined()
        for part in (*active, *([self._top] if self._top and not apart else [])):
            part.fill_gradients()
            yield part

    def _mean(self, tensors: list[Tensor]) -> None:
        sum_in_place(tensors, 1.0 / self.world_size)

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum over ranks."""
        total = tensor.to(self.device, copy=True)
        dist.all_reduce(total)
        return total.to(tensor.device)

    def all_gather_objects(self, value: Any) -> list[Any]:
        """Return each rank's value as JSON carries it."""
        return gather_json(value, self.device)

    def barrier(self) -> None:
        """Wait for all ranks."""
        dist.barrier()

    def encoder_state(self) -> TensorDict:
        """Gather the encoder's weights on rank 0."""
        state = self._encoder.weights()
        return state if self.rank == 0 else {}

    def head_states(self) -> dict[str, TensorDict]:
        """Gather each head's weights on rank 0."""
        states = {name: part.weights() for name, part in self._sharded_heads.items()}
        if self.rank > 0:
            return {}
        return states | {name: part.weights() for name, part in self._heads.items()}

    def load_weights(self, encoder: Mapping[str, Tensor], heads: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write weights, sharded parts' in slices."""
        check_names("heads", heads, self.heads)
        self._encoder.load_weights(encoder)
        for name, part in (self._sharded_heads | self._heads).items():
            part.load_weights(heads[name])

    def optimizer_state(self) -> TensorDict:
        """Gather all parts' moments and step counts on rank 0."""
        state: TensorDict = {}
        for part in self._parts:
            state |= part.optimizer_state()
        return state if self.rank == 0 else {}

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        """Write all parts' moments and step counts, sharded parts' in slices."""
        for part in self._parts:
            part.load_optimizer_state(state)

    @property
    def _parts(self) -> list[Stored]:
        return [self._encoder, *self._sharded_heads.values(), *self._heads.values()]

    def averaged(self) -> AbstractContextManager[None]:
        """Put averages in the weights' place: at stage 0, elsewhere there are none."""
        return averaged((*self._encoder_parts, *self._heads.values()))

    def close(self) -> None:
        """Undo DeepSpeed's hooks and free what it holds. The process group stays for the next engine."""
        for engine in self._engines:
            engine.destroy()
            if engine.zero_optimization_partition_weights():
                release(engine)


# It says on standard output that a step was skipped, which the trainer says, and of which task.
logging.getLogger("DeepSpeed").addFilter(lambda record: "OVERFLOW" not in record.getMessage())
# DeepSpeed's use of torch, a line for every collective; not ours to change and not the user's.
warnings.filterwarnings(
    "ignore", r"`torch.distributed.(all_gather_into|reduce_scatter)_tensor` is deprecated", FutureWarning
)


def _check_frozen(spec: EngineSpec, gradients_of: str | None, sharded_heads: Collection[str]) -> None:
    """Raise where an encoder that is frozen leaves DeepSpeed nothing to do."""
    what = "this encoder is frozen, and deepspeed shards what is trained:"
    if spec.zero_stage == 3:
        raise SpecError(Problem("engine.zero_stage", f"{what} set 0, 1 or 2, where ranks share the examples"))
    if gradients_of or sharded_heads:
        raise SpecError(Problem("engine.name", f"{what} take no balancer of gradients, and shard no head"))


def _initialize(part: Part, config: dict[str, Any]) -> Any:
    # An op for inference that training never calls, compiled for a minute at first use. Named
    # incompatible it is left alone, and nothing here needs a compiler.
    vars(deepspeed.ops).setdefault("__compatible_ops__", {})["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False)
    chatter = io.StringIO()
    try:
        with contextlib.redirect_stdout(chatter):
            engine, *_ = deepspeed.initialize(
                model=part.module, optimizer=part.optimizer, config=config, dist_init_required=False
            )
    except ValidationError as error:
        raise SpecError(
            *(
                Problem("engine.config", f"{'.'.join(map(str, e['loc']))} (of {error.title}): {e['msg']}")
                for e in error.errors(include_url=False)
            )
        ) from error
    logger.debug("deepspeed.initialize: %s", chatter.getvalue())
    return engine
