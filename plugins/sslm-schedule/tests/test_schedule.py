import numpy as np
import pytest
from pydantic import ValidationError
from sslm_schedule.balancers import Static, StaticOptions
from sslm_schedule.samplers import Proportional, Temperature, TemperatureOptions, Uniform

from sslm_platform.api import SamplingState, SpecError

STATE = SamplingState(0, 10, ("a", "b", "c"), (100, 1_000, 10_000))
TASKS = ("sentiment@tweets", "sentiment@movies", "mlm@movies")


def temperature(value):
    return Temperature(TemperatureOptions(temperature=value))


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (temperature(2.0), [0.0706, 0.2233, 0.7061]),
        (temperature(5.0), [0.1962, 0.3110, 0.4928]),
        (Uniform(), [1 / 3, 1 / 3, 1 / 3]),
        (Proportional(), [100 / 11_100, 1_000 / 11_100, 10_000 / 11_100]),
    ],
)
def test_shares(sampler, expected):
    assert sampler.probabilities(STATE) == pytest.approx(expected, abs=5e-5)


def test_temperature_of_one_is_proportional():
    assert np.array_equal(temperature(1.0).probabilities(STATE), Proportional().probabilities(STATE))


def test_temperature_must_be_positive():
    with pytest.raises(ValidationError, match="greater than 0"):
        TemperatureOptions(temperature=0)


def test_later_patterns_override_earlier_ones():
    options = StaticOptions(weights={"*@movies": 2.0, "sentiment@movies": 3.0})
    assert Static(options).weights(TASKS) == {
        "sentiment@tweets": 1.0,
        "sentiment@movies": 3.0,
        "mlm@movies": 2.0,
    }


def test_pattern_that_matches_nothing_is_an_error_with_a_suggestion():
    options = StaticOptions(weights={"sentiment@movie": 2.0})
    with pytest.raises(SpecError, match="'sentiment@movie' matches no task; did you mean sentiment@movies"):
        Static(options).weights(TASKS)


def test_weights_must_be_positive():
    with pytest.raises(ValidationError, match="greater than 0"):
        StaticOptions(weights={"*": 0.0})
