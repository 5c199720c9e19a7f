"""What is reported of a target is its likelihood."""

import numpy as np
import pytest
import torch
from sslm_generation.options import TeacherForcingOptions
from sslm_generation.teacher_forcing import TeacherForcing

from sslm_platform.api import ObjectiveContext, OutputKind, ScoringObjective
from sslm_platform.testing import data


def test_smoothing_is_part_of_the_training_alone():
    """A model that is right, and sure of it, has perplexity 1."""
    context = ObjectiveContext(OutputKind.GENERATED_TEXT, data.VOCABULARY, (), tokenizer=data.TOKENIZER)
    objective = TeacherForcing(TeacherForcingOptions(label_smoothing=0.1), context)
    assert isinstance(objective, ScoringObjective)
    targets = {"labels": torch.tensor([3, 1, 2]), "example": torch.tensor([0, 0, 1])}
    logits_NV = 30.0 * torch.nn.functional.one_hot(targets["labels"], 8).float()
    assert objective.score_losses(logits_NV, targets, 2).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    smoothed = 0.1 * 30 * 7 / 8  # of one token: the share of the others, each 30 below
    assert np.allclose(objective.losses(logits_NV, targets, 2), [2 * smoothed, smoothed], atol=1e-4)
