"""Transfer matrices: planned cells and their records to a table of values with intervals.

A cell's gain is its score minus its baseline's, in the metric's good direction, paired by seed and by
bootstrap resample. Where several (source, target) pairs fall into one place, their mean is shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

import numpy as np

from sslm_platform.errors import Problem, RunError, suggest
from sslm_platform.report.records import CellKey, CellRecord, PlannedCell, TaskInfo, TransferPlan
from sslm_platform.statistics import Estimate, aggregate_seeds, estimate, paired_difference

Value = Literal["score", "gain"]


class State(StrEnum):
    """Why a place of a matrix has a value, or has none; the text is what a reader sees."""

    OK = "ok"
    MISSING = "missing"
    FAILED = "failed"
    UNDEFINED = "undefined"
    NO_BASELINE = "no baseline"
    NOT_PLANNED = "not planned"


class Relation(StrEnum):
    """What the source was trained on, seen from the target."""

    SAME = "in-domain"
    INCLUDES = "target among sources"
    APART = "transfer"


@dataclass(frozen=True, slots=True)
class Cell:
    """One place of a matrix.

    ``num_pairs`` (source, target) pairs were averaged; ``left_out`` counts planned cells that could not be,
    by their state. ``num_train`` is the range of the sources' training examples, ``num_test`` the sum over
    targets.
    ``score`` is the mean score, also where ``estimate`` is a gain; ``baselines`` gives the mean score of each
    baseline that exists, in the plan's order.
    """

    state: State
    estimate: Estimate | None = None
    score: float | None = None
    metric: str = ""
    higher_is_better: bool = True
    best: float = 1.0
    baselines: Mapping[str, float] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    num_pairs: int = 0
    left_out: Mapping[State, int] = field(default_factory=dict)
    num_train: tuple[int, int] = (0, 0)
    num_test: int = 0
    relation: Relation = Relation.APART
    error: str = ""
    resamples_R: np.ndarray = field(default_factory=lambda: np.empty(0), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Values of one protocol; ``cells[row, col]`` exists for every row and column."""

    protocol: str
    value: Value
    baseline: str
    rows: tuple[str, ...]
    cols: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]

    @property
    def all_cells(self) -> tuple[Cell, ...]:
        """Every place, row by row."""
        return tuple(self.cells[row, col] for row in self.rows for col in self.cols)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One planned cell that has what the matrix shows."""

    key: CellKey
    record: CellRecord
    value: float
    resamples_R: np.ndarray
    baselines: Mapping[str, float]
    stated: Estimate | None = None  # the record's own interval


def build_matrix(
    plan: TransferPlan,
    cells: Mapping[str, CellRecord],
    *,
    protocol: str,
    rows: str = "source",
    cols: str = "target",
    where: Callable[[CellKey], bool] = lambda key: True,
    value: Value = "score",
    baseline: str = "pretrained",
) -> Matrix:
    """Arrange the cells of one protocol.

    Args:
        plan: the cells that were asked for; what is not in it prints ``not planned``.
        cells: the records that exist, by id.
        protocol: ``source_stage/target_stage``; baselines' own protocols (``tfidf/zero_shot``) work too.
        rows: axis of the sources: ``source`` (display name), ``task``, ``domain``, or a tag's key.
        cols: axis of the targets: ``target`` (identity), ``task``, ``domain``, or a tag's key.
        where: keeps a cell.
        value: ``score``, or ``gain`` over ``baseline``.
        baseline: a baseline's name; without it in the plan a cell prints ``no baseline``.

    Raises:
        RunError: an axis that no task has, or cells with different metrics in one place.
    """
    groups: dict[tuple[str, str], list[PlannedCell]] = defaultdict(list)
    for planned in plan.cells:
        if planned.key.protocol == protocol and where(planned.key):
            place = (_row(rows, planned.key, plan.tasks), _col(cols, planned.key, plan.tasks))
            groups[place].append(planned)
    row_names = tuple(dict.fromkeys(row for row, _ in groups))
    col_names = tuple(dict.fromkeys(col for _, col in groups))
    places = {
        (row, col): _cell(groups.get((row, col), []), cells, value, baseline, f"{protocol}: {row} → {col}")
        for row in row_names
        for col in col_names
    }
    return Matrix(protocol, value, baseline if value == "gain" else "", row_names, col_names, places)


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


def _cell(
    group: Sequence[PlannedCell], cells: Mapping[str, CellRecord], value: Value, baseline: str, where: str
) -> Cell:
    if not group:
        return Cell(State.NOT_PLANNED)
    entries: list[_Entry] = []
    left_out: dict[State, int] = defaultdict(int)
    for planned in group:
        entry = _entry(planned, cells, value, baseline)
        if isinstance(entry, State):
            left_out[entry] += 1
        else:
            entries.append(entry)
    relation = _relation([planned.key for planned in group])
    if entries:
        return _averaged(entries, left_out, relation, where)
    records = [cells[planned.id] for planned in group if planned.id in cells]
    states = (State.FAILED, State.MISSING, State.NO_BASELINE, State.UNDEFINED)
    worst = next(s for s in states if s in left_out)
    failures = (r.error for r in records if r.status == "failed")
    reasons = (planned.undefined for planned in group if planned.undefined)
    error = next(failures if worst is State.FAILED else reasons, "")
    return Cell(worst, left_out=left_out, relation=relation, error=error)


def _relation(keys: Sequence[CellKey]) -> Relation:
    if all(set(key.source_tasks) == {key.target} for key in keys):
        return Relation.SAME
    return Relation.INCLUDES if any(key.target in key.source_tasks for key in keys) else Relation.APART


def _entry(
    planned: PlannedCell, cells: Mapping[str, CellRecord], value: Value, baseline: str
) -> _Entry | State:
    if planned.undefined:
        return State.UNDEFINED
    record = cells.get(planned.id)
    if record is None:
        return State.MISSING
    if record.status == "failed":
        return State.FAILED
    done = {name: cells[id_] for name, id_ in planned.baselines.items() if _is_done(cells.get(id_))}
    scores = {name: _primary(other) for name, other in done.items()}
    if value == "score":
        own = record.scores[record.metric]
        resamples_R = np.asarray(record.resamples, np.float64)
        return _Entry(
            planned.key, record, own.value, resamples_R, scores, Estimate(own.value, own.low, own.high)
        )
    if baseline not in done:
        return State.NO_BASELINE
    gain, gain_R = paired_difference(
        _primary(record),
        scores[baseline],
        record.resamples,
        done[baseline].resamples,
        higher_is_better=record.higher_is_better,
    )
    return _Entry(planned.key, record, gain, gain_R, scores)


def _is_done(record: CellRecord | None) -> bool:
    return record is not None and record.status == "done"


def _primary(record: CellRecord) -> float:
    return record.scores[record.metric].value


def _averaged(
    entries: Sequence[_Entry], left_out: Mapping[State, int], relation: Relation, where: str
) -> Cell:
    metrics = sorted({entry.record.metric for entry in entries})
    if len(metrics) > 1:
        raise RunError(
            Problem(where, f"a mean over different metrics ({', '.join(metrics)}); use finer axes")
        )
    by_seed: dict[int, list[_Entry]] = defaultdict(list)
    for entry in entries:
        by_seed[entry.key.seed].append(entry)
    values_S = [float(np.mean([entry.value for entry in group])) for group in by_seed.values()]
    means_SR = [mean_resamples([entry.resamples_R for entry in group]) for group in by_seed.values()]
    total, resamples_R = _over_seeds(values_S, means_SR)
    if len(entries) == 1:
        total = entries[0].stated or total
    first = entries[0].record
    sizes = [entry.record.num_train for entry in entries]
    return Cell(
        state=State.OK,
        estimate=total,
        score=float(np.mean([_primary(entry.record) for entry in entries])),
        metric=first.metric,
        higher_is_better=first.higher_is_better,
        best=first.best,
        baselines=_mean_baselines(entries),
        seeds=tuple(sorted(by_seed)),
        num_pairs=len({(entry.key.source, entry.key.target) for entry in entries}),
        left_out=left_out,
        num_train=(min(sizes), max(sizes)),
        num_test=sum({entry.key.target: entry.record.num_test for entry in entries}.values()),
        relation=relation,
        resamples_R=resamples_R,
    )


def _over_seeds(values_S: Sequence[float], means_SR: Sequence[np.ndarray]) -> tuple[Estimate, np.ndarray]:
    if len({len(mean_R) for mean_R in means_SR}) > 1 or not len(means_SR[0]):
        return Estimate(float(np.mean(values_S))), np.empty(0)
    return aggregate_seeds(values_S, np.stack(means_SR))


def mean_resamples(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Average resample vectors entry by entry; empty where they are not all of one length."""
    if len({len(vector_R) for vector_R in vectors}) != 1:
        return np.empty(0)
    return np.mean(vectors, axis=0)


def _mean_baselines(entries: Sequence[_Entry]) -> dict[str, float]:
    shared = set.intersection(*(set(entry.baselines) for entry in entries))
    names = [name for name in entries[0].baselines if name in shared]
    return {name: float(np.mean([entry.baselines[name] for entry in entries])) for name in names}


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over the places of a matrix that have a value."""

    estimate: Estimate
    count: int
    planned: int


def mean_over(matrix: Matrix, keep: Callable[[Cell], bool]) -> Mean | None:
    """Average the matrix's values where ``keep``; None where there is none."""
    chosen = [cell for cell in matrix.all_cells if cell.state is not State.NOT_PLANNED and keep(cell)]
    done = [cell for cell in chosen if cell.estimate is not None]
    if not done:
        return None
    value = float(np.mean([cell.estimate.value for cell in done if cell.estimate]))
    resamples_R = mean_resamples([cell.resamples_R for cell in done])
    return Mean(estimate(value, resamples_R), len(done), len(chosen))
