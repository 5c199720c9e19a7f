"""The planted benchmark: does the lab recover transfer that is known, and which estimators predict it?

Worlds of synthetic tasks (docs/planted.md) are measured with a tiny encoder from scratch, and every installed
estimator is scored against the same truth.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from measuring import Finding, arguments, save
from rich.console import Console

from sslm_platform.plugins import host
from sslm_platform.report.grouping import affinities
from sslm_platform.report.matrix import build_matrix
from sslm_platform.report.records import TransferPlan, read_cells, read_record
from sslm_platform.runs import open_run
from sslm_platform.testing import planted


def measured(name: str, world: planted.World, num_seeds: int, folder: Path) -> tuple[list[Finding], dict]:
    """Measure a world's matrix, and compare it with the truth."""
    spec = planted.write_world(world, folder, range(1, num_seeds + 1))
    run = open_run(spec, out=folder / "run", cache=folder / "cache", console=Console(file=io.StringIO()))
    run.transfer()
    transfer = run.path / "transfer"
    plan, cells = read_record(TransferPlan, transfer / "plan.json"), read_cells(transfer)
    matrix = build_matrix(plan, cells, protocol=world.protocol, value="gain", baseline=world.baseline)
    found = planted.recovery(world, matrix)
    known = affinities(world.protocol, {}, plan, cells, list(run.corpus.run.tasks))
    findings = [
        Finding(f"{name}: right signs of {len(found.clear)} clear effects", found.share_right, at_least=0.95),
        Finding(f"{name}: discoveries among {len(found.zeros)} pairs without effect", len(found.claimed)),
        Finding(f"{name}: root mean square of measured minus planted gain", found.error),
    ]
    groups = planted.finds_groups(world, known)
    if groups is not None:
        findings.append(Finding(f"{name}: planted groups found by measured gains", float(groups), at_least=1))
    rows = [
        {
            "source": source,
            "target": target,
            "planted": effect,
            "measured": matrix.cells[source, target].estimate.value,
            "detectable": matrix.cells[source, target].detectable,
            "q": matrix.cells[source, target].q,
        }
        for (source, target), effect in world.effects.items()
    ]
    return findings, {"seeds": num_seeds, "cells": rows}


def scored(world: planted.World, num_worlds: int, folder: Path) -> list[dict]:
    """Score every installed estimator in some worlds that differ in their seeds, best first."""
    rows = []
    for name in sorted(host().registry.estimators):
        scores = [planted.score(name, world, seed=seed, folder=folder) for seed in range(1, num_worlds + 1)]
        taus = [score.kendall for score in scores]
        row = {"estimator": name, "kendall": float(np.mean(taus)), "each": taus}
        row["groups"] = [score.groups for score in scores]
        row["signs"] = [score.signs for score in scores]
        row["without_value"] = sum(len(score.reasons) for score in scores)
        rows.append(row)
        print(row, flush=True)
    return sorted(rows, key=lambda row: -row["kendall"])


def main() -> None:
    options = arguments(__doc__, seeds=(10, 5), per_group=(3, 2), scorings=(3, 1))
    findings, details = [], {}
    worlds = {"domains": planted.domains(options.per_group), "tasks": planted.tasks()}
    with tempfile.TemporaryDirectory() as temporary:
        for name, world in worlds.items():
            more, details[name] = measured(name, world, options.seeds, Path(temporary) / name)
            findings += more
        details["estimators"] = scored(worlds["domains"], options.scorings, Path(temporary) / "scored")
    findings += [
        Finding(f"Kendall tau of {row['estimator']}", row["kendall"]) for row in details["estimators"]
    ]
    save(options, "planted", "The planted benchmark", findings, **details)


if __name__ == "__main__":
    main()
