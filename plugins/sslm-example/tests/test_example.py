"""What the conformance checks cannot know: the numbers."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sslm_example.bounded_regressor import BoundedRegressor
from sslm_example.huber import Huber
from sslm_example.mean_absolute_error import MeanAbsoluteError
from sslm_example.options import BoundedOptions

from sslm_platform.api import Scored


def test_huber_is_quadratic_then_linear():
    losses = Huber(delta=1.0).losses(torch.tensor([0.5, 3.0]), {"labels": torch.zeros(2)}, 2)
    assert losses.tolist() == [0.125, 2.5]


def test_outputs_stay_on_the_scale():
    head = BoundedRegressor(BoundedOptions(low=-4, high=4), hidden_size=2)
    outputs = head(torch.tensor([[1e6, 1e6], [-1e6, -1e6], [0.0, 0.0]]))
    assert outputs.abs().max() <= 4
    assert outputs[:2].abs().tolist() == [4.0, 4.0]


def test_bounds_must_be_ordered():
    with pytest.raises(ValidationError, match="low must be below high"):
        BoundedOptions(low=4, high=-4)


def test_mean_absolute_error():
    scored = Scored([1.0, 2.0], [0.0, 4.0], np.zeros(2), np.ones(2))
    assert MeanAbsoluteError().score(scored) == 1.5
