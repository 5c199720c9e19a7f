"""What all benchmarks share: turns in one process, medians with intervals, the machine, a result file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
TASK_SPECS = Path(__file__).parent.parent / "task_specs"
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "sentence-transformers", "deepspeed")


@dataclass(frozen=True)
class Finding:
    """One figure, and the bound that it is held to: ``at_most`` or ``at_least``."""

    what: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the bound is kept; None where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least


def arguments(doc: str, **numbers: tuple[int, int]) -> argparse.Namespace:
    """Parse the options that all benchmarks have, and some of its own as NAME=(default, for --quick)."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="see that it runs; the figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder of the result; default: results/, --quick: none")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    for name, (default, _) in numbers.items():
        parser.add_argument(f"--{name}", type=int, help=f"default: {default}")
    options = parser.parse_args()
    for name, (default, quick) in numbers.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else default)
    if options.out is None and not options.quick:
        options.out = RESULTS
    return options


def alternate(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Let the sides take turns, each round in another order, and return what each turn gave."""
    names = list(sides)
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            found[name].append(sides[name]())
        print(
            f"round {turn + 1}: " + ", ".join(f"{name} {found[name][-1]:.3g}" for name in names), flush=True
        )
    return found


def median(what: str, values: Sequence[float], unit: str = "", **bound: float) -> Finding:
    """Return the median of paired ratios or repeated figures with its 95 % bootstrap interval."""
    draws = np.random.default_rng(0).choice(values, size=(10_000, len(values)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return Finding(what, float(np.median(values)), unit, float(low), float(high), **bound)


def device() -> torch.device:
    """Return what engines train on here."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def now() -> float:
    """Read the clock when all that was asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide pair by pair."""
    return [a / b for a, b in zip(above, below, strict=True)]


def save(
    options: argparse.Namespace, name: str, title: str, findings: Sequence[Finding], **details: Any
) -> None:
    """Print the findings; write them, with the machine and all details, where the options say.

    Figures of a GPU are a result of their own, ``NAME_gpu``.
    """
    if torch.cuda.is_available():
        name, title = f"{name}_gpu", f"{title}, on a GPU"
    for one in findings:
        print(f"{one.what}: {one.value:.4g} {one.unit}", flush=True)
    if options.out is None:
        return
    content = {
        "title": title,
        "findings": [
            {k: v for k, v in asdict(one).items() if v is not None} | {"met": one.met} for one in findings
        ],
        "machine": machine(options.threads),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **details,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1) + "\n"
    (options.out / f"{name}.json").write_text(text, encoding="utf-8")


def machine(threads: int) -> dict[str, Any]:
    """Return what the figures depend on."""
    found = {"processor": processor(), "cores": os.cpu_count(), "threads": threads, "versions": {}}
    found["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    found["versions"]["python"] = platform.python_version()
    for package in PACKAGES:
        try:
            found["versions"][package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Return the processor's name and the vector instructions that decide about its speed."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in lines.items()}
    flags = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in facts.get("flags", "").split()]
    return " ".join([facts.get("model name", platform.machine()), *flags])
