"""The page ``catalogue.md``: what ``benchmarks/catalogue.py`` measured, and which definitions a spec runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sslm_platform.plugins import host
from sslm_platform.runs import resolve_spec
from sslm_platform.spec.load import load_run_spec
from sslm_platform.spec.resolved import ResolvedRun

ROOT = Path(__file__).resolve().parent.parent
TASK_SPECS = ROOT / "task_specs"
RESULT = ROOT / "benchmarks" / "results" / "catalogue.json"
PLUGINS = {folder.name for folder in (ROOT / "plugins").iterdir()}
KINDS = ("objective", "wrapper", "head", "metric", "augmenter")
SHOWN = 3  # places that a definition is shown at

INTRODUCTION = """
# Catalogue

What the plugins of this repository score on real text. `python benchmarks/catalogue.py` trains the specs of
`task_specs/` and keeps the scores; each is on the test split, once, with its 95 % interval over test
examples, of one training with one seed and the budget that is said. Budgets are small on purpose: they show
that a part works, and not what it can reach. Nothing was selected on test splits.

Each score stands beside simple methods, which learn from the same examples; what they have to choose is
chosen on dev:

| | |
|---|---|
| majority | the constant predictor: the commonest label, tag or text, the mean, the frequencies of tokens |
| tfidf | TF-IDF features: logistic regression for labels, ridge regression for values, cosine for rankings |
| crf | a conditional random field on features of words |
| overlap | the sentence of the context that shares most words with the question |
| copy, lead | the input, its first sentence |
| scratch | the same tasks and steps with an encoder of 2 layers of 128, from random weights |

A method is **bold** where the model is better than it beyond doubt (the interval of the difference, paired by
test example, is above 0), and *in italics* where it is beyond doubt better than the model. Of `scratch` the
difference is not paired where it was measured later, on a CPU. `↓`: less is
better. Samplers and balancers have [a page of their own](sampling-and-balancing.md).
"""


def page() -> str:
    """Return the page, without the note that it is generated."""
    os.environ.setdefault("DATA", "data")  # nothing is read
    results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    runs = {path.stem: resolve_spec(load_run_spec(path)) for path in sorted(TASK_SPECS.glob("*.yaml"))}
    measured = {name: results[name] for name in runs if name in results}
    parts = [INTRODUCTION, "## By definition\n", *definitions(runs, measured), "## By spec\n"]
    for name in runs:
        parts += spec_section(name, measured.get(name))
    return "\n".join(parts)


def definitions(runs: Mapping[str, ResolvedRun], measured: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table for each kind: every definition, and where it is run."""
    used = {name: set(used_by(run)) for name, run in runs.items()}
    for table in host().registry.tables:
        kind, rows = table.kind, []
        if kind not in KINDS:
            continue
        for name in own(table):
            found = [one for spec, e in measured.items() for one in places_of(spec, e, kind, name)]
            more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            rest = [spec for spec in used if (kind, name) in used[spec] and spec not in measured]
            where = f"not measured: {', '.join(map(spec_link, rest[:SHOWN]))}" if rest else "not measured"
            rows.append((f"`{name}`", "<br>".join(found[:SHOWN]) + more if found else where))
        yield f"### {kind.capitalize()}s\n"
        yield table_of((kind, "measured"), rows)


def own(table: Any) -> list[str]:
    """Return the names that this repository's plugins define; a stranger's must not change the page."""
    return [name for name in table if table.get(name).provenance.distribution in PLUGINS]


def used_by(run: ResolvedRun) -> Iterator[tuple[str, str]]:
    """Yield the (kind, name) of every definition that training a spec uses, samplers and balancers apart."""
    for bound in run.augmenters.values():
        yield from (("augmenter", one.definition.name) for one in bound)
    for task in run.tasks.values():
        yield "objective", task.objective.definition.name
        yield "head", task.head.definition.name
        if task.wrapper:
            yield "wrapper", task.wrapper.definition.name
        yield from (("metric", bound.definition.name) for bound in task.metrics.values())


def places_of(spec: str, entry: Mapping[str, Any], kind: str, name: str) -> Iterator[str]:
    """Yield the scores of a spec's tasks that use a definition."""
    everywhere = name in entry["uses"].get(kind, ())
    for row in entry["rows"]:
        if kind == "metric":
            if name in row["scores"]:
                yield f"{spec_link(spec)}, {row['task']}: {score(row['scores'][name])}"
        elif everywhere or row.get(kind) == name:
            primary = row["primary"]
            beside = score(row["baselines"]["majority"]["score"][:1])
            yield (
                f"{spec_link(spec)}, {row['task']}: {primary} {score(row['scores'][primary])}"
                f" (majority {beside})"
            )


def spec_section(name: str, entry: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what a spec's comment says, its budget, and a row for each task."""
    yield f"### `{name}`\n"
    yield f"{spec_link(name)}: {comment(name)}\n"
    if entry is None:
        yield "Not measured.\n"
        return
    budget = entry["budget"]
    later = f"; `scratch` later, on {entry['scratch']['device']}" if "scratch" in entry else ""
    yield (
        f"{budget['steps']:,} steps, {budget['tokens']:,} tokens, seed {budget['seed']};"
        f" {entry['seconds']:.0f} s on {entry['device']}; {entry['date']}{later}.\n"
    )
    rows = [task_row(row) for row in entry["rows"]]
    yield table_of(("task", "objective → head", "train / test", "metric", "score", "beside"), rows)


def task_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a task."""
    objective = f"{row['wrapper']}({row['objective']})" if row["wrapper"] else row["objective"]
    primary = row["primary"]
    beside = [f"{name} {marked(one)}" for name, one in row["baselines"].items()]
    return (
        row["task"],
        f"{objective} → {row['head']}",
        f"{row['num_train']:,} / {row['num_test']:,}",
        primary if row["higher_is_better"] else f"{primary} ↓",
        score(row["scores"][primary]),
        ", ".join(beside),
    )


def marked(method: Mapping[str, Any]) -> str:
    """Return a method's score, marked where the difference is beyond doubt."""
    _, low, high = method["lead"]
    text = score(method["score"][:1])
    return f"**{text}**" if low > 0 else f"*{text}*" if high < 0 else text


def score(numbers: list[float]) -> str:
    """Return a score, with its interval where it comes with one."""
    value, *bounds = (f"{number:.3f}" if abs(number) < 10 else f"{number:.1f}" for number in numbers)
    return f"{value} [{', '.join(bounds)}]" if bounds else value


def comment(name: str) -> str:
    """Return the comment at the top of a spec."""
    lines = (TASK_SPECS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate([*lines, ""]) if not line.startswith("#"))
    return " ".join(line.removeprefix("#").strip() for line in lines[:first])


def spec_link(name: str) -> str:
    """Return a link to a spec."""
    return f"[{name}](../task_specs/{name}.yaml)"


def table_of(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = ([cell.replace("|", "\\|") for cell in line] for line in (columns, ["---"] * len(columns), *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
