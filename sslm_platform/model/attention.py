"""What each token sees: masks of the attention patterns, and whether an encoder keeps to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sslm_platform.errors import Problem, SpecError
from sslm_platform.kinds import AttentionPattern
from sslm_platform.model.tap import evaluating

CHANGED = 1e-5  # of the largest state: more than rounding


def visible_tokens(
    mask_BL: Tensor, pattern: AttentionPattern, prefix_B: Tensor | None = None
) -> Tensor | None:
    """Return visible_B1LL, bool: whether token i sees token j; None where ``mask_BL`` says it all.

    Padding is never seen, and sees what the last token sees: a row of nothing would be NaN.

    Args:
        mask_BL: bool, True for tokens.
        pattern: which tokens are seen (UniLM: Dong et al. 2019, figure 1).
        prefix_B: how many first tokens all see; for ``prefix`` alone, at least 1 each.
    """
    if pattern is AttentionPattern.BIDIRECTIONAL:
        return None
    places_L = torch.arange(mask_BL.shape[1], device=mask_BL.device)
    visible_1LL = (places_L <= places_L[:, None])[None]
    if pattern is AttentionPattern.PREFIX:
        assert prefix_B is not None, "an objective of prefix attention gives TaskBatch.prefix_B"
        visible_1LL = visible_1LL | (places_L < prefix_B[:, None])[:, None, :]
    return (visible_1LL & mask_BL[:, None, :])[:, None]


def check_attention(backbone: Any, patterns: Iterable[AttentionPattern]) -> None:
    """Try whether an encoder keeps to the patterns: a state changes exactly with the tokens that it sees.

    Raises:
        SpecError: it does not; its attention takes no mask by pairs of tokens, or takes it otherwise.
    """
    for pattern in sorted(set(patterns) - {AttentionPattern.BIDIRECTIONAL}):
        try:
            wrong = _difference(backbone, pattern)
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            wrong = next(iter(str(error).strip().splitlines()), repr(error))  # it may say nothing
        if wrong is not None:
            raise SpecError(
                Problem(
                    "encoder",
                    f"{type(backbone).__name__} cannot run an objective of {pattern} attention: tried on a"
                    f" short text, {wrong}; take an encoder whose attention reads 4-D masks (BERT does), or"
                    " leave such tasks out",
                )
            )


def _difference(backbone: Any, pattern: AttentionPattern) -> str | None:
    """Return a pair of tokens that is not as the pattern says."""
    embeddings = backbone.get_input_embeddings()
    pad_id = getattr(backbone.config, "pad_token_id", None) or 0
    length = 5  # tokens, and one of padding
    ids = [i for i in range(embeddings.num_embeddings - 1, -1, -1) if i != pad_id][: 2 * length]
    text_L = torch.tensor([*ids[:length], pad_id])
    rows_BL = text_L.repeat(length + 2, 1)  # the text, and one row for each token changed
    for place in range(length + 1):
        rows_BL[place + 1, place] = ids[(length + place) % len(ids)]
    mask_BL = (torch.arange(length + 1) < length).expand_as(rows_BL)
    visible_B1LL = visible_tokens(mask_BL, pattern, torch.full((length + 2,), 2))
    assert visible_B1LL is not None
    device = embeddings.weight.device
    with torch.no_grad(), evaluating(backbone):
        hidden_BLD = backbone(
            input_ids=rows_BL.to(device), attention_mask=visible_B1LL.to(device)
        ).last_hidden_state
    change_BL = (hidden_BLD[1:] - hidden_BLD[0]).abs().amax(dim=-1)
    moved_BL = (change_BL > CHANGED * hidden_BLD.abs().max()).cpu()
    expected_LL = visible_B1LL[0, 0, :length]
    wrong = torch.nonzero(moved_BL.T[:length] != expected_LL)
    if not len(wrong):
        return None
    reader, read = wrong[0].tolist()
    return f"token {reader} {'does not see' if expected_LL[reader, read] else 'sees'} token {read}"
