"""A recommended grouping as text, and what came true where the run itself has tried it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sslm_platform.errors import RunError
from sslm_platform.report.grouping import Gain, GroupPlan, Outcome, outcomes
from sslm_platform.report.plain import PlainTable
from sslm_platform.report.run import Run


@dataclass(frozen=True, slots=True)
class GroupingView:
    """The groups, what they should do, and ``came_true``: None where this run has not measured them."""

    text: str
    groups: PlainTable
    came_true: PlainTable | None


def grouping_view(run: Run) -> GroupingView | None:
    """Return the run's grouping as the page shows it; None without one."""
    if run.groups is None:
        return None
    return GroupingView(groups_text(run.groups), groups_table(run.groups), _came_true(run, run.groups))


def groups_text(groups: GroupPlan) -> str:
    """Return how the groups were found, and what they are expected to do."""
    unit = "" if groups.signed else " (standard scores: above 0 is better than the mean partner)"
    text = (
        f"By {groups.by}, {groups.method}, at most {groups.budget} groups. "
        f"Mean predicted affinity {groups.value:+.3g}{unit}."
    )
    if groups.unknown:
        text += f" {len(groups.unknown)} pairs have no value and count as no effect."
    return text


def groups_table(groups: GroupPlan) -> PlainTable:
    """Return a row for each group."""
    body = []
    for number, group in enumerate(groups.groups):
        served = [task for task, of in groups.serves.items() if of == number]
        affinities = ", ".join(f"{groups.predicted[task]:+.3g}" for task in served)
        body.append((" + ".join(group), ", ".join(served), affinities))
    return PlainTable("Train together", ("group", "serves", "predicted affinity"), tuple(body))


def outcomes_table(found: Sequence[Outcome]) -> PlainTable:
    """Return what became of each task; gains with 95 % intervals over test examples."""
    header = ("task", "trained with", "predicted", "metric", "score", "over alone", "over joint", "verdict")
    said = ", ".join(f"{n} {verdict}" for verdict, n in sorted(Counter(o.verdict for o in found).items()))
    return PlainTable(f"What came true: {said}", header, tuple(_outcome(outcome) for outcome in found))


def _came_true(run: Run, groups: GroupPlan) -> PlainTable | None:
    try:
        return outcomes_table(outcomes(groups, run.plan, run.cells))
    except RunError:  # this run has not trained these groups: another one's folder tells
        return None


def _outcome(outcome: Outcome) -> tuple[str, ...]:
    others = [task for task in outcome.group if task != outcome.task]
    return (
        outcome.task,
        ", ".join(others) or "nothing",
        f"{outcome.predicted:+.3g}",
        outcome.metric.replace("_", " "),
        f"{outcome.score:.3f}",
        _gain(outcome.over_alone),
        _gain(outcome.over_joint),
        outcome.verdict,
    )


def _gain(gain: Gain | None) -> str:
    return "" if gain is None else f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"
