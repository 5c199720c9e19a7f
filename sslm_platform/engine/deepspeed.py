"""The engine over DeepSpeed ZeRO.

DeepSpeed gets the encoder alone. One engine over encoder and heads would move idle heads: up to stage 2 a
parameter out of use has a zero gradient, so that momentum and weight decay go on, and at stage 3 its last
gradient comes again. So heads stay outside, replicated, each with an optimizer of its own.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import deepspeed
import torch.distributed as dist
from pydantic import ValidationError
from torch import Tensor, nn

from sslm_platform.engine.base import TensorDict
from sslm_platform.engine.deepspeed_config import deepspeed_config
from sslm_platform.engine.encoder_part import EncoderPart, ReplicatedEncoder, ShardedEncoder
from sslm_platform.engine.group import broadcast_module, gather_json, join_group, sum_in_place
from sslm_platform.engine.part import Part, all_finite, head_part, read_norms
from sslm_platform.engine.precision import Bf16
from sslm_platform.engine.task_gradients import TaskGradients
from sslm_platform.engine.weights import check_names, load_module, module_state
from sslm_platform.errors import Problem, SpecError
from sslm_platform.spec.schema import EngineSpec, OptimizerSpec

logger = logging.getLogger(__name__)


class DeepSpeedEngine:
    """See :class:`~sslm_platform.engine.base.Engine`.

    The encoder's module is DeepSpeed's from here on: at stage 3 its parameters are slices.
    """

    task_gradients: TaskGradients | None = None  # it reduces what it gets, and keeps only the sum

    def __init__(
        self,
        spec: EngineSpec,
        optimizer: OptimizerSpec,
        encoder: nn.Module,
        heads: Mapping[str, nn.Module],
    ) -> None:
        self.device = join_group()
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()
        part = Part("encoder", encoder.to(self.device), optimizer, optimizer.lr)
        if not part.parameters:
            raise SpecError(Problem("engine.name", "deepspeed needs an encoder to train; this one is frozen"))
        self._deepspeed = _initialize(part, deepspeed_config(spec, optimizer, self.world_size))
        self._encoder: EncoderPart = (
            ShardedEncoder(self._deepspeed, part, self.rank, self.world_size)
            if spec.zero_stage
            else ReplicatedEncoder(self._deepspeed, part)
        )
        self.encoder: nn.Module = Bf16(self._deepspeed) if spec.precision == "bf16" else self._deepspeed
        self.heads: Mapping[str, nn.Module] = {name: head.to(self.device) for name, head in heads.items()}
        for head in self.heads.values():
            broadcast_module(head)
        head_rate = optimizer.head_lr or optimizer.lr
        self._heads = {
            name: Part(head_part(name), head, optimizer, head_rate) for name, head in self.heads.items()
        }

    def start_step(self, num_backwards: int) -> None:
        """Need nothing: DeepSpeed does not count them."""

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients; DeepSpeed averages over ranks, so the sum is this many times the mean."""
        self._deepspeed.backward(loss * self.world_size)

    def step(self, active_heads: Collection[str], learning_rate: float) -> dict[str, float]:
        """Reduce, clip and step the encoder and the active heads, unless a norm is not finite."""
        active = {name: self._heads[name] for name in sorted(active_heads)}
        for part in active.values():
            part.fill_gradients()
        gradients = [gradient for part in active.values() for gradient in part.gradients]
        sum_in_place(gradients, 1.0 / self.world_size)
        on_device = {name: part.norm() for name, part in active.items()}
        norms = read_norms(on_device)
        norms = {"encoder": self._encoder.step(learning_rate, skip=not all_finite(norms))} | norms
        if all_finite(norms):
            for name, part in active.items():
                part.clip(on_device[name])
                part.step(learning_rate)
        for part in self._heads.values():
            part.clear_gradients()
        return norms

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
        """Return each head's weights."""
        return {name: module_state(head) for name, head in self.heads.items()}

    def load_weights(self, encoder: Mapping[str, Tensor], heads: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write weights, the encoder's in slices."""
        check_names("heads", heads, self.heads)
        self._encoder.load_weights(encoder)
        for name, head in self.heads.items():
            load_module(f"head {name!r}", head, heads[name])

    def optimizer_state(self) -> TensorDict:
        """Gather all parts' moments and step counts on rank 0."""
        state = self._encoder.optimizer_state()
        for part in self._heads.values():
            state |= part.optimizer_state()
        return state if self.rank == 0 else {}

    def load_optimizer_state(self, state: Mapping[str, Tensor]) -> None:
        """Write all parts' moments and step counts, the encoder's in slices."""
        self._encoder.load_optimizer_state(state)
        for part in self._heads.values():
            part.load_optimizer_state(state)

    def close(self) -> None:
        """Undo DeepSpeed's hooks. The process group stays for the next engine."""
        self._deepspeed.destroy()


# It says on standard output that a step was skipped, which the trainer says, and of which task.
logging.getLogger("DeepSpeed").addFilter(lambda record: "OVERFLOW" not in record.getMessage())
# DeepSpeed's use of torch, a line for every collective; not ours to change and not the user's.
warnings.filterwarnings(
    "ignore", r"`torch.distributed.(all_gather_into|reduce_scatter)_tensor` is deprecated", FutureWarning
)


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
