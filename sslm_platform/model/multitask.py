"""One encoder call for a slot, then each task's head."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sslm_platform.interfaces import Targets
from sslm_platform.model.task_adapter import TaskAdapter, adapter_of
from sslm_platform.spec.resolved import Bound
from sslm_platform.types import HeadContext, HeadDef

Encode = Callable[..., tuple[Tensor, Tensor | None]]


@dataclass(frozen=True, slots=True)
class TaskHead:
    """A head as one task uses it."""

    module: Any  # a Head
    tied: bool

    @property
    def adapter(self) -> TaskAdapter | None:
        """What the head has put into the encoder, if it has something."""
        return adapter_of(self.module)


def build_head(bound: Bound[HeadDef], context: HeadContext, *seed: object) -> nn.Module:
    """Build a head whose first weights depend on ``seed`` alone, not on what was built before it."""
    key = int.from_bytes(hashlib.sha256(repr(seed).encode()).digest()[:7], "big")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        return bound.build(context)


def encode_inputs(
    encode: Encode,
    inputs: Mapping[str, Tensor | None],
    transform: Callable[[Tensor], Tensor] | None = None,
    shift_BLE: Tensor | None = None,
    adapter: TaskAdapter | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Call the encoder.

    Args:
        encode: a :class:`~sslm_platform.model.encoder.SharedEncoder`, or what an engine has made of it.
        inputs: ``input_ids_BL``, ``mask_BL``, ``segment_BL``, and perhaps ``visible_B1LL``, which says more
            closely than the mask what each token sees (see :mod:`~sslm_platform.model.attention`).
        transform: a tied head's; with it the logits are returned too.
        shift_BLE: added to what the token embedding gives.
        adapter: the heads' own.
    """
    visible_B1LL = inputs.get("visible_B1LL")
    seen = inputs["mask_BL"] if visible_B1LL is None else visible_B1LL
    more = {"shift_BLE": shift_BLE, "adapter": adapter}
    given = {name: value for name, value in more.items() if value is not None}
    return encode(inputs["input_ids_BL"], seen, inputs["segment_BL"], transform, **given)


def task_outputs(
    encode: Encode,
    heads: Mapping[str, TaskHead],
    inputs: Mapping[str, Tensor | None],
    targets: Mapping[str, Targets],
    shift_BLE: Tensor | None = None,
) -> dict[str, Tensor]:
    """Encode once and return each task's outputs.

    ``inputs`` are :func:`encode_inputs`'s. Tied heads' rows are projected onto
    the embedding matrix inside the encoder call (see :class:`~sslm_platform.model.encoder.SharedEncoder`).
    Heads with an adapter are all one head: another one's states would be others.
    """
    mask_BL = inputs["mask_BL"]
    assert mask_BL is not None
    tied = [task for task, head in heads.items() if head.tied]
    sizes: list[int] = []

    def transform(hidden_BLD: Tensor) -> Tensor:
        rows = [
            heads[task].module.transform(heads[task].module.features(hidden_BLD, mask_BL, targets[task]))
            for task in tied
        ]
        sizes.extend(len(r) for r in rows)
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    adapter = next(iter(heads.values())).adapter
    hidden_BLD, logits_NV = encode_inputs(encode, inputs, transform if tied else None, shift_BLE, adapter)
    outputs = {
        task: head.module(head.module.features(hidden_BLD, mask_BL, targets[task]))
        for task, head in heads.items()
        if not head.tied
    }
    if logits_NV is not None:
        for task, rows in zip(tied, _split(logits_NV, sizes), strict=True):
            outputs[task] = heads[task].module(rows)
    return outputs


def _split(logits_NV: Tensor, sizes: Sequence[int]) -> Sequence[Tensor]:
    return (logits_NV,) if len(sizes) == 1 else torch.split(logits_NV, list(sizes))
