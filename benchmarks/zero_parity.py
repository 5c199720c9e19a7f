"""ZeRO against plain torch on the quickstart's first steps: the same losses, dropout off.

Trains the quickstart once with the local engine and once with DeepSpeed at each ZeRO stage on two ranks, and
compares the losses of every step.

    python benchmarks/zero_parity.py [--steps 20] [--stages 0 1 2 3]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from sslm_platform.spec.load import load_run_spec

SPEC = Path(__file__).parent.parent / "task_specs" / "quickstart.yaml"
RESULT = Path(__file__).parent / "results" / "zero_parity.json"
TOLERANCE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--stages", type=int, nargs="*", default=[0, 1, 2, 3])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        local = losses(Path(folder) / "local", options.steps, ["engine.name=local"], 1)
        result = {"steps": options.steps, "ranks": 2, "tolerance": TOLERANCE, "largest_difference": {}}
        for stage in options.stages:
            engine = ["engine.name=deepspeed", f"engine.zero_stage={stage}"]
            found = losses(Path(folder) / f"zero{stage}", options.steps, engine, 2)
            assert found.keys() == local.keys()
            worst = max(abs(found[key] - local[key]) for key in local)
            result["largest_difference"][f"zero_{stage}"] = worst
            print(f"ZeRO {stage}, 2 ranks: largest difference of a loss in {options.steps} steps {worst:.1e}")
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(int(max(result["largest_difference"].values()) > TOLERANCE))


def losses(out: Path, steps: int, engine: list[str], processes: int) -> dict[tuple[int, str], float]:
    """Train and return each step's loss of each task."""
    settings = [*without_dropout(), *engine, f"schedule.max_steps={steps}", "evaluation.every=null"]
    command = [sys.executable, "-m", "sslm_platform", "train", str(SPEC), "--out", str(out)]
    command += ["--nproc", str(processes), *(part for s in settings for part in ("--set", s))]
    subprocess.run(command, check=True)
    lines = (out / "train" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return {
        (r["step"], task): loss for r in records if r["kind"] == "step" for task, loss in r["losses"].items()
    }


def without_dropout() -> list[str]:
    """Return the settings that turn off all dropout of encoder and heads."""
    settings = ["encoder.dropout=0.0"]
    for stream in load_run_spec(SPEC).spec.streams:
        settings += [
            f"streams.{stream.name}.tasks.{task.name}.head.options.dropout=0.0"
            for task in stream.tasks
            if task.head.name != "lm"
        ]
    return settings


if __name__ == "__main__":
    main()
