"""Against the HF Trainer and sentence-transformers' trainer: real tokens a second, and time to a dev score.

Needs `pip install --group bench`. joint_set.py says what is equal and what is not. Throughput: the sides take
turns of the same number of steps. Time to a score: each side's learning rate is chosen on dev from one grid,
with one seed; then all train with further seeds, and pair by pair the time is that to the best score that
both reach. Scoring is not counted.

    python benchmarks/trainers.py [--quick] [--rounds 5] [--steps 40] [--seeds 5] [--train 130] [--dev 70]
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
from joint_set import EXAMPLES_PER_STEP, Platform, Tasks, write_set
from measuring import Finding, alternate, arguments, median, ratios, save
from other_trainers import HuggingFace, SentenceTransformers
from transformers.utils import logging

GRID = (5e-5, 1e-4, 2e-4)  # from the HF Trainer's default upwards
EPOCHS = 2
SCORINGS = 8  # in one training


def main() -> None:
    options = arguments(__doc__, rounds=(5, 1), steps=(40, 2), seeds=(5, 1), train=(130, 4), dev=(70, 8))
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        spec = write_set(Path(folder))
        whole = Tasks(spec, options.threads, 2000, options.dev)
        findings, details = throughput(whole, options)
        more, curves = time_to_score(Tasks(spec, options.threads, options.train, options.dev), options)
    save(
        options,
        "trainers",
        "Against other trainers",
        [*findings, *more],
        lengths=describe(whole.lengths()),
        examples_per_step=EXAMPLES_PER_STEP,
        **details,
        **curves,
    )


def throughput(tasks: Tasks, options) -> tuple[list[Finding], dict]:
    sides = [kind(tasks) for kind in (Platform, HuggingFace, SentenceTransformers)]
    shares: dict[str, float] = {}

    def turn(side) -> float:
        clock, _ = side.train(2e-5, options.steps, seed=len(shares))
        shares[side.name] = int(clock.tokens) / clock.padded
        return int(clock.tokens) / clock.seconds

    for side in sides:
        side.train(2e-5, 2, seed=0)  # warm-up
    found = alternate({side.name: lambda side=side: turn(side) for side in sides}, options.rounds)
    ours, *others = found
    what = "real tokens a second / those of {}, at the same mean number of examples a step"
    findings = [median(what.format(o), ratios(found[ours], found[o]), "×", at_least=2.0) for o in others]
    speeds = [median(f"real tokens a second, {name}", values) for name, values in found.items()]
    return [*findings, *speeds], {"tokens_per_second": found, "real_share_of_tokens": shares}


def time_to_score(tasks: Tasks, options) -> tuple[list[Finding], dict]:
    sides = [kind(tasks) for kind in (Platform, HuggingFace, SentenceTransformers)]
    num_steps = EPOCHS * tasks.num_train // EXAMPLES_PER_STEP
    every = max(1, num_steps // (1 if options.quick else SCORINGS))
    rates, curves = {}, {side.name: [] for side in sides}
    for side in sides:
        ends = {
            rate: side.train(rate, num_steps, 0, every)[1][-1].score
            for rate in (GRID[:1] if options.quick else GRID)
        }
        rates[side.name] = max(ends, key=ends.__getitem__)
        print(f"{side.name}: dev score by learning rate {ends}", flush=True)
    for seed in range(1, options.seeds + 1):
        for side in sides:
            curves[side.name].append(side.train(rates[side.name], num_steps, seed, every)[1])
        print(f"seed {seed}: " + ", ".join(f"{n} {c[-1][-1]}" for n, c in curves.items()), flush=True)
    findings = []
    ours, *others = curves
    for other in others:
        pairs = [reached(a, b) for a, b in zip(curves[ours], curves[other], strict=True)]
        what = f"time of {other} to the dev score that both reach / time of sslm_platform"
        findings.append(median(what, [b / a for a, b in pairs], "×", at_least=1.7))
    for name, found in curves.items():
        findings.append(median(f"dev macro F1 at the end, {name}", [curve[-1].score for curve in found]))
    plain = {n: [[(p.seconds, p.score) for p in curve] for curve in found] for n, found in curves.items()}
    return findings, {"learning_rates": rates, "steps": num_steps, "curves": plain}


def reached(ours, theirs) -> tuple[float, float]:
    """Return each side's seconds to the best score that both sides reach."""
    goal = min(max(p.score for p in ours), max(p.score for p in theirs))
    first = [next(p.seconds for p in curve if p.score >= goal) for curve in (ours, theirs)]
    return first[0], first[1]


def describe(lengths_N: np.ndarray) -> dict[str, float]:
    return {
        "mean": round(float(lengths_N.mean()), 1),
        "standard_deviation_of_log": round(float(np.log(lengths_N).std()), 2),
        "largest": int(lengths_N.max()),
    }


if __name__ == "__main__":
    main()
