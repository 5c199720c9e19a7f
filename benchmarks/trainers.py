"""Real tokens a second, against the HF Trainer and sentence-transformers' trainer.

Needs `pip install --group bench`. joint_set.py says what is equal and what is not. The sides take turns of
as many examples, each from the pretrained encoder; what is gained depends on how many a batch has and on how
long the longest are, so that several of each are measured. A ratio of speeds is the product of two: of the
shares of padded tokens that are real, and of padded tokens a second.

    python benchmarks/trainers.py [--quick] [--rounds 5] [--examples 320]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from joint_set import Clock, Platform, Tasks, write_set
from measuring import Finding, alternate, arguments, device, median, ratios, save
from other_trainers import HuggingFace, SentenceTransformers, be_quiet

# (examples a step, tokens that texts are cut at). 8 is the default of both trainers, 256 what the encoder was
# published with. A GPU would mostly wait for the host with less than hundreds of examples.
SETTINGS = ((256, 256), (256, 96)) if device().type == "cuda" else ((8, 256), (16, 256), (8, 96))


def main() -> None:
    options = arguments(__doc__, rounds=(5, 1), examples=(40 * SETTINGS[0][0], 2 * SETTINGS[0][0]))
    be_quiet()
    findings, details = [], {}
    with tempfile.TemporaryDirectory() as folder:
        spec = write_set(Path(folder))
        for examples_per_step, max_length in SETTINGS:
            tasks = Tasks(spec, options.threads, 2000, 8, examples_per_step, max_length)
            where = f"{examples_per_step} examples a step, at most {max_length} tokens"
            print(f"== {where}", flush=True)
            found, details[where] = throughput(tasks, options, where)
            findings += found
    save(options, "trainers", "Against other trainers", findings, settings=details)


def throughput(tasks: Tasks, options, where: str) -> tuple[list[Finding], dict[str, Any]]:
    sides = [kind(tasks) for kind in (Platform, HuggingFace, SentenceTransformers)]
    clocks: dict[str, list[Clock]] = {side.name: [] for side in sides}
    num_steps = max(2, options.examples // tasks.examples_per_step)

    def turn(side) -> float:
        clock, _ = side.train(2e-5, num_steps, seed=len(clocks[side.name]))
        clocks[side.name].append(clock)
        return int(clock.tokens) / clock.seconds

    for side in sides:
        side.train(2e-5, 2, seed=0)  # warm-up
    speeds = alternate({side.name: lambda side=side: turn(side) for side in sides}, options.rounds)
    padded = {name: [c.padded / c.seconds for c in own] for name, own in clocks.items()}
    ours, *others = speeds
    findings = []
    for other in others:
        for kind, found, bound in (("real", speeds, {"at_least": 2.0}), ("padded", padded, {})):
            what = f"{kind} tokens a second / those of {other}: {where}"
            findings.append(median(what, ratios(found[ours], found[other]), "×", **bound))
    for name, own in clocks.items():
        share = sum(int(c.tokens) for c in own) / sum(c.padded for c in own)
        findings.append(median(f"real tokens a second, {name}: {where}", speeds[name]))
        findings.append(Finding(f"share of the tokens that are real, {name}: {where}", share))
    rates = {"tokens_per_second": speeds, "padded_tokens_per_second": padded}
    num_examples = {n: [c.examples / num_steps for c in own] for n, own in clocks.items() if n != ours}
    return findings, {"lengths": describe(tasks.lengths()), "examples_per_step": num_examples, **rates}


def describe(lengths_N: np.ndarray) -> dict[str, float]:
    return {
        "mean": round(float(lengths_N.mean()), 1),
        "standard_deviation_of_log": round(float(np.log(lengths_N).std()), 2),
        "largest": int(lengths_N.max()),
    }


if __name__ == "__main__":
    main()
