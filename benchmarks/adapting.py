"""LoRA against full fine-tuning: the sentiment of film reviews.

Both sides have the same examples, passes and head, and grids of the same size. Each side's learning rate is
chosen on dev, with seeds that are not reported. Differences of test accuracy are paired by seed and example.

    python benchmarks/adapting.py [--quick] [--seeds 3] [--train 800] [--epochs 2] [--dev 300] [--test 1000]
        [--choices 2] [--workers 1]

It runs on a GPU where there is one; several workers (with --threads 1) train side by side there, and then
no times are reported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from learning import CHOICE_SEED, Score, Side, difference, points, sample, side_by_side
from measuring import TASK_SPECS, Finding, arguments, save

RATES = {"full": (2.5e-5, 5e-5, 1e-4, 2e-4), "lora": (5e-4, 1e-3, 2e-3, 4e-3)}
LORA = {"name": "lora", "options": {"r": 8, "lora_alpha": 16, "target_modules": ["query", "value", "dense"]}}


def main() -> None:
    options = arguments(
        __doc__, seeds=(3, 1), train=(800, 16), dev=(300, 16), test=(1000, 16), epochs=(2, 1), choices=(2, 1),
        workers=(1, 1),
    )  # fmt: skip
    dev = tried_on_dev(options)
    rates = {name: max(found, key=lambda rate, found=found: found[rate]) for name, found in dev.items()}
    seeds = range(1, options.seeds + 1)
    calls = [(options, name, rates[name], seed, "test") for seed in seeds for name in RATES]
    fits = iter(side_by_side(fitted, calls, options.workers))
    found = {seed: {name: next(fits) for name in RATES} for seed in seeds}
    scores = {name: {seed: found[seed][name].score for seed in seeds} for name in RATES}
    trained = {name: found[1][name].num_trained for name in RATES}
    seconds = {name: [found[seed][name].seconds for seed in seeds] for name in RATES}
    save(
        options,
        "adapting",
        "LoRA against full fine-tuning",
        findings(scores, trained, seconds if options.workers == 1 else None),
        task="sentiment of film reviews (VADER), 2 labels, accuracy",
        num_train=options.train,
        num_test=scores["full"][1].num_examples,
        epochs=options.epochs,
        seeds=options.seeds,
        workers=options.workers,
        rates=rates,
        dev={name: {f"{rate:g}": value for rate, value in tried.items()} for name, tried in dev.items()},
        num_trained=trained,
        test={name: {s: one.value for s, one in found.items()} for name, found in scores.items()},
    )


@dataclass(frozen=True)
class Outcome:
    """One training: its score, its seconds, and how many parameters it trained."""

    score: Score
    seconds: float
    num_trained: int


def tried_on_dev(options) -> dict[str, dict[float, float]]:
    """Return the dev accuracy of each side's rates, averaged over seeds."""
    seeds = range(CHOICE_SEED, CHOICE_SEED + options.choices)
    tried = [(name, rate) for name, grid in RATES.items() for rate in grid[: 1 if options.quick else None]]
    calls = [(options, *one, seed, "dev") for one in tried for seed in seeds]
    fits = iter(side_by_side(fitted, calls, options.workers))
    dev: dict[str, dict[float, float]] = {name: {} for name in RATES}
    for name, rate in tried:
        dev[name][rate] = fmean([next(fits).score.value for _ in seeds])
    return dev


def fitted(options, name: str, rate: float, seed: int, split: str) -> Outcome:
    """Train one side with a rate and a seed."""
    fit = side(name, options.train, options.dev, options.test, options.epochs, options.threads)
    fit = fit.start(seed, lr=rate).train()
    found = Outcome(fit.score(split), fit.seconds, fit.num_trained())
    print(f"seed {seed}, {name} at {rate:g}: {split} {found.score.value:.4f}", flush=True)
    return found


@cache
def side(name: str, train: int, dev: int, test: int, epochs: int, threads: int) -> Side:
    overrides = [
        "tasks={stream: vader-movies, task: sentiment}",
        "streams.vader-movies.tasks.sentiment.primary_metric=accuracy",
        f"limit={{train: {train}, dev: {dev}, test: {test}}}",
        f"schedule={{tokens_per_batch: 512, epochs: {epochs}}}",
        "evaluation={}",
        "transfer=[]",
        f"engine.threads={threads}",
    ]
    if name == "lora":
        overrides.append(f"encoder.adapter={json.dumps(LORA)}")
    return Side(TASK_SPECS / "quickstart.yaml", overrides)


def findings(scores, trained, seconds) -> list[Finding]:
    samples = {name: sample(found) for name, found in scores.items()}
    share = trained["lora"] / trained["full"]
    result = [
        difference("test accuracy, LoRA - full fine-tuning", samples["lora"], samples["full"], at_least=-1.0),
        Finding("parameters that LoRA trains / those of full fine-tuning", 100 * share, "%", at_most=5.0),
        points("test accuracy, full fine-tuning", samples["full"]),
        points("test accuracy, LoRA", samples["lora"]),
    ]
    if seconds is not None:
        ratio = sum(seconds["lora"]) / sum(seconds["full"])
        result.append(Finding("seconds of training, LoRA / full", ratio, "×"))
    return result


if __name__ == "__main__":
    main()
