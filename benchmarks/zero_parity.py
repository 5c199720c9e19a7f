"""ZeRO against plain torch: the same losses, norms and idle parts, dropout off, two ranks.

Two comparisons: the full product of stages, slots, streams, weights, heads and objectives on a tiny encoder
(the cases of tests/distributed/parity.py), and the quickstart's first steps.

    python benchmarks/zero_parity.py [--quickstart-steps 20] [--cases 768] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from sslm_platform.spec.load import load_run_spec

ROOT = Path(__file__).parent.parent
SPEC = ROOT / "task_specs" / "quickstart.yaml"
SCRIPT = ROOT / "tests" / "distributed" / "parity.py"
RESULT = Path(__file__).parent / "results" / "zero_parity.json"
TABLE = RESULT.with_suffix(".md")
STAGES = (0, 1, 2, 3)
AT_ONCE = 64  # cases of one pair of processes
QUICKSTART_TOLERANCE = 1e-4  # 22 M parameters, summed in another order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quickstart-steps", type=int, default=20)
    parser.add_argument("--cases", type=int, help="the first cases only")
    parser.add_argument("--keep", type=Path, help="folder of finished cases, which are not run again")
    options = parser.parse_args()
    parity = load_cases()
    with tempfile.TemporaryDirectory() as folder:
        product = run_product(parity, options.keep or Path(folder), options.cases)
        quickstart = run_quickstart(Path(folder), options.quickstart_steps)
    tolerances = {"losses": parity.LOSSES, "gradient_norms": parity.NORMS, "weights": parity.NORMS}
    failed = [case["case"] for case in product if is_wrong(case, tolerances)]
    result = {
        "ranks": parity.WORLD_SIZE,
        "steps": parity.STEPS,
        "tolerances": tolerances,
        "cases": len(product),
        "failed": failed,
        "worst": {key: max(case[key] for case in product) for key in tolerances},
        "idle_tensors": sum(case["idle"] for case in product),
        "moved": sum(len(case["moved"]) for case in product),
        "by_value": by_value(parity, product, tolerances),
        "quickstart": quickstart,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    TABLE.write_text(table(result), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))
    worst = max(quickstart["largest_difference"].values())
    sys.exit(int(bool(failed) or worst > QUICKSTART_TOLERANCE))


def load_cases() -> ModuleType:
    """Return the module that tests run some cases of."""
    spec = importlib.util.spec_from_file_location("parity", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["parity"] = module
    spec.loader.exec_module(module)
    return module


def is_wrong(case: dict[str, Any], tolerances: dict[str, float]) -> bool:
    return bool(case["moved"]) or any(case[key] > limit for key, limit in tolerances.items())


def run_product(parity: ModuleType, folder: Path, limit: int | None) -> list[dict[str, Any]]:
    """Run the cases, many in one pair of processes, and return their differences."""
    folder.mkdir(parents=True, exist_ok=True)
    parity.write_texts(folder)
    results = folder / "results.jsonl"
    results.touch()
    wanted = [case.name for case in parity.all_cases()[:limit]]
    names = [name for name in wanted if name not in read_cases(results)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr=localhost", "--nproc-per-node=2"]
    command = [sys.executable, *launcher, str(SCRIPT), str(folder), str(results), str(parity.STEPS)]
    for start in range(0, len(names), AT_ONCE):
        subprocess.run([*command, *names[start : start + AT_ONCE]], check=True)
        print(f"{min(start + AT_ONCE, len(names))} of {len(names)} cases", flush=True)
    found = read_cases(results)
    return [found[name] for name in wanted]


def read_cases(results: Path) -> dict[str, dict[str, Any]]:
    lines = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    return {line["case"]: line for line in lines}


def by_value(
    parity: ModuleType, product: list[dict[str, Any]], tolerances: dict[str, float]
) -> dict[str, dict[str, float]]:
    """Return the worst differences of all cases with a value."""
    found: dict[str, dict[str, float]] = {}
    for index, values in enumerate(parity.VALUES.values()):
        for value in values:
            cases = [case for case in product if case["case"].split("/")[index] == value]
            if cases:
                found[value] = {key: max(case[key] for case in cases) for key in tolerances}
                found[value] |= {"cases": len(cases), "failed": sum(is_wrong(c, tolerances) for c in cases)}
    return found


def table(result: dict[str, Any]) -> str:
    """Return the worst differences as a table, one line for each value of a factor."""
    lines = [
        f"{result['cases']} cases of {result['steps']} steps on {result['ranks']} ranks against one process:"
        f" {len(result['failed'])} outside the tolerances; of {result['idle_tensors']} tensors of idle parts"
        f" {result['moved']} moved. Worst differences of all cases with a value:",
        "",
        "| | cases | loss (absolute) | gradient norm (relative) | weight's norm (relative) |",
        "|---|---:|---:|---:|---:|",
    ]
    for value, worst in result["by_value"].items():
        figures = " | ".join(f"{worst[key]:.1e}" for key in result["tolerances"])
        lines.append(f"| {value} | {worst['cases']} | {figures} |")
    quickstart = result["quickstart"]
    worst = ", ".join(f"{stage} {value:.1e}" for stage, value in quickstart["largest_difference"].items())
    lines += ["", f"Quickstart, {quickstart['steps']} steps, largest difference of a loss: {worst}."]
    return "\n".join(lines) + "\n"


def run_quickstart(folder: Path, steps: int) -> dict[str, Any]:
    """Train the quickstart's first steps under each stage and return the largest difference of a loss."""
    local = losses(folder / "local", steps, ["engine.name=local"], 1)
    worst = {}
    for stage in STAGES:
        engine = ["engine.name=deepspeed", f"engine.zero_stage={stage}"]
        found = losses(folder / f"zero{stage}", steps, engine, 2)
        assert found.keys() == local.keys()
        worst[f"zero{stage}"] = max(abs(found[key] - local[key]) for key in local)
    return {"steps": steps, "tolerance": QUICKSTART_TOLERANCE, "largest_difference": worst}


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
