"""Seconds of training to the same dev score, against the HF Trainer and sentence-transformers' trainer.

Needs `pip install --group bench`. joint_set.py says what is equal and what is not. Each side's learning rate
is chosen on dev from one grid, with one seed. Then all train with further seeds and are scored on the way;
seed by seed the time is that to the best score that both reach. Only training is counted: scoring is the same
code for all sides.

    python benchmarks/time_to_score.py [--quick] [--seeds 5] [--train 60] [--dev 40] [--others 2]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from joint_set import Platform, Point, Tasks, write_set
from measuring import Finding, arguments, median, save
from other_trainers import HuggingFace, SentenceTransformers, be_quiet

GRID = (5e-5, 1e-4, 2e-4)  # from the HF Trainer's default upwards
EPOCHS = 2
SCORINGS = 8  # in one training


def main() -> None:
    options = arguments(__doc__, seeds=(5, 1), train=(60, 4), dev=(40, 8), others=(2, 2))
    be_quiet()
    with tempfile.TemporaryDirectory() as folder:
        tasks = Tasks(write_set(Path(folder)), options.threads, options.train, options.dev)
        findings, details = time_to_score(tasks, options)
    save(options, "time_to_score", "Time to a dev score, against other trainers", findings, **details)


def time_to_score(tasks: Tasks, options) -> tuple[list[Finding], dict]:
    kinds = (Platform, HuggingFace, SentenceTransformers)[: 1 + options.others]
    sides = [kind(tasks) for kind in kinds]
    num_steps = EPOCHS * tasks.num_train // tasks.examples_per_step
    every = max(1, num_steps // (1 if options.quick else SCORINGS))
    rates, curves = {}, {side.name: [] for side in sides}
    for side in sides:
        ends = {
            rate: side.train(rate, num_steps, 0, num_steps)[1][-1].score
            for rate in (GRID[:1] if options.quick else GRID)
        }
        rates[side.name] = max(ends, key=ends.__getitem__)
        print(f"{side.name}: dev score by learning rate {ends}", flush=True)
    for seed in range(1, options.seeds + 1):
        for side in sides[seed % len(sides) :] + sides[: seed % len(sides)]:
            curves[side.name].append(side.train(rates[side.name], num_steps, seed, every)[1])
        print(f"seed {seed}: " + ", ".join(f"{n} {c[-1][-1]}" for n, c in curves.items()), flush=True)
    findings = []
    ours, *others = curves
    for other in others:
        pairs = [reached(a, b) for a, b in zip(curves[ours], curves[other], strict=True)]
        what = f"time of {other} to the dev score that both reach / time of sslm_platform"
        findings.append(median(what, [b / a for a, b in pairs], "×", at_least=1.7))
        ends = [a[-1].seconds / b[-1].seconds for a, b in zip(curves[other], curves[ours], strict=True)]
        findings.append(
            median(f"time of {other} for the same number of steps / time of sslm_platform", ends, "×")
        )
    for name, found in curves.items():
        findings.append(median(f"dev macro F1 at the end, {name}", [curve[-1].score for curve in found]))
    plain = {n: [[(p.seconds, p.score) for p in curve] for curve in found] for n, found in curves.items()}
    details = {"learning_rates": rates, "steps": num_steps, "examples_per_step": tasks.examples_per_step}
    return findings, {**details, "train_and_dev_examples": [options.train, options.dev], "curves": plain}


def reached(ours: list[Point], theirs: list[Point]) -> tuple[float, float]:
    """Return each side's seconds to the best score that both sides reach."""
    goal = min(max(p.score for p in ours), max(p.score for p in theirs))
    first = [next(p.seconds for p in curve if p.score >= goal) for curve in (ours, theirs)]
    return first[0], first[1]


if __name__ == "__main__":
    main()
