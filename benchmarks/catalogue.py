"""What plugins score on real text: trains the specs of task_specs/ and keeps their test scores.

They are kept in results/catalogue.json. A spec that reads local copies of data needs the variable DATA, as
its streams say. Scores of specs that are not named stay as they were.

    python benchmarks/catalogue.py [--quick] [SPEC ...]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring import RESULTS, TASK_SPECS

from sslm_platform.report.curves import read_curves
from sslm_platform.report.records import TaskScore
from sslm_platform.runs import Run, open_run

RESULT = RESULTS / "catalogue.json"
QUICK = ("limit.train=16", "limit.dev=8", "limit.test=8", "schedule.epochs=null", "schedule.max_steps=2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("specs", nargs="*", default=names(), help="default: all whose data is there")
    parser.add_argument("--quick", action="store_true", help="see that they run; nothing is written")
    options = parser.parse_args()
    for name in options.specs:
        if needs_data(TASK_SPECS / f"{name}.yaml") and "DATA" not in os.environ:
            print(f"{name}: left out, set DATA", flush=True)
            continue
        rows = measured(name, QUICK if options.quick else ())
        for row in rows:
            print(f"{name}: {row['task']} {row['scores']}", flush=True)
        if not options.quick:
            keep(name, rows)


def names() -> list[str]:
    """Return the specs that are runs: the others are streams to include."""
    return sorted(path.stem for path in TASK_SPECS.glob("*.yaml"))


def needs_data(spec: Path) -> bool:
    text = spec.read_text(encoding="utf-8")
    included = [spec.parent / path for path in re.findall(r"streams/[\w-]+\.yaml", text)]
    return any("${DATA}" in part for part in [text, *(path.read_text(encoding="utf-8") for path in included)])


def measured(name: str, overrides: tuple[str, ...]) -> list[dict[str, Any]]:
    """Train a spec's tasks jointly, and return a row for each."""
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(TASK_SPECS / f"{name}.yaml", out=Path(folder) / "run", overrides=overrides)
        run.train()
        curves = read_curves(run.path / "train" / "metrics.jsonl")
        budget = f"{len(curves.steps)} steps, {curves.num_tokens:,} tokens, seed {run.resolved.spec.seed}"
        return [row(run, score, budget) for score in run.evaluate("test")]


def row(run: Run, score: TaskScore, budget: str) -> dict[str, Any]:
    task = run.resolved.tasks[score.task]
    train = run.corpus.task_feed(task, run.resolved.spec.seed).splits["train"]
    return {
        "task": score.task,
        "stream": task.stream.name,
        "objective": task.objective.definition.name,
        "head": task.head.definition.name,
        "primary": score.metric,
        "scores": {
            metric: [
                *(round(number, 4) for number in (value.value, value.low, value.high)),
                round(score.majority[metric].value, 4) if metric in score.majority else None,
            ]
            for metric, value in score.scores.items()
        },
        "num_train": len(train),
        "num_test": score.num_test,
        "budget": budget,
    }


def keep(name: str, rows: list[dict[str, Any]]) -> None:
    """Write a spec's rows beside those of the others."""
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    found[name] = {"date": datetime.now(UTC).date().isoformat(), "rows": rows}
    text = json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n"
    RESULT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
