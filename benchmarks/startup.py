"""From the command to the first optimizer step of the quickstart, with everything in the cache.

`sslm train` runs in a process of its own, until the first step's line is in metrics.jsonl. Imports are the
time of a process that imports the modules which were imported by then, in order, and does nothing else.

    python benchmarks/startup.py [--quick] [--rounds 5]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import TASK_SPECS, Finding, alternate, arguments, median, save

TRAIN = "import sys; from sslm_platform.cli import main; sys.argv = {argv!r}; main()"
LIST_MODULES = """
import json, sys
from sslm_platform.train.observers import MetricsFile
write = MetricsFile.write
def listing(self, content):
    json.dump([*sys.modules], open({file!r}, "w"))
    MetricsFile.write = write
    write(self, content)
MetricsFile.write = listing
"""
IMPORT = """
import importlib, json, sys, contextlib
for name in json.load(open({file!r})):
    with contextlib.suppress(Exception):
        importlib.import_module(name)
"""


def main() -> None:
    options = arguments(__doc__, rounds=(5, 1))
    with tempfile.TemporaryDirectory() as folder:
        modules, run = Path(folder) / "modules.json", Path(folder) / "run"
        first_step(run, options.threads, LIST_MODULES.format(file=str(modules)))  # fills the caches
        sides = {
            "first step": lambda: first_step(run, options.threads),
            "imports": lambda: elapsed(IMPORT.format(file=str(modules))),
            "--help": lambda: elapsed(TRAIN.format(argv=["sslm", "--help"])),
        }
        found = alternate(sides, options.rounds)
    beyond = [a - b for a, b in zip(found["first step"], found["imports"], strict=True)]
    findings: list[Finding] = [
        median("from command to first step, warm cache, beyond imports", beyond, "s", at_most=3.0),
        *(median(f"seconds: {name}", values, "s") for name, values in found.items()),
    ]
    save(options, "startup", "Start", findings, seconds=found)


def elapsed(program: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    return time.perf_counter() - began


def first_step(run: Path, threads: int, before: str = "") -> float:
    """Return the seconds from the start of the process to its first line of metrics."""
    settings = ["schedule.max_steps=1", "evaluation.every=null", f"engine.threads={threads}"]
    argv = ["sslm", "train", str(TASK_SPECS / "quickstart.yaml"), "--out", f"{run}-{time.monotonic_ns()}"]
    argv += [word for setting in settings for word in ("--set", setting)]
    metrics = Path(argv[argv.index("--out") + 1]) / "train" / "metrics.jsonl"
    program = before + TRAIN.format(argv=argv)
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None:
                sys.exit(process.communicate()[1].decode())
            time.sleep(0.002)
        seconds = time.perf_counter() - began
        process.kill()
    return seconds


if __name__ == "__main__":
    main()
