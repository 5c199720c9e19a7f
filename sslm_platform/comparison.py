"""A run's balancer beside ``equal`` and beside fixed weights tuned on dev: the same data, budget and seeds.

Kurin et al. 2022, "In defense of the unitary scalarization for deep multi-task learning", and Xin et al.
2022, "Do current multi-task optimization methods in deep learning even help?", find that these two often win.
Weights are chosen on the dev splits; the test splits are read once for each training, for the table alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslm_platform.errors import Problem, SpecError
from sslm_platform.files import write_json
from sslm_platform.report.comparison import BASELINE, Candidate, Comparison, Training, compare
from sslm_platform.runs import Run, launch_training, open_run, read_scores
from sslm_platform.spec.schema import LAST
from sslm_platform.train.folder import RunFolder

if TYPE_CHECKING:
    from rich.console import Console

TUNED = "tuned"
FACTORS = (1 / 3, 3.0)

Section = dict[str, Any]


def compare_balancers(
    spec: str | Path,
    balancers: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    overrides: Sequence[str] = (),
    num_processes: int = 1,
    console: Console | None = None,
) -> Comparison:
    """Train with each balancer and seed, and compare test scores with those of ``equal``.

    What is trained already is not trained again, so that more balancers or seeds can be added.

    Args:
        spec: path of the YAML file. Its own balancer always takes part, with its options.
        balancers: names of others, with default options; ``tuned`` is ``static`` with weights chosen on dev:
            of all 1, and one task's 3 times as much or a third, the best in a training with the first seed.
        seeds: default: the spec's.
        out: folder of the trainings and of ``comparison.json``; default: ``runs/NAME-balancers``.
        cache: as of :func:`~sslm_platform.runs.open_run`.
        overrides: ``key.path=value``.
        num_processes: ranks of each training.
        console: where progress goes.

    Raises:
        SslmError: a balancer is unknown or not possible here, or a training fails.
    """
    base = open_run(spec, cache=cache, overrides=overrides, console=console)
    own = base.resolved.spec.balancer
    tasks = sorted(base.resolved.tasks)
    if len(tasks) < 2:
        raise SpecError(Problem("streams", f"one task, {tasks[0]}: there is nothing to balance"))
    path = Path(out) if out is not None else Path("runs") / f"{base.resolved.spec.name}-balancers"
    seeds = list(dict.fromkeys(seeds or [base.resolved.spec.seed]))
    names = list(dict.fromkeys([BASELINE, own.name, *balancers]))

    def section(name: str, options: Mapping[str, Any] | None = None) -> Section:
        given = own.options if name == own.name and options is None else options
        return {"name": name, "options": dict(given or {}), "scope": own.scope}

    def opened(name: str, balancer: Section, seed: int) -> Run:
        own = [f"balancer={json.dumps(balancer)}", f"seed={seed}"]
        return open_run(
            spec,
            out=path / name / f"seed-{seed}",
            cache=cache,
            overrides=[*overrides, *own],
            console=base.console,
        )

    def candidate(name: str, balancer: Section, seeds: Sequence[int]) -> Candidate:
        trainings = tuple(_trained(opened(name, balancer, seed), num_processes) for seed in seeds)
        return Candidate(name=name, balancer=balancer, trainings=trainings)

    for name in names:
        if name != TUNED:
            opened(name, section(name), seeds[0])  # what is wrong is said before the first training
    found = [candidate(name, section(name), seeds) for name in names if name != TUNED]
    tuning: list[Candidate] = []
    if TUNED in names:
        tuning = [candidate(n, section("static", o), seeds[:1]) for n, o in weight_grid(tasks).items()]
        best = max([found[0], *tuning], key=lambda c: c.trainings[0].dev)
        base.console.print(f"tuned: {best.name}, the best on dev", highlight=False)
        found.append(candidate(best.name, best.balancer, seeds).model_copy(update={"name": TUNED}))
    result = compare(found, tuning)
    write_json(path / "comparison.json", result.model_dump(mode="json"))
    return result


def weight_grid(tasks: Sequence[str]) -> dict[str, Section]:
    """Return options of ``static`` by name: one task's weight changed, the others' 1."""
    return {
        f"static-{task}-x{factor:.2g}": {"weights": {task: factor}} for task in tasks for factor in FACTORS
    }


def _trained(run: Run, num_processes: int) -> Training:
    """Train, or find what was trained before, and read its scores."""
    where = run.path.relative_to(run.path.parents[1])
    run.console.print(f"[bold]{where}[/bold]", highlight=False)
    if num_processes > 1:
        launch_training(run, num_processes)
    else:
        run.train()
    lines = (RunFolder(run.path).train / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    values = [record["selection"] for record in records if record["kind"] == "evaluation"]
    dev = values[-1] if run.resolved.spec.evaluation.select_by == LAST else max(values)
    return Training(seed=run.resolved.spec.seed, dev=dev, scores=tuple(read_scores(run.path)))
