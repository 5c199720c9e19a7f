"""Real tokens a second, against the HF Trainer and sentence-transformers' trainer.

Needs `pip install --group bench`. joint_set.py says what is equal and what is not. The sides take turns of
the same number of steps, each from the pretrained encoder. A ratio of speeds is the product of two that are
stated beside: of the shares of padded tokens that are real, and of padded tokens a second.

    python benchmarks/trainers.py [--quick] [--rounds 5] [--steps 40]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from joint_set import EXAMPLES_PER_STEP, Clock, Platform, Tasks, write_set
from measuring import Finding, alternate, arguments, median, ratios, save
from other_trainers import HuggingFace, SentenceTransformers, be_quiet


def main() -> None:
    options = arguments(__doc__, rounds=(5, 1), steps=(40, 2))
    be_quiet()
    with tempfile.TemporaryDirectory() as folder:
        spec = write_set(Path(folder))
        whole = Tasks(spec, options.threads, 2000, 8)
        findings, details = throughput(whole, options)
    save(
        options,
        "trainers",
        "Against other trainers",
        findings,
        lengths=describe(whole.lengths()),
        examples_per_step=EXAMPLES_PER_STEP,
        **details,
    )


def throughput(tasks: Tasks, options) -> tuple[list[Finding], dict]:
    sides = [kind(tasks) for kind in (Platform, HuggingFace, SentenceTransformers)]
    clocks: dict[str, list[Clock]] = {side.name: [] for side in sides}

    def turn(side) -> float:
        clock, _ = side.train(2e-5, options.steps, seed=len(clocks[side.name]))
        clocks[side.name].append(clock)
        return int(clock.tokens) / clock.seconds

    for side in sides:
        side.train(2e-5, 2, seed=0)  # warm-up
    found = alternate({side.name: lambda side=side: turn(side) for side in sides}, options.rounds)
    ours, *others = found
    what = "real tokens a second / those of {}, at the same mean number of examples a step"
    findings = [median(what.format(o), ratios(found[ours], found[o]), "×", at_least=2.0) for o in others]
    speeds = [median(f"real tokens a second, {name}", values) for name, values in found.items()]
    padded = {name: [c.padded / c.seconds for c in own] for name, own in clocks.items()}
    real = {
        name: sum(int(c.tokens) for c in own) / sum(c.padded for c in own) for name, own in clocks.items()
    }
    for name in others:
        what = f"padded tokens a second / those of {name}"
        findings.append(median(what, ratios(padded[ours], padded[name]), "×"))
        findings.append(Finding(f"share of real tokens / that of {name}", real[ours] / real[name], "×"))
    shares = [Finding(f"share of the tokens that are real, {name}", share) for name, share in real.items()]
    return [*findings, *speeds, *shares], {"tokens_per_second": found, "padded_tokens_per_second": padded}


def describe(lengths_N: np.ndarray) -> dict[str, float]:
    return {
        "mean": round(float(lengths_N.mean()), 1),
        "standard_deviation_of_log": round(float(np.log(lengths_N).std()), 2),
        "largest": int(lengths_N.max()),
    }


if __name__ == "__main__":
    main()
