"""One matrix of a run by the axes that a reader asks for: ``sslm report RUN --rows domain --cols domain``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

from sslm_platform.errors import Problem, RunError, suggest
from sslm_platform.report.matrix import Cell, Matrix, Value, build_matrix
from sslm_platform.report.protocols import preference
from sslm_platform.report.records import CellKey, TaskInfo, TransferPlan
from sslm_platform.report.run import Run

SIDES = ("source", "target")


def slice_run(
    run: Run,
    *,
    protocol: str = "",
    rows: str = "source",
    cols: str = "target",
    where: Sequence[str] = (),
    value: str = "score",
    baseline: str = "",
) -> Matrix:
    """Arrange some of a run's cells.

    Args:
        run: the records.
        protocol: as in ``full/zero_shot``; may be left out where the run has just one.
        rows: axis of the sources: ``source``, ``task``, ``domain``, ``stream``, or a tag.
        cols: axis of the targets: ``target``, or one of the others.
        where: conditions ``axis=value`` or ``axis=value,value``. They hold for the target and for every task
            of the row; ``source.axis`` or ``target.axis`` for one side alone. ``seed`` is an axis, too.
        value: ``score``, ``gain``, ``normalised`` or ``gap`` (see :func:`build_matrix`).
        baseline: of a gain; default: the most telling one that the protocol has.

    Raises:
        RunError: an unknown protocol, axis, value, or baseline, with the nearest known one; no cell is left.
    """
    plan = run.plan
    protocol = _protocol(plan, protocol)
    keep = _condition(plan, where)
    kept = [cell for cell in plan.cells if cell.key.protocol == protocol and keep(cell.key)]
    if not kept:
        raise RunError(Problem("--where", f"no cell of {protocol} is left"))
    for option, axis, own in (("--rows", rows, "source"), ("--cols", cols, "target")):
        _known(option, axis, {own, *_axes(plan)})
    _known("--value", value, get_args(Value))
    names = sorted({name for cell in kept for name in cell.baselines}, key=preference)
    if baseline:
        _known("--baseline", baseline, names)
        if value == "score":
            raise RunError(Problem("--baseline", "a score has none; give --value gain, normalised or gap"))
    elif value == "gain" and names:
        baseline = names[0]
    return build_matrix(
        plan,
        run.cells,
        protocol=protocol,
        rows=rows,
        cols=cols,
        where=keep,
        value=value,  # type: ignore[arg-type]
        baseline=baseline,
    )


def matrix_json(matrix: Matrix) -> dict[str, Any]:
    """Return a matrix as JSON content: one object for each place, row by row."""
    cells = [
        {"row": row, "col": col} | _cell_json(matrix.cells[row, col])
        for row in matrix.rows
        for col in matrix.cols
    ]
    facts = {"protocol": matrix.protocol, "value": matrix.value, "baseline": matrix.baseline}
    return facts | {"rows": matrix.rows, "cols": matrix.cols, "cells": cells}


def _cell_json(cell: Cell) -> dict[str, Any]:
    content: dict[str, Any] = {"state": cell.state.value, "relation": cell.relation.value}
    if cell.estimate is None:
        return content | ({"error": cell.error} if cell.error else {})
    content |= asdict(cell.estimate) | {"metric": cell.metric, "score": cell.score}
    content |= {"seeds": cell.seeds, "num_pairs": cell.num_pairs, "num_test": cell.num_test}
    content |= {"baselines": dict(cell.baselines)}
    if cell.inference is not None:
        content |= {"p": cell.inference.p, "q": cell.q, "discovery": cell.discovery}
    return content


def _protocol(plan: TransferPlan, given: str) -> str:
    asked = dict.fromkeys(cell.key.protocol for cell in plan.cells if not cell.is_baseline)
    known = dict.fromkeys(cell.key.protocol for cell in plan.cells)
    if given:
        return _known("--protocol", given, known)
    if len(asked) == 1:
        return next(iter(asked))
    what = f"name one of {', '.join(asked)}" if asked else "this run has no transfer cells"
    raise RunError(Problem("--protocol", what))


def _condition(plan: TransferPlan, texts: Sequence[str]) -> Callable[[CellKey], bool]:
    tests = [_test(plan, text) for text in texts]
    return lambda key: all(test(key) for test in tests)


def _test(plan: TransferPlan, text: str) -> Callable[[CellKey], bool]:
    name, equals, value = text.partition("=")
    where = f"--where {text}"
    if not equals:
        raise RunError(Problem(where, "expected axis=value"))
    wanted = set(value.split(","))
    if name == "seed":
        _all_known(where, wanted, {str(cell.key.seed) for cell in plan.cells})
        return lambda key: str(key.seed) in wanted
    side, dot, axis = name.rpartition(".")
    if dot:
        _known(where, side, SIDES)
    _known(where, axis, {"seed", *_axes(plan)})
    _all_known(where, wanted, {v for t in plan.tasks.values() if (v := _axis(t).get(axis)) is not None})

    def holds(key: CellKey) -> bool:
        of_source = [task for stage in key.row_stages for task in stage]
        chosen = [] if side == "source" else [key.target]
        chosen += [] if side == "target" else of_source
        return all(_axis(plan.tasks[task]).get(axis) in wanted for task in chosen)

    return holds


def _axes(plan: TransferPlan) -> set[str]:
    return {axis for task in plan.tasks.values() for axis in _axis(task)}


def _axis(task: TaskInfo) -> Mapping[str, str]:
    return {**task.tags, "task": task.name, "domain": task.domain, "stream": task.stream}


def _all_known(where: str, names: set[str], known: set[str]) -> None:
    for name in sorted(names):
        _known(where, name, known)


def _known(where: str, name: str, known: Any) -> str:
    if name not in known:
        raise RunError(Problem(where, f"unknown: {name!r}{suggest(name, known)}"))
    return name
