"""Texts that the encoder itself writes after others, token by token (UniLM; Dong et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from sslm_platform.kinds import AttentionPattern
from sslm_platform.model.attention import visible_tokens
from sslm_platform.model.encoder import SharedEncoder
from sslm_platform.model.multitask import Encode, encode_inputs
from sslm_platform.model.prefix import is_prefixed
from sslm_platform.model.tap import evaluating
from sslm_platform.model.task_adapter import adapter_of

SAME = 1e-4  # of the largest logit: rounding


class Continuation:
    """Hypotheses of texts that follow prefixes, R rows; see :class:`~sslm_platform.generating.Continued`.

    With keys and values kept, a text of T tokens after P costs P + T tokens; without, each step encodes
    prefix and tokens anew, T · (P + T / 2) in all.

    Args:
        encode: the encoder, as an engine has it.
        head: a tied head of texts.
        inputs: the batch's, of which only the prefixes are read.
        prefix_B: lengths of the prefixes, special tokens included.
        room: how many tokens may follow.
        backbone: the encoder's, if it :func:`keeps_states`.
    """

    def __init__(
        self,
        encode: Encode,
        head: Any,
        inputs: Mapping[str, Tensor | None],
        prefix_B: Tensor,
        room: int,
        backbone: nn.Module | None = None,
    ) -> None:
        ids_BL, segment_BL = inputs["input_ids_BL"], inputs["segment_BL"]
        assert ids_BL is not None
        self.device, self.room = ids_BL.device, room
        self._encode, self._head, self._backbone = encode, head, backbone
        self._prefix_R = prefix_B.to(self.device)
        self._longest = int(prefix_B.max())
        is_prefix_RP = torch.arange(self._longest, device=self.device) < self._prefix_R[:, None]
        self._ids_RL = ids_BL[:, : self._longest].masked_fill(~is_prefix_RP, 0)  # nobody sees what follows
        self._has_segments = segment_BL is not None
        self._num_written = 0
        self._kept: DynamicCache | None = None
        self._started = False

    def repeat(self, times: int) -> None:
        """Put copies of each row side by side, before the first step."""
        assert not self._started
        self._ids_RL = self._ids_RL.repeat_interleave(times, 0)
        self._prefix_R = self._prefix_R.repeat_interleave(times)

    def following(self, ids_R: Tensor) -> Tensor:
        """Append a token to each row, but for the first call; return the logits of the next, (R, V)."""
        if self._started:
            self._append(ids_R)
        self._started = True
        return self._anew() if self._num_written and self._kept is None else self._from_kept(ids_R)

    def reorder(self, rows_R: Tensor) -> None:
        """Put another row of the same example in each row's place."""
        self._ids_RL = self._ids_RL[rows_R]
        if self._kept is not None:
            self._kept.reorder_cache(cast(torch.LongTensor, rows_R))

    @property
    def has_kept(self) -> bool:
        """Whether keys and values were kept at the first step."""
        return self._kept is not None

    def _rows(self) -> Tensor:
        return torch.arange(len(self._prefix_R), device=self.device)

    def _append(self, ids_R: Tensor) -> None:
        self._ids_RL = nn.functional.pad(self._ids_RL, (0, 1))
        self._ids_RL[self._rows(), self._prefix_R + self._num_written] = ids_R
        self._num_written += 1

    def _anew(self, kept: DynamicCache | None = None) -> Tensor:
        """Encode all tokens so far."""
        length_R = self._prefix_R + self._num_written
        places_L = torch.arange(self._ids_RL.shape[1], device=self.device)
        mask_RL = places_L < length_R[:, None]
        visible_R1LL = visible_tokens(mask_RL, AttentionPattern.PREFIX, self._prefix_R)
        assert visible_R1LL is not None
        segment_RL = (mask_RL & (places_L >= self._prefix_R[:, None])).long()
        with _going_on(self._backbone, kept, places_L.expand_as(mask_RL)):
            return self._logits(self._ids_RL, visible_R1LL, segment_RL, length_R - 1)

    def _from_kept(self, ids_R: Tensor) -> Tensor:
        """Encode the prefix, and keep its keys and values if that can be; or one token after what is kept."""
        if not self._num_written:
            kept = DynamicCache() if self._backbone is not None else None
            logits_RV = self._anew(kept)
            # an engine may call copies of the backbone's modules, which keep nothing
            self._kept = kept if kept is not None and kept.get_seq_length() else None
            return logits_RV
        places_T = torch.arange(self._longest + self._num_written, device=self.device)
        seen_RT = (places_T < self._prefix_R[:, None]) | (places_T >= self._longest)
        place_R1 = (self._prefix_R + self._num_written - 1)[:, None]
        with _going_on(self._backbone, self._kept, place_R1):
            zeros_R = torch.zeros_like(ids_R)
            return self._logits(ids_R[:, None], seen_RT[:, None, None], torch.ones_like(place_R1), zeros_R)

    def _logits(self, ids_RL: Tensor, visible: Tensor, segment_RL: Tensor, last_R: Tensor) -> Tensor:
        def last(hidden_RLD: Tensor) -> Tensor:
            state_RD: Tensor = self._head.transform(hidden_RLD[self._rows(), last_R])
            return state_RD

        inputs = {
            "input_ids_BL": ids_RL,
            "mask_BL": None,
            "segment_BL": segment_RL if self._has_segments else None,
            "visible_B1LL": visible,
        }
        _, logits_RV = encode_inputs(self._encode, inputs, last, adapter=adapter_of(self._head))
        assert logits_RV is not None
        return self._head(logits_RV)


@contextmanager
def _going_on(backbone: nn.Module | None, kept: DynamicCache | None, place_RL: Tensor) -> Iterator[None]:
    """Hand the backbone keys and values of earlier tokens, and the places of the new ones."""
    if backbone is None or kept is None:
        yield
        return

    def add(_: nn.Module, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, given | {"past_key_values": kept, "position_ids": place_RL}

    handle = backbone.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class _Plain(nn.Module):
    """A tied head that changes nothing."""

    def transform(self, states_RD: Tensor) -> Tensor:
        return states_RD

    def forward(self, logits_RV: Tensor) -> Tensor:
        return logits_RV


def keeps_states(backbone: Any) -> bool:
    """Try whether an encoder can go on from keys and values: logits must be those of the whole text.

    It takes ``past_key_values`` and ``position_ids`` that count from 0 (BERT and ELECTRA do). Prefixes
    come in the same argument, so that an encoder with them cannot.
    """
    if is_prefixed(backbone):
        return False
    encoder = SharedEncoder(backbone)
    size = backbone.get_input_embeddings().num_embeddings
    ids_BL = torch.arange(8).view(2, 4) % size
    inputs = {"input_ids_BL": ids_BL, "segment_BL": torch.zeros_like(ids_BL)}
    inputs = {name: value.to(next(backbone.parameters()).device) for name, value in inputs.items()}

    def tried(kept: Any) -> tuple[bool, list[Tensor]]:
        continued = Continuation(encoder, _Plain(), inputs, torch.tensor([4, 2]), 3, kept)
        logits = [continued.following(torch.full((2,), n % size).to(continued.device)) for n in range(3)]
        return continued.has_kept, logits

    with torch.no_grad(), evaluating(backbone):
        try:
            (_, whole), (has_kept, found) = tried(None), tried(backbone)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return False
    return has_kept and all(_are_close(a, b) for a, b in zip(whole, found, strict=True))


def _are_close(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).abs().max() <= SAME * first.abs().max())
