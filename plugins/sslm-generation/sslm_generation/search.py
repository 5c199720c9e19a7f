"""From next-token logits to texts: beam search (greedy with one beam) and nucleus sampling.

B texts, K beams, R = B · K rows, V tokens, T tokens so far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sslm_generation.options import DecodingOptions
from sslm_platform.api import TextTokenizer

NEVER = float("-inf")


class Rows(Protocol):
    """Hypotheses of a model, R of them."""

    device: torch.device

    def following(self, ids_R: Tensor) -> Tensor:
        """Append a token to each row; return the logits of the next, (R, V)."""
        ...

    def reorder(self, rows_R: Tensor) -> None:
        """Put another row of the same example in each row's place."""
        ...


def decode(
    rows: Rows,
    tokenizer: TextTokenizer,
    options: DecodingOptions,
    generators: Sequence[np.random.Generator],
    goes_on: Callable[[bool], bool],
) -> list[list[list[int]]]:
    """Return the ids of ``options.n_best`` texts for each generator, the best first, without start and end.

    There may be fewer. Args:
        rows: ``options.beams`` for each text, side by side.
        tokenizer: of the ids; padding and start are never generated.
        options: how.
        generators: each text's own random numbers, for sampling.
        goes_on: asked after each step but the last, with whether a text is unfinished.
    """
    if options.top_p is not None:
        texts = _sample(rows, tokenizer, options, options.top_p, generators, goes_on)
        return [[ids] for ids in texts]
    return _search(rows, tokenizer, options, len(generators), goes_on)


def length_penalty(length: int, alpha: float) -> float:
    """Return ((5 + length) / 6)^alpha (Wu et al. 2016, eq. 14)."""
    return float(((5 + length) / 6) ** alpha)


def _search(
    rows: Rows,
    tokenizer: TextTokenizer,
    options: DecodingOptions,
    num: int,
    goes_on: Callable[[bool], bool],
) -> list[list[list[int]]]:
    """Return the best of each text's hypotheses that have ended, by penalized log-probability.

    A text is finished when as many hypotheses have ended as there are beams, or when no hypothesis that runs
    can overtake the last of the best: its log-probability only falls. What runs at the greatest length
    competes as it is.
    """
    beams, longest = options.beams, options.max_length
    score_BK = torch.full((num, beams), NEVER, device=rows.device, dtype=torch.float64)
    score_BK[:, 0] = 0.0
    bar_B = torch.full((num,), NEVER, device=rows.device, dtype=torch.float64)  # of the last of the best
    num_ended_B = torch.zeros(num, dtype=torch.int64, device=rows.device)
    best: list[list[tuple[float, list[int]]]] = [[] for _ in range(num)]
    ids_BKT = torch.empty(num, beams, 0, dtype=torch.int64, device=rows.device)
    last_R = torch.full((num * beams,), tokenizer.start_id, device=rows.device)
    first_B1 = beams * torch.arange(num, device=rows.device).unsqueeze(1)

    def keep_better(candidate_BC: Tensor, ids_BCT: Tensor, length: int) -> None:
        value_BC = candidate_BC / length_penalty(length, options.length_penalty)
        for text, place in torch.nonzero(value_BC > bar_B.unsqueeze(1)).tolist():
            found = [*best[text], (float(value_BC[text, place]), ids_BCT[text, place].tolist())]
            best[text] = sorted(found, key=lambda one: -one[0])[: options.n_best]
            if len(best[text]) == options.n_best:
                bar_B[text] = best[text][-1][0]

    for length in range(1, longest + 1):
        logits_RV = _allowed(rows.following(last_R), ids_BKT.flatten(0, 1), tokenizer, options.no_repeat)
        total_BKV = score_BK.unsqueeze(2) + _log_softmax(logits_RV).unflatten(0, (num, beams))
        num_tokens = total_BKV.shape[2]
        # twice as many as beams: at most one ending for each beam, so that as many go on
        value_BC, place_BC = total_BKV.flatten(1).topk(min(2 * beams, beams * num_tokens), dim=1)
        parent_BC, token_BC = place_BC // num_tokens, place_BC % num_tokens
        ids_BCT = ids_BKT.gather(1, parent_BC.unsqueeze(2).expand(-1, -1, length - 1))
        ends_BC = token_BC == tokenizer.end_id
        # an ending counts where it is among the best, and its text is not finished
        open_B1 = (num_ended_B < beams).unsqueeze(1)
        counted_BC = ends_BC & open_B1 & (value_BC > NEVER)
        counted_BC[:, beams:] = False
        keep_better(value_BC.masked_fill(~counted_BC, NEVER), ids_BCT, length)
        num_ended_B += counted_BC.sum(dim=1)
        score_BK, chosen_BK = value_BC.masked_fill(ends_BC, NEVER).topk(beams, dim=1)
        parent_BK, token_BK = parent_BC.gather(1, chosen_BK), token_BC.gather(1, chosen_BK)
        ids_BKT = torch.cat(
            [ids_BCT.gather(1, chosen_BK.unsqueeze(2).expand(-1, -1, length - 1)), token_BK.unsqueeze(2)], 2
        )
        hope_B = score_BK[:, 0] / length_penalty(longest, options.length_penalty)
        finished_B = (num_ended_B >= beams) | (bar_B >= hope_B)
        if length == longest:
            keep_better(score_BK.masked_fill(finished_B.unsqueeze(1), NEVER), ids_BKT, length)
            break
        num_ended_B.masked_fill_(finished_B, beams)
        if not goes_on(not bool(finished_B.all())):
            break
        rows.reorder((first_B1 + parent_BK).flatten())
        last_R = token_BK.flatten()
    return [[ids for _, ids in hypotheses] or [[]] for hypotheses in best]


def written(tokenizer: TextTokenizer, found: Sequence[Sequence[list[int]]], n_best: int) -> list[Any]:
    """Return the text of each example's ids, or with ``n_best`` > 1 its texts."""
    texts = iter(tokenizer.decode([ids for hypotheses in found for ids in hypotheses]))
    lists = [[next(texts) for _ in hypotheses] for hypotheses in found]
    return [one[0] for one in lists] if n_best == 1 else lists


def _sample(
    rows: Rows,
    tokenizer: TextTokenizer,
    options: DecodingOptions,
    top_p: float,
    generators: Sequence[np.random.Generator],
    goes_on: Callable[[bool], bool],
) -> list[list[int]]:
    """Return a text of each generator's, token by token from the nucleus (Holtzman et al. 2020, 3.1)."""
    num = len(generators)
    ids_BT = torch.empty(num, 0, dtype=torch.int64, device=rows.device)
    last_B = torch.full((num,), tokenizer.start_id, device=rows.device)
    ended_B = torch.zeros(num, dtype=torch.bool, device=rows.device)
    for length in range(1, options.max_length + 1):
        logits_BV = _allowed(rows.following(last_B), ids_BT, tokenizer, options.no_repeat)
        share_BV, token_BV = (logits_BV.double() / options.temperature).softmax(dim=1).sort(descending=True)
        with _any_operation():
            below_BV = share_BV.cumsum(dim=1)
        # the fewest tokens that reach top_p: those before which it is not reached
        mass_B = below_BV.masked_fill(below_BV - share_BV >= top_p, 0.0).amax(dim=1)
        drawn = [generator.random() for generator in generators]
        drawn_B = torch.tensor(drawn, device=rows.device, dtype=torch.float64)
        place_B = torch.searchsorted(below_BV, (drawn_B * mass_B).unsqueeze(1), right=True).squeeze(1)
        last_B = token_BV.gather(1, place_B.clamp(max=token_BV.shape[1] - 1).unsqueeze(1)).squeeze(1)
        ids_BT = torch.cat([ids_BT, last_B.unsqueeze(1)], dim=1)
        ended_B |= last_B == tokenizer.end_id
        if length == options.max_length or not goes_on(not bool(ended_B.all())):
            break
    return [_until(ids, tokenizer.end_id) for ids in ids_BT.tolist()]


@contextmanager
def _any_operation() -> Iterator[None]:
    """On a GPU, torch calls a running sum not deterministic; there is none that it would call so."""
    strict = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict)


def _log_softmax(logits_RV: Tensor) -> Tensor:
    return logits_RV.double().log_softmax(dim=1)


def _allowed(logits_RV: Tensor, ids_RT: Tensor, tokenizer: TextTokenizer, no_repeat: int | None) -> Tensor:
    """Rule out padding, start, and tokens that would repeat an n-gram."""
    logits_RV = logits_RV.clone()
    logits_RV[:, sorted({tokenizer.pad_id, tokenizer.start_id} - {tokenizer.end_id})] = NEVER
    if no_repeat is not None and ids_RT.shape[1] >= no_repeat:
        window_RWN = ids_RT.unfold(1, no_repeat, 1)
        is_last_RW = (window_RWN[..., :-1] == ids_RT[:, None, 1 - no_repeat :]).all(dim=2)
        row_P, place_P = torch.nonzero(is_last_RW, as_tuple=True)
        logits_RV[row_P, window_RWN[row_P, place_P, -1]] = NEVER
    return logits_RV


def _until(ids: list[int], end_id: int) -> list[int]:
    return ids[: ids.index(end_id)] if end_id in ids else ids
