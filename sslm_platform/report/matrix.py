"""Transfer matrices: planned cells and their records to a table of values with intervals and tests.

A cell's gain is its score minus its baseline's, in the metric's good direction, paired by seed and by
bootstrap resample. Where several (source, target) pairs fall into one place, their mean is shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from sslm_platform.errors import Problem, RunError, suggest
from sslm_platform.report.measured import Pair, Reader
from sslm_platform.report.places import Cell, Matrix, Relation, State, Value
from sslm_platform.report.records import CellKey, CellRecord, PlannedCell, TaskInfo, TransferPlan
from sslm_platform.statistics import (
    Errors,
    Estimate,
    Inference,
    Sample,
    adjusted,
    detectable,
    infer,
    mean_of,
    score_estimate,
)

__all__ = ["Cell", "Matrix", "Mean", "Relation", "State", "Value", "build_matrix", "corrected", "mean_over"]

DEFAULT_BASELINE = {"score": "", "gain": "pretrained", "normalised": "majority", "gap": "majority"}


def build_matrix(
    plan: TransferPlan,
    cells: Mapping[str, CellRecord],
    *,
    protocol: str,
    rows: str = "source",
    cols: str = "target",
    where: Callable[[CellKey], bool] = lambda key: True,
    value: Value = "score",
    baseline: str = "",
) -> Matrix:
    """Arrange the cells of one protocol.

    Args:
        plan: the cells that were asked for; what is not in it prints ``not planned``.
        cells: the records that exist, by id.
        protocol: ``source_stage/target_stage``; baselines' own protocols (``tfidf/zero_shot``) work too.
        rows: axis of the sources: ``source`` (display name), ``task``, ``domain``, or a tag's key.
        cols: axis of the targets: ``target`` (identity), ``task``, ``domain``, or a tag's key.
        where: keeps a cell.
        value: ``score``; ``gain`` over ``baseline``; ``normalised``, the gain as a share of the way from the
            baseline to a perfect score; ``gap``, what is lost against training on the target itself, as a
            share of what that gains over the baseline (0 is as good, -1 no better than the baseline). The
            last two have no unit, so that different metrics may be averaged.
        baseline: a baseline's name, by default ``pretrained`` for gains and else ``majority``; without it in
            the plan a cell prints ``no baseline``.

    Raises:
        RunError: an axis that no task has, or scores or gains of different metrics in one place.
    """
    baseline = "" if value == "score" else baseline or DEFAULT_BASELINE[value]
    groups: dict[tuple[str, str], list[PlannedCell]] = defaultdict(list)
    own = [planned for planned in plan.cells if planned.key.protocol == protocol]
    asked = [planned for planned in own if not planned.is_baseline]  # baselines have budgets of their own
    for planned in asked or own:
        if where(planned.key):
            place = (_row(rows, planned.key, plan.tasks), _col(cols, planned.key, plan.tasks))
            groups[place].append(planned)
    row_names = tuple(dict.fromkeys(row for row, _ in groups))
    col_names = tuple(dict.fromkeys(col for _, col in groups))
    reader = Reader(plan, cells, value, baseline)
    places = {
        (row, col): _cell(groups.get((row, col), []), reader, f"{protocol}: {row} → {col}")
        for row in row_names
        for col in col_names
    }
    return Matrix(protocol, value, baseline, row_names, col_names, corrected(places))


def _row(axis: str, key: CellKey, tasks: Mapping[str, TaskInfo]) -> str:
    if axis == "source" or not key.source_tasks:
        return key.source
    stages = ({_label(axis, tasks[task], "source") for task in stage} for stage in key.row_stages)
    label = " → ".join(" + ".join(sorted(names)) for names in stages)
    return f"all but {label}" if key.source_stage == "leave_one_out" else label


def _col(axis: str, key: CellKey, tasks: Mapping[str, TaskInfo]) -> str:
    return key.target if axis == "target" else _label(axis, tasks[key.target], "target")


def _label(axis: str, task: TaskInfo, own: str) -> str:
    labels = {**task.tags, "task": task.name, "domain": task.domain, "stream": task.stream}
    if axis not in labels:
        known = suggest(axis, [own, *labels])
        raise RunError(Problem(f"matrix axis {axis!r}", f"{task.identity} has no such tag{known}"))
    return labels[axis]


def _cell(group: Sequence[PlannedCell], reader: Reader, where: str) -> Cell:
    if not group:
        return Cell(State.NOT_PLANNED)
    by_pair: dict[tuple[str, tuple[str, ...], str], list[PlannedCell]] = defaultdict(list)
    for planned in group:
        by_pair[planned.key.source, planned.key.source_tasks, planned.key.target].append(planned)
    pairs, left_out = [], Counter[State]()
    for same_pair in by_pair.values():
        pair, states = reader.pair(same_pair)
        left_out.update(states)
        if pair:
            pairs.append(pair)
    relation = _relation([planned.key for planned in group])
    if pairs:
        return _averaged(pairs, left_out, relation, reader.value, where)
    records = [reader.cells[planned.id] for planned in group if planned.id in reader.cells]
    order = (State.FAILED, State.MISSING, State.NO_BASELINE, State.UNDEFINED)
    worst = next(state for state in order if state in left_out)
    failures = (r.error for r in records if r.status == "failed")
    reasons = (planned.undefined for planned in group if planned.undefined)
    error = next(failures if worst is State.FAILED else reasons, "")
    return Cell(worst, left_out=left_out, relation=relation, error=error)


def _relation(keys: Sequence[CellKey]) -> Relation:
    if all(set(key.source_tasks) == {key.target} for key in keys):
        return Relation.SAME
    return Relation.INCLUDES if any(key.target in key.source_tasks for key in keys) else Relation.APART


def _averaged(
    pairs: Sequence[Pair], left_out: Mapping[State, int], relation: Relation, value: Value, where: str
) -> Cell:
    records = [record for pair in pairs for record in pair.records]
    first, relative = records[0], value in ("normalised", "gap")
    metrics = sorted({record.metric for record in records})
    if len(metrics) > 1 and not relative:
        what = f"a mean over different metrics ({', '.join(metrics)}); use finer axes, or normalised values"
        raise RunError(Problem(where, what))
    sample = mean_of([pair.sample for pair in pairs])
    estimate, inference = _settled(sample, value, first.higher_is_better, first.best)
    if value == "score" and len(records) == 1:
        own = first.scores[first.metric]
        estimate = Estimate(own.value, own.low, own.high)
    if value == "gap" and relation is Relation.SAME:
        inference = None  # compared with itself: no hypothesis, and none to correct for
    comparable = len(metrics) == 1
    sizes = [record.num_train for record in records]
    return Cell(
        state=State.OK,
        estimate=estimate,
        score=fmean(pair.score for pair in pairs) if comparable else None,
        metric=", ".join(metrics),
        higher_is_better=first.higher_is_better or relative,
        best=first.best,
        relative=relative,
        baselines=_mean_baselines(pairs) if comparable else {},
        seeds=tuple(sorted({record.key.seed for record in records})),
        num_pairs=len(pairs),
        left_out=left_out,
        num_train=(min(sizes), max(sizes)),
        num_test=sum({pair.target: pair.records[0].num_test for pair in pairs}.values()),
        relation=relation,
        sample=sample,
        inference=inference,
    )


def _settled(
    sample: Sample, value: Value, higher_is_better: bool, best: float
) -> tuple[Estimate, Inference | None]:
    """Return the sample's mean with its interval, and, of differences, the test against 0."""
    if value == "score":
        return score_estimate(sample, higher_is_better, best), None
    inference = infer(sample)
    return (inference.estimate() if inference else Estimate(sample.value)), inference


def _mean_baselines(pairs: Sequence[Pair]) -> dict[str, float]:
    shared = set.intersection(*(set(pair.baselines) for pair in pairs))
    names = [name for name in pairs[0].baselines if name in shared]
    return {name: fmean(pair.baselines[name] for pair in pairs) for name in names}


def corrected(places: Mapping[tuple[str, str], Cell]) -> dict[tuple[str, str], Cell]:
    """Adjust the tests of one matrix for their number.

    What a cell could have detected is that of its column, whose cells share test examples and baseline: it is
    less of a guess than a single cell's standard error.
    """
    tested = [place for place, cell in places.items() if cell.inference]
    inferences = [cell.inference for cell in places.values() if cell.inference]
    q_M = adjusted([each.p for each in inferences], [places[place].relation for place in tested])
    columns: dict[tuple[str, bool], list[Errors]] = defaultdict(list)
    for (_, col), each in zip(tested, inferences, strict=True):
        columns[col, each.conditional].append(each.errors)  # that of few seeds says nothing about seeds
    found = {key: detectable(errors, len(tested)) for key, errors in columns.items()}
    return {**places} | {
        place: replace(places[place], q=q, detectable=found[place[1], each.conditional])
        for place, each, q in zip(tested, inferences, q_M, strict=True)
    }


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over the places of a matrix that have a value."""

    estimate: Estimate
    count: int
    planned: int


def one_metric(cells: Iterable[Cell]) -> bool:
    """Whether the values of cells have one metric, so that they may be averaged."""
    return len({cell.metric for cell in cells if cell.sample}) == 1


def mean_over(matrix: Matrix, keep: Callable[[Cell], bool]) -> Mean | None:
    """Average the matrix's values where ``keep``, each place alike; None where there is none, or no unit."""
    chosen = [cell for cell in matrix.all_cells if cell.state is not State.NOT_PLANNED and keep(cell)]
    samples = [cell.sample for cell in chosen if cell.sample]
    first = next((cell for cell in chosen if cell.sample), None)
    if first is None or not (first.relative or one_metric(chosen)):
        return None
    estimate, _ = _settled(mean_of(samples), matrix.value, first.higher_is_better, first.best)
    return Mean(estimate, len(samples), len(chosen))
