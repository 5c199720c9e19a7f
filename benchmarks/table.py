"""benchmarks/README.md from benchmarks/results: `python benchmarks/table.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from measuring import RESULTS

TABLE = Path(__file__).parent / "README.md"
HEAD = """# Benchmarks

`make bench` measures all of this anew and writes this page; `python benchmarks/NAME.py` one part, `--quick`
sees that it runs. Each script says what it compares. Sides take turns in one process, on the same data, seeds
and threads; figures are medians, with 95 % bootstrap intervals where they were repeated. Bounds are the
project's own.
"""

# What the figures do not say themselves; by the script's name.
NOTES = {
    "input_pipeline": "Its own memory is what the process has allocated. Resident memory counts pages of the"
    " mapped Arrow files too, which the kernel keeps while there is room: they are clean copies of the disk,"
    " they grow with the data, and any other use of the memory takes them. To give them back after each pass"
    " would lower that figure alone, and the next pass would read them again.",
    "trainers": "A padded token costs all sides the same arithmetic, so that full batches win 1 / the share"
    " of real tokens that the other side has, and no more. That share falls with the examples of a batch"
    " and with the longest text: 8 examples are the default of both trainers, 256 tokens what this"
    " encoder is published with; at 96, 23 % of the docstrings are cut. sentence-transformers' batches"
    " hold one task, whose texts are more alike. tasknet is not measured: it asks a model hub for models"
    " when it is imported.",
    "trainers_gpu": "A step has 256 examples on average, of at most 96 tokens. With 64, a GPU like this waits"
    " half of the time for the host, whatever the batch: then it was 1.25 × and 1.36 ×.",
}


def write_table() -> None:
    """Write the page; results of another form are left out."""
    results = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))
    }
    sections = [section(name, r) for name, r in results.items() if "findings" in r]
    TABLE.write_text("\n".join([HEAD, *sections]), encoding="utf-8")


def section(name: str, result: dict[str, Any]) -> str:
    rows = [row(finding) for finding in result["findings"]]
    machine = result["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    hardware = machine.get("gpu") or f"{machine['processor']}, {machine['threads']} threads"
    where = f"{hardware}; {versions}; {result['date'][:10]}"
    head = f"## {result['title']}\n\n`benchmarks/{name.removesuffix('_gpu')}.py`: {where}.\n"
    notes = [f"\n{note}" for note in (lengths(result.get("settings", {})), NOTES.get(name)) if note]
    return "\n".join([head, "| | | 95 % | bound | |", "|---|--:|---|---|---|", *rows, *notes, ""])


def lengths(settings: dict[str, Any]) -> str:
    """Return the distribution of the texts' lengths in each setting; empty without settings."""
    known = [
        f"{name}: mean {n['mean']:g}, standard deviation of the logarithm {n['standard_deviation_of_log']:g},"
        f" longest {n['largest']}"
        for name, setting in settings.items()
        if (n := setting.get("lengths"))
    ]
    return f"Tokens of the texts: {'; '.join(known)}." if known else ""


def row(finding: dict[str, Any]) -> str:
    interval = f"{number(finding['low'])} to {number(finding['high'])}" if "low" in finding else ""
    bound = f"≤ {finding['at_most']:g}" if "at_most" in finding else ""
    bound = f"≥ {finding['at_least']:g}" if "at_least" in finding else bound
    met = {True: "met", False: "**missed**", None: ""}[finding["met"]]
    value = f"{number(finding['value'])} {finding.get('unit', '')}".strip()
    return f"| {finding['what']} | {value} | {interval} | {bound} | {met} |"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    write_table()
