"""What balancers of gradients cost: steps of the quickstart's tasks, four slots each, against equal weights.

Both sides of a pair train the same model on the same batches and take turns in one process. Memory is the
peak of a process of its own for each scope; it is the same for all balancers.

    python benchmarks/balancers.py [--quick] [--pairs 6] [--steps 2] [--threads 2]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from measuring import TASK_SPECS, Finding, alternate, arguments, median, ratios, save
from overhead import platform_steps

from sslm_platform.plugins import host
from sslm_platform.runs import open_run
from sslm_platform.train.model import build_model

BOUNDS = {"last_layer": 1.25, "all": 1.3}
MEMORY = "memory"  # first argument of a process that only measures its own


def main() -> None:
    options = arguments(__doc__, pairs=(6, 1), steps=(2, 1))
    table = host().registry.balancers
    names = [name for name in table if table.get(name).definition.gradients]
    findings, seconds = [], {}
    for scope, bound in BOUNDS.items():
        for name in names[:1] if options.quick else names:
            found = pair(name, scope, options)
            seconds[f"{name}, {scope}"] = found
            what = f"time of a step with {name}, scope {scope} / with equal weights"
            findings.append(median(what, ratios(found[name], found["equal"]), "×", at_most=bound))
    peaks = {case: peak_memory(case, options.threads) for case in ("equal", "mgda:last_layer", "mgda:all")}
    findings += [Finding(f"peak memory of training, {case}", mib, "MiB") for case, mib in peaks.items()]
    save(
        options,
        "balancers",
        "Balancers of gradients",
        findings,
        slots_per_step=4,
        steps_per_turn=options.steps,
        seconds=seconds,
    )


def pair(name: str, scope: str, options) -> dict[str, list[float]]:
    num_steps = (options.pairs + 1) * options.steps
    sides = {
        "equal": side("equal", num_steps, options.threads),
        name: side(name, num_steps, options.threads, scope),
    }
    for run in sides.values():  # warm-up
        run(options.steps)
    return alternate({k: lambda run=run: run(options.steps) for k, run in sides.items()}, options.pairs)


def side(name: str, num_steps: int, threads: int, scope: str = "last_layer"):
    """Return a function that trains for some steps and says how long they took."""
    run = open_run(
        TASK_SPECS / "quickstart.yaml",
        overrides=[
            f"balancer={{name: {name}, scope: {scope}}}",
            f"schedule.max_steps={num_steps}",
            "schedule.slots_per_step=4",
            f"engine.threads={threads}",
        ],
    )
    spec, corpus = run.resolved.spec, run.corpus
    return platform_steps(spec, corpus, build_model(corpus, list(run.resolved.tasks.values()), spec.seed))


def peak_memory(case: str, threads: int) -> float:
    """Return the largest resident size of a process that takes three steps, in MiB."""
    command = [sys.executable, __file__, MEMORY, case, str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_peak_memory(case: str, threads: int) -> None:
    name, _, scope = case.partition(":")
    side(name, 3, threads, scope or "last_layer")(3)
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage would count the parent's too
    (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    print(int(peak) / 1024)


if __name__ == "__main__":
    if sys.argv[1:2] == [MEMORY]:
        own_peak_memory(sys.argv[2], int(sys.argv[3]))
    else:
        main()
