"""Tables of the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sslm_platform.errors import SslmError, suggest
from sslm_platform.plugins import Host
from sslm_platform.report.estimates import Estimate, in_words, size
from sslm_platform.report.numbers import duration

if TYPE_CHECKING:
    from sslm_platform.report.comparison import Comparison
    from sslm_platform.report.records import TaskScore
    from sslm_platform.transfer.plan import Plan


NUMERIC = {
    *("cells", "done", "n", "test", "dev", "train", "majority"),
    *("precision", "recall", "f1", "gold"),
    *("steps", "train tokens", "encode", "time", "disk"),
}


def plugin_facts(host: Host) -> dict[str, Any]:
    """Return the installed definitions and the plugins that failed, as JSON content."""
    definitions = [
        {
            "kind": table.kind,
            "name": name,
            "summary": table.get(name).definition.summary,
            "plugin": table.get(name).provenance.plugin,
            "distribution": table.get(name).provenance.distribution,
            "version": table.get(name).provenance.version,
            "options": table.get(name).definition.options.model_json_schema().get("properties", {}),
        }
        for table in host.registry.tables
        for name in table
    ]
    failures = [
        {
            "plugin": f.provenance.plugin,
            "distribution": f.provenance.distribution,
            "version": f.provenance.version,
            "reason": f.reason,
            "traceback": f.traceback,
        }
        for f in host.failures
    ]
    return {"definitions": definitions, "failures": failures}


def plugin_tables(host: Host) -> Iterable[Table | Text]:
    """Return a table of definitions for each kind, and a line for each plugin that failed."""
    for definitions in host.registry.tables:
        table = _table(definitions.kind, "")
        for name in definitions:
            entry = definitions.get(name)
            options = ", ".join(entry.definition.options.model_fields)
            origin = f"{entry.provenance.distribution} {entry.provenance.version}"
            facts = f"{origin}; options: {options}" if options else origin
            table.add_row(f"[bold]{name}", f"{escape(entry.definition.summary)}\n[dim]{escape(facts)}")
        yield table
    yield from _failures(host)


def definition_tables(host: Host, name: str) -> Iterable[Table | Text]:
    """Return what a name is, for each kind that has it, with a table of its options.

    Raises:
        SslmError: no kind has it.
    """
    tables = [table for table in host.registry.tables if name in table]
    if not tables:
        every = {known for table in host.registry.tables for known in table}
        raise SslmError(f"nothing installed is named {name!r}{suggest(name, every)}")
    for definitions in tables:
        entry = definitions.get(name)
        origin = f"{entry.provenance.distribution} {entry.provenance.version}"
        yield Text(f"{definitions.kind} {name} ({origin}): {entry.definition.summary}")
        fields = entry.definition.options.model_fields
        if fields:
            table = _table("option", "default", "")
            for option, field in fields.items():
                value = field.get_default(call_default_factory=True)
                default = "required" if field.is_required() else "null" if value is None else str(value)
                table.add_row(option, escape(default), escape(field.description or ""))
            yield table
    yield from _failures(host)


def _failures(host: Host) -> Iterator[Text]:
    for failure in host.failures:
        origin = f"{failure.provenance.distribution} {failure.provenance.version}"
        yield Text(f"failed: {failure.provenance.plugin} ({origin}): {failure.reason}", style="red")


def score_table(scores: Sequence[TaskScore], split: str) -> Table:
    """Return a table of a model's scores beside the constant predictor's."""
    table = _table("task", "metric", split, "95 % interval", "majority", "n")
    for score in scores:
        for name, value in score.scores.items():
            primary = name == score.metric
            table.add_row(
                score.task if primary else "",
                f"[bold]{name}" if primary else name,
                f"{value.value:.3f}",
                f"{value.low:.3f} to {value.high:.3f}",
                f"{score.majority[name].value:.3f}",
                str(score.num_test) if primary else "",
            )
    return table


def detail_tables(scores: Sequence[TaskScore]) -> Iterable[Table]:
    """Return a table for each metric that speaks of classes: one row a class, those with most gold first."""
    for score in scores:
        for metric, classes in score.details.items():
            columns = list(dict.fromkeys(name for values in classes.values() for name in values))
            table = _table(score.task, *columns, title=metric)
            for name, values in sorted(classes.items(), key=lambda item: -item[1].get("gold", 0.0)):
                table.add_row(escape(name), *(_detail(values.get(column)) for column in columns))
            yield table


def _detail(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value.is_integer() and value > 1 else f"{value:.3f}"


def comparison_tables(comparison: Comparison) -> Iterable[Table | Text]:
    """Return a table of test scores by balancer, and what its intervals and marks mean."""
    table = _table(
        "balancer", "task", "metric", "test", "95 % interval", "against equal", "95 % interval", "q"
    )
    last = ""
    for row in comparison.results:
        table.add_row(
            row.candidate if row.candidate != last else "",
            row.task,
            row.metric,
            f"{row.value:.3f}",
            _interval(row.low, row.high),
            "" if row.better is None else f"{row.better:+.3f}",
            _interval(row.better_low, row.better_high, "+"),
            "" if row.q is None else f"{row.q:.2g}",
        )
        last = row.candidate
    yield table
    num_seeds = len(comparison.seeds)
    over = "test examples and seeds"
    if any(row.conditional for row in comparison.results):
        over = "test examples alone: of these trained models, not of what other seeds would give"
    yield Text(
        f"{num_seeds} seed{'s' * (num_seeds > 1)}; + is better than equal; intervals over {over};"
        " q: p adjusted for all differences (Benjamini-Hochberg)"
    )
    tuned = [c for c in comparison.candidates if c.name == "tuned"]
    for candidate in tuned:
        weights = candidate.balancer["options"].get("weights", {})
        said = ", ".join(f"{task} {weight:.2g}" for task, weight in weights.items()) or "all 1, as equal"
        yield Text(f"tuned, on dev among {len(comparison.tuning) + 1} settings: {said}")


def _interval(low: float | None, high: float | None, sign: str = "") -> str:
    return "" if low is None or high is None else f"{low:{sign}.3f} to {high:{sign}.3f}"


def prediction_table(answers: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of predictions."""
    table = _table("text", "prediction", "probability")
    for answer in answers:
        if "tags" in answer:
            words = zip(answer["tokens"], answer["tags"], strict=True)
            marked = " ".join(w if t in ("O", None) else f"{w}[{t}]" for w, t in words)
            known = [p for p in answer.get("probability", ()) if p is not None]
            least = f"{min(known):.2f} (least)" if known else ""
            table.add_row(escape(" ".join(answer["tokens"])), escape(marked), least)
        elif "label" in answer:
            share = answer["probabilities"][answer["label"]]
            table.add_row(escape(_text(answer)), escape(answer["label"]), f"{share:.2f}")
        elif "labels" in answer:
            shares = (answer["probabilities"][label] for label in answer["labels"])
            least = f"{min(shares):.2f} (least)" if answer["labels"] else ""
            table.add_row(escape(_text(answer)), escape(", ".join(answer["labels"]) or "none"), least)
        elif "value" in answer:
            table.add_row(escape(_text(answer)), f"{answer['value']:.3f}", "")
        else:
            table.add_row(escape(_text(answer)), *map(escape, _told(answer)))
    return table


def _told(answer: Mapping[str, Any]) -> tuple[str, str]:
    """Return what an answer of another kind says, and how sure it is where that is known."""
    if "ranking" in answer:
        first = answer["ranking"][0]
        return first["text"], f"{first['cosine']:.2f} (cosine)"
    if "choice" in answer:
        choice = answer["choice"]
        return answer["candidates"][choice], f"{answer['probabilities'][choice]:.2f}"
    if "vector" in answer:
        return f"a vector of {len(answer['vector'])}", ""
    found = answer["generated"] if "generated" in answer else answer["answer"]
    return "no answer" if found is None else found, ""


def plan_table(plan: Plan, estimate: Estimate) -> Group:
    """Return how many cells of each protocol are planned and done, and what each open unit of work takes."""
    cells = [cell for cell in plan.cells.values() if not cell.undefined]
    still_open = {cell for unit in estimate.units for cell in unit.cells}
    planned = Counter((c.key.protocol, c.is_baseline) for c in cells)
    left = Counter((c.key.protocol, c.is_baseline) for c in cells if c.id in still_open)
    table = _table("protocol", "cells", "done", "")
    for key, count in sorted(planned.items(), key=lambda item: (item[0][1], item[0][0])):
        table.add_row(key[0], str(count), str(count - left[key]), "baseline" if key[1] else "")
    units = _table("unit of work", "cells", "steps", "train tokens", "encode", "time", "disk")
    for unit in estimate.units:
        units.add_row(
            unit.name,
            str(len(unit.cells)),
            f"{unit.train_steps:,}" if unit.train_steps else "",
            f"{sum(unit.train_tokens.values()):,}" if unit.train_tokens else "",
            f"{unit.encode_tokens:,}",
            duration(unit.seconds(estimate.rates)),
            size(unit.num_bytes),
        )
    done = f"{len(cells)} cells, {len(cells) - len(still_open)} done; {len(plan.trainings)} source trainings"
    undefined = sum(bool(cell.undefined) for cell in plan.cells.values())
    more = f"; {undefined} are undefined" if undefined else ""
    if not estimate.units:
        return Group(table, Text(f"{done}{more}"))
    return Group(table, units, Text(f"{done}{more}\n{in_words(estimate)}"))


def _table(*columns: str, title: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, title=title, title_justify="left")
    for index, column in enumerate(columns):
        numeric = column in NUMERIC
        table.add_column(
            column,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=numeric or column == "name" or (not index and columns[-1] != "disk"),
        )
    return table


def _text(answer: Mapping[str, Any]) -> str:
    """Return the input: a text or a pair, or words."""
    names = ("text", "text_pair", "question", "context")
    return " | ".join(answer[n] for n in names if n in answer) or " ".join(answer.get("tokens", ()))
