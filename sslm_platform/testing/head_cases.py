"""A head in a test: built, called as the platform calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sslm_platform.interfaces import Encoded, Targets
from sslm_platform.testing import data
from sslm_platform.testing.cases import Case
from sslm_platform.types import HeadContext, HeadDef

HeadCase = Case[HeadDef]


def build(case: HeadCase, seed: int = 0) -> Any:
    """Build the head of a case, its weights drawn from ``seed``."""
    masks = 2 if case.definition.reads_masks else 0
    tokenizer = data.TOKENIZER if case.kind.is_generated or masks else None
    sizes = (data.HIDDEN_SIZE, data.VOCABULARY.size)
    context = HeadContext(*sizes, data.labels_of(case.kind), tokenizer, num_masks=masks)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = case.definition.build(case.parsed_options(), context)
    assert isinstance(head, nn.Module), f"a head is a torch.nn.Module; got {type(head).__name__}"
    return head


def examples_of(case: HeadCase, num: int = 5) -> list[Encoded]:
    """Make examples for a head of this kind."""
    return data.make_examples(data.head_needs(case.kind, tied=case.definition.tied), num)


def run(case: HeadCase, head: Any, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
    """Call the head as the platform does; a tied one with a fixed embedding matrix."""
    features = head.features(hidden_BLD, mask_BL, targets)
    if not case.definition.tied:
        return head(features)
    generator = torch.Generator().manual_seed(5)
    embedding_VD = torch.randn(data.VOCABULARY.size, data.HIDDEN_SIZE, generator=generator)
    return head(head.transform(features) @ embedding_VD.to(hidden_BLD.device).T)


def outputs_of(case: HeadCase, head: Any, examples: Sequence[Encoded], padding: int = 0) -> Tensor:
    """Return the outputs of examples, whose states come from their places in the batch."""
    hidden_BLD, mask_BL = data.make_hidden(examples, padding)
    return run(case, head, hidden_BLD, mask_BL, data.make_targets(case.kind, examples).targets)
