"""One encoder call for a slot, then each task's head."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

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
            closely than the mask what each token sees (see :mod:`~sslm_platform.model.attention`), and
            ``lengths_CR``, on the host: with it there are C calls, each of the rows that have a length there.
        transform: a tied head's; with it the logits are returned too.
        shift_BLE: added to what the token embedding gives.
        adapter: the heads' own.
    """
    if inputs.get("lengths_CR") is not None:
        assert transform is None, "a tied head projects inside the encoder's one call"
        return _encode_by_call(encode, inputs, shift_BLE, adapter), None
    visible_B1LL = inputs.get("visible_B1LL")
    seen = inputs["mask_BL"] if visible_B1LL is None else visible_B1LL
    more = {"shift_BLE": shift_BLE, "adapter": adapter}
    given = {name: value for name, value in more.items() if value is not None}
    return encode(inputs["input_ids_BL"], seen, inputs["segment_BL"], transform, **given)


def _encode_by_call(
    encode: Encode,
    inputs: Mapping[str, Tensor | None],
    shift_BLE: Tensor | None,
    adapter: TaskAdapter | None,
) -> Tensor:
    """Call the encoder for some rows at a time, each call padded to its longest row; return all rows' states.

    A call without rows reads one in vain: ranks that called a sharded encoder unequally would wait forever.
    """
    lengths_CR, input_ids_BL = inputs["lengths_CR"], inputs["input_ids_BL"]
    assert lengths_CR is not None and input_ids_BL is not None  # noqa: PT018
    width = input_ids_BL.shape[1]
    states, places, idle = [], [], []
    for lengths_R in lengths_CR:
        rows = torch.nonzero(lengths_R).flatten()
        is_idle = not len(rows)
        rows, length = (rows.new_zeros(1), 1) if is_idle else (rows, int(lengths_R.max()))
        part = {
            n: None if v is None else _cut(v, rows, length) for n, v in inputs.items() if n != "lengths_CR"
        }
        shift = None if shift_BLE is None else shift_BLE[rows.to(shift_BLE.device), :length]
        hidden_BLD, _ = encode_inputs(encode, part, None, shift, adapter)
        if is_idle:
            idle.append(0.0 * hidden_BLD.sum())
        else:
            states.append(pad(hidden_BLD, (0, 0, 0, width - length)))
            places.append(rows)
    order = torch.argsort(torch.cat(places)).to(input_ids_BL.device)
    hidden_BLD = torch.cat(states)[order]
    return hidden_BLD + torch.stack(idle).sum() if idle else hidden_BLD


def _cut(value: Tensor, rows: Tensor, length: int) -> Tensor:
    """Return rows (R, L) or (R, 1, L, L) of an input, as long as its longest."""
    chosen = value[rows.to(value.device)]
    return chosen[:, :length] if value.dim() == 2 else chosen[:, :, :length, :length]


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
