"""A source's head that answers with the target's labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sslm_platform.interfaces import Targets
from sslm_platform.transfer.labels import LabelMapping


class MappedHead(nn.Module):
    """A head whose outputs are those of another, by the labels that these stand for.

    A target's label is as likely as all of the source's labels that stand for it together, among the labels
    that stand for one: log p(t) = logsumexp over s -> t of the source's logits, up to a constant.

    Args:
        source: the head that was trained; emits logits of the source's labels.
        target: a head built with the target's labels, which turns logits into predictions. Its weights are
            not used.
        mapping: each target label must have a label of the source.
    """

    def __init__(self, source: Any, target: Any, mapping: LabelMapping) -> None:
        super().__init__()
        self.source = source
        self.predict = target.predict
        num_labels = max(mapping) + 1
        self.groups = [[s for s, t in enumerate(mapping) if t == label] for label in range(num_labels)]

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Tensor:
        """Return what the source's head reads."""
        return self.source.features(hidden_BLD, mask_BL, targets)

    def transform(self, hidden_BLD: Tensor) -> Tensor:
        """Return what the source's head, if it is tied, puts before the tied weights."""
        return self.source.transform(hidden_BLD)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits of the target's labels, (rows, labels)."""
        logits = self.source(features)
        return torch.stack([logits[:, group].logsumexp(dim=-1) for group in self.groups], dim=-1)
