"""From a name to its checks."""

import pytest

from sslm_platform.errors import PluginError
from sslm_platform.testing import parametrize_with_checks


def names(mark):
    return {parameter.id for parameter in mark.args[1]}


def test_every_kind_of_output_is_checked():
    found = names(parametrize_with_checks("cross_entropy"))
    assert {"cross_entropy-sequence_logits-additive", "cross_entropy-token_logits-losses_are_sums"} <= found
    assert "cross_entropy-sequence_logits-losses_are_sums" not in found


def test_misspelt_name_gets_a_suggestion():
    with pytest.raises(PluginError, match="no plugin defines 'cros_entropy'; did you mean cross_entropy"):
        parametrize_with_checks("cros_entropy")


def test_misspelt_name_of_a_kind_gets_a_suggestion_of_that_kind():
    with pytest.raises(PluginError, match="unknown metric 'mlm'"):
        parametrize_with_checks("mlm", kind="metric")


def test_ambiguous_name_asks_for_the_kind():
    with pytest.raises(PluginError, match="'mse' is objective and metric: say which with kind="):
        parametrize_with_checks("mse")


def test_misspelt_kind_gets_a_suggestion():
    with pytest.raises(PluginError, match="unknown kind 'objectve'; did you mean objective"):
        parametrize_with_checks("mse", kind="objectve")


def test_options_reach_the_case():
    (check, *_) = parametrize_with_checks("mlm", options={"mask_prob": 0.3}).args[1]
    assert check.values[0].case.parsed_options().mask_prob == 0.3
