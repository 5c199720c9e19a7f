import pytest
from pydantic import ValidationError
from sslm_schedule.balancers import Static, StaticOptions

from sslm_platform.api import SpecError

TASKS = ("sentiment@tweets", "sentiment@movies", "mlm@movies")


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
