"""Checks that hold for definitions of every kind."""

from __future__ import annotations

from pydantic import ValidationError

from sslm_platform.testing.cases import Case


def check_options_round_trip(case: Case) -> None:
    """Options survive JSON, which is how a run folder keeps them."""
    options = case.parsed_options()
    again = type(options).model_validate_json(options.model_dump_json())
    assert again == options, f"options change on their way through JSON: {options} became {again}"


def check_options_are_frozen(case: Case) -> None:
    """Options cannot change after validation."""
    options = case.parsed_options()
    for name in type(options).model_fields:
        try:
            setattr(options, name, getattr(options, name))
        except ValidationError:
            continue
        raise AssertionError(f"option {name} can be assigned: keep frozen=True in model_config")


def check_unknown_option_is_refused(case: Case) -> None:
    """A misspelt option is an error, not a default."""
    try:
        case.definition.options.model_validate({**case.options, "no_such_option": 1})
    except ValidationError:
        return
    raise AssertionError("an unknown option is accepted: keep extra='forbid' in model_config")


def check_has_summary(case: Case) -> None:
    """The one line that ``sslm plugins`` shows is there."""
    assert case.definition.summary.strip(), f"{case.definition.name} has no summary"


DEFINITION_CHECKS = (
    check_options_round_trip,
    check_options_are_frozen,
    check_unknown_option_is_refused,
    check_has_summary,
)
