"""What a report shows by default: for each protocol and kind of target, scores and gains."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sslm_platform.report.matrix import Cell, Matrix, Mean, Relation, build_matrix, mean_over, one_metric
from sslm_platform.report.protocols import preference
from sslm_platform.report.records import CellRecord, PlannedCell, TransferPlan
from sslm_platform.statistics import Estimate

NO_SOURCE = {"source": "", "source_tasks": (), "row": ()}


@dataclass(frozen=True, slots=True)
class Family:
    """One protocol on all targets of one task name.

    ``gains`` holds a matrix for each baseline in the plan, the preferred first. ``floor`` holds a one-row
    matrix for each baseline that does not depend on the source.
    """

    protocol: str
    task: str
    scores: Matrix
    gains: tuple[Matrix, ...]
    floor: Mapping[str, Matrix]

    @property
    def slug(self) -> str:
        """A name for files and anchors."""
        return re.sub(r"[^\w.-]+", "-", f"{self.protocol}--{self.task}")

    @property
    def matrices(self) -> tuple[tuple[str, Matrix], ...]:
        """Every matrix with its short name: ``score``, ``gain-over-pretrained``."""
        return (("score", self.scores), *((f"gain-over-{gain.baseline}", gain) for gain in self.gains))


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """Mean score of the protocol or of one baseline, over cells of one relation, and the mean gain."""

    name: str
    relation: Relation
    score: Mean
    gain: Mean | None


def families(plan: TransferPlan, cells: Mapping[str, CellRecord]) -> tuple[Family, ...]:
    """Return the families that the spec asked for, in the order of the plan."""
    asked = dict.fromkeys(
        (planned.key.protocol, plan.tasks[planned.key.target].name)
        for planned in plan.cells
        if not planned.is_baseline
    )
    return tuple(_family(plan, cells, protocol, task) for protocol, task in asked)


def _family(plan: TransferPlan, cells: Mapping[str, CellRecord], protocol: str, task: str) -> Family:
    own = [
        cell
        for cell in plan.cells
        if not cell.is_baseline and cell.key.protocol == protocol and plan.tasks[cell.key.target].name == task
    ]
    names = sorted({name for planned in own for name in planned.baselines}, key=preference)

    def of(chosen: Sequence[PlannedCell]) -> TransferPlan:
        return plan.model_copy(update={"cells": tuple(chosen)})

    gains = []
    for name in names:
        compared = of([cell for cell in own if cell.undefined or name in cell.baselines])
        gains.append(build_matrix(compared, cells, protocol=protocol, value="gain", baseline=name))
    floor = {name: _floor(plan, cells, own, name) for name in names}
    return Family(
        protocol=protocol,
        task=task,
        scores=build_matrix(of(own), cells, protocol=protocol),
        gains=tuple(gains),
        floor={name: matrix for name, matrix in floor.items() if matrix is not None},
    )


def _floor(
    plan: TransferPlan, cells: Mapping[str, CellRecord], own: Sequence[PlannedCell], baseline: str
) -> Matrix | None:
    """Return the baseline as one row, or None where it differs from source to source."""
    ids: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for planned in own:
        if baseline in planned.baselines:
            key = planned.key
            ids[key.target, key.seed, key.draw].add(planned.baselines[baseline])
    if any(len(of_target) > 1 for of_target in ids.values()):
        return None
    wanted = set().union(*ids.values())
    # A probe's TF-IDF is trained on the target, so its cells name it as their source: one row all the same.
    found = tuple(
        # asked for or not: what the gains are over is this row
        cell.model_copy(update={"key": cell.key.model_copy(update=NO_SOURCE), "is_baseline": False})
        for cell in plan.cells
        if cell.id in wanted
    )
    if not found:
        return None
    return build_matrix(plan.model_copy(update={"cells": found}), cells, protocol=found[0].key.protocol)


def summary(family: Family) -> tuple[SummaryRow, ...]:
    """Mean scores and gains by relation of source and target, of the protocol and then of each baseline."""
    return tuple(
        row
        for relation in Relation
        for row in (_protocol_row(family, relation), *_baseline_rows(family, relation))
        if row
    )


def _protocol_row(family: Family, relation: Relation) -> SummaryRow | None:
    score = mean_over(family.scores, lambda cell: cell.relation is relation)
    return SummaryRow(family.protocol, relation, score, None) if score else None


def _baseline_rows(family: Family, relation: Relation) -> list[SummaryRow]:
    rows = []
    for gain in family.gains:
        cells = [c for c in family.scores.all_cells if c.relation is relation and _compared(c, gain.baseline)]
        if cells and one_metric(cells):
            mean = float(np.mean([cell.baselines[gain.baseline] for cell in cells]))
            score = Mean(estimate=Estimate(mean), count=len(cells), planned=len(cells))
            rows.append(
                SummaryRow(gain.baseline, relation, score, mean_over(gain, lambda c: c.relation is relation))
            )
    return rows


def _compared(cell: Cell, baseline: str) -> bool:
    return cell.estimate is not None and baseline in cell.baselines
