"""A plugin of what the built-in ones lack: a decoder-like head, a loss over a batch, streams step by step."""

import importlib.metadata

import numpy as np
import torch
from torch import nn

from sslm_platform.api import (
    Field,
    FieldKind,
    HeadDef,
    ObjectiveDef,
    OutputKind,
    SamplerDef,
    TaskBatch,
    hookimpl,
)
from sslm_platform.plugins import GROUP, load_plugins


class Decoder(nn.Module):
    """One layer of a decoder: two queries for each target, cross-attention to all states of its example."""

    def __init__(self, options, context):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2, context.hidden_size))
        self.layer = nn.TransformerDecoderLayer(
            context.hidden_size, 2, 2 * context.hidden_size, dropout=0.0, batch_first=True
        )
        self.output = nn.Linear(context.hidden_size, context.vocabulary_size)

    def features(self, hidden_BLD, mask_BL, targets):
        """Return (N, L, D + 2): states, whether a position is text, whether it is the target's."""
        example_N, position_N = targets["example"], targets["position"]
        here_NL = nn.functional.one_hot(position_N, mask_BL.shape[1])
        marks_NL2 = torch.stack([mask_BL[example_N], here_NL], dim=-1).to(hidden_BLD.dtype)
        return torch.cat([hidden_BLD[example_N], marks_NL2], dim=-1)

    def forward(self, features):
        hidden_NLD, text_NL, here_NL = features[..., :-2], features[..., -2], features[..., -1]
        target_N1D = (here_NL[..., None] * hidden_NLD).sum(1, keepdim=True)
        decoded_N2D = self.layer(self.queries + target_N1D, hidden_NLD, memory_key_padding_mask=text_NL == 0)
        return self.output(decoded_N2D.mean(1))


class Contrast:
    """Supervised contrastive loss over a rank's examples of a slot (Khosla et al. 2020, equation 2).

    An example's loss depends on the others, so it is not additive; it weighs 1.
    """

    def collate(self, examples, generators):
        labels_B = torch.tensor([int(example.values["label"]) for example in examples])
        return TaskBatch({"labels": labels_B}, torch.ones(len(examples)))

    def losses(self, outputs, targets, num_examples):
        vectors_BC = nn.functional.normalize(outputs, dim=-1)
        others_BB = ~torch.eye(num_examples, dtype=torch.bool)
        scores_BB = (vectors_BC @ vectors_BC.T / 0.5).masked_fill(~others_BB, -1e9)
        alike_BB = (targets["labels"][:, None] == targets["labels"]) & others_BB
        log_BB = scores_BB.log_softmax(dim=-1)
        return -(log_BB * alike_BB).sum(-1) / alike_BB.sum(-1).clamp(min=1)


class Alternating:
    """All slots of a step from one stream, the next step's from the next."""

    def probabilities(self, state):
        return np.eye(len(state.feeds))[state.step % len(state.feeds)]


@hookimpl
def sslm_heads():
    return (HeadDef("small_decoder", Decoder, OutputKind.VOCABULARY_LOGITS),)


@hookimpl
def sslm_objectives():
    fields = {"text": Field(FieldKind.TEXT), "label": Field(FieldKind.LABEL)}
    needs = {OutputKind.SEQUENCE_LOGITS: fields}
    return (ObjectiveDef("contrast", lambda options, context: Contrast(), needs, additive=False),)


@hookimpl
def sslm_samplers():
    return (SamplerDef("alternating", lambda options: Alternating()),)


class Installed(importlib.metadata.Distribution):
    """This module, as if it were installed."""

    def read_text(self, filename):
        files = {
            "METADATA": "Metadata-Version: 2.1\nName: parity-plugin\nVersion: 1",
            "entry_points.txt": f"[{GROUP}]\nparity = {__name__}",
        }
        return files.get(filename)

    def locate_file(self, path):
        raise NotImplementedError


def host():
    """Return the installed plugins and this one."""
    return load_plugins([*importlib.metadata.distributions(), Installed()])
