"""Adversarial training against word substitution: sentiment of film reviews, PWWS with WordNet's synonyms.

Four sides are trained on the same examples: as usual, as usual for twice as many passes (FGM's number of
encoder calls), FGM and FreeLB. Radii are chosen on dev, with seeds that are not reported: the best accuracy
under attack of those whose clean accuracy is at most a point below the usual training's. Each victim is
attacked by its own probabilities, with one budget. A text counts as known under attack if the victim knows it
and the attack does not find a substitution within the budget that changes that.

    python benchmarks/robustness.py [--quick] [--seeds 2] [--train 400] [--attacked 80] [--attacked_dev 40]
        [--choices 2] [--workers 1]

It runs on a GPU where there is one; several workers (with --threads 1) train side by side there, and then
no times are reported.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
from attack import Attacked, Budget, attack, victim
from learning import CHOICE_SEED, Fit, Score, Side, difference, points, sample, side_by_side
from measuring import TASK_SPECS, Finding, arguments, save
from synonyms import synonyms

from sslm_platform.statistics import NUM_RESAMPLES, resample_counts

RADII = {"fgm": (0.2, 0.3, 0.4), "freelb": (0.2, 0.3, 0.4)}
CLEAN_LOSS = 0.01  # how much clean dev accuracy a radius may cost
BUDGET = Budget()
SPLITS = {"dev": "attacked_dev", "test": "attacked"}
PLAIN, TWICE = "plain", "plain, twice the passes"


def main() -> None:
    options = arguments(
        __doc__, seeds=(2, 1), train=(400, 16), dev=(300, 16), test=(1000, 16), epochs=(2, 1),
        attacked=(80, 3), attacked_dev=(40, 3), choices=(2, 1), workers=(1, 1),
    )  # fmt: skip
    synonyms()  # made once, before the workers read it
    dev = tried_on_dev(options)
    radii = {
        name: best_radius({r: dev[name, r] for n, r in dev if n == name}, dev[PLAIN, 0.0]) for name in RADII
    }
    sides = {PLAIN: (PLAIN, 0.0), TWICE: (TWICE, 0.0)} | {
        name: (name, radius) for name, radius in radii.items()
    }
    seeds = range(1, options.seeds + 1)
    calls = [(options, *side, seed, "test") for seed in seeds for side in sides.values()]
    outcomes = iter(side_by_side(fitted, calls, options.workers))
    found = {seed: {name: next(outcomes) for name in sides} for seed in seeds}
    clean = {name: {seed: found[seed][name]["clean"] for seed in seeds} for name in sides}
    known = {name: {seed: shares(found[seed][name]["known"]) for seed in seeds} for name in sides}
    facts = ["clean_attacked", "words_replaced", "queries"] + ["seconds"] * (options.workers == 1)
    save(
        options,
        "robustness",
        "Adversarial training under word substitution",
        findings(clean, known),
        task="sentiment of film reviews (VADER), 2 labels, accuracy",
        attack="PWWS, WordNet 3.0",
        budget=vars(BUDGET),
        num_train=options.train,
        num_test=options.test,
        num_attacked=options.attacked,
        epochs=options.epochs,
        seeds=options.seeds,
        workers=options.workers,
        radii=radii,
        dev={f"{name} {radius:g}".removesuffix(" 0"): values for (name, radius), values in dev.items()},
        test={name: [{k: found[s][name][k] for k in facts} for s in seeds] for name in sides},
    )


def tried_on_dev(options) -> dict[tuple[str, float], dict[str, float]]:
    """Return the dev accuracy, clean and under attack, of each side and radius, averaged over seeds."""
    tried = [(PLAIN, 0.0)] + [
        (n, r) for n, grid in RADII.items() for r in grid[: 1 if options.quick else None]
    ]
    seeds = range(CHOICE_SEED, CHOICE_SEED + options.choices)
    calls = [(options, *side, seed, "dev") for side in tried for seed in seeds]
    outcomes = iter(side_by_side(fitted, calls, options.workers))
    found = {}
    for side in tried:
        own = [next(outcomes) for _ in seeds]
        values = {
            "clean": [one["clean"].value for one in own],
            "attacked": [np.mean(one["known"]) for one in own],
        }
        found[side] = {name: float(np.mean(each)) for name, each in values.items()}
        print(*side, found[side], flush=True)
    return found


def fitted(options, name: str, radius: float, seed: int, split: str) -> dict:
    """Train one side with a seed, and attack it."""
    passes = options.epochs * (2 if name == TWICE else 1)
    limit = json.dumps({"train": options.train, "dev": options.dev, "test": options.test})
    fit = (
        side(limit, passes, options.threads, None if radius == 0 else wrapper(name, radius))
        .start(seed)
        .train()
    )
    found = outcome(fit, split, options) | {"seconds": fit.seconds}
    print(f"seed {seed}, {name} {radius:g}, {split}: clean {found['clean'].value:.4f}, "
          f"attacked {np.mean(found['known']):.4f}", flush=True)  # fmt: skip
    return found


@cache
def side(limit: str, passes: int, threads: int, wrapper: str | None) -> Side:
    overrides = [
        "tasks={stream: vader-movies, task: sentiment}",
        "streams.vader-movies.tasks.sentiment.primary_metric=accuracy",
        f"limit={limit}",
        f"schedule={{tokens_per_batch: 512, epochs: {passes}}}",
        "evaluation={}",
        "transfer=[]",
        f"engine.threads={threads}",
    ]
    if wrapper is not None:
        overrides.append(f"streams.vader-movies.tasks.sentiment.objective.wrapper={wrapper}")
    return Side(TASK_SPECS / "quickstart.yaml", overrides)


def wrapper(name: str, radius: float) -> str:
    """Return a wrapper; FreeLB's two steps can reach the radius."""
    options = {"epsilon": radius} | ({"step_size": radius / 2, "steps": 3} if name == "freelb" else {})
    return json.dumps({"name": name, "options": options})


def outcome(fit: Fit, split: str, options) -> dict:
    """Attack the first texts of a split; say of each whether it was known before, and still is."""
    ((task, model),) = fit.model.tasks.items()
    (feed,) = fit.training.feeds.values()
    examples = feed.splits[split]
    number = min(len(examples), getattr(options, SPLITS[split]))
    texts = examples.values(task, "text")[:number]
    gold = [model.labels.index(label) for label in examples.values(task, "label")[:number]]
    ask, words, unknown = victim(fit), synonyms(), fit.training.corpus.tokenizer.unk_token
    before = ask(texts).argmax(axis=-1) == np.array(gold)
    after: list[Attacked | None] = [
        attack(text, label, ask, words, unknown, BUDGET) if knows else None
        for text, label, knows in zip(texts, gold, before, strict=True)
    ]
    tried = [one for one in after if one is not None]
    return {
        "clean": fit.score(split),
        "clean_attacked": float(before.mean()),
        "known": [one is not None and not one.fooled for one in after],
        "words_replaced": float(np.mean([one.replaced for one in tried])) if tried else 0.0,
        "queries": float(np.mean([one.queries for one in tried])) if tried else 0.0,
    }


def best_radius(tried: dict[float, dict[str, float]], plain: dict[str, float]) -> float:
    """Return the radius with the best accuracy under attack that costs little without; else the least one."""
    good = [r for r, found in tried.items() if found["clean"] >= plain["clean"] - CLEAN_LOSS]
    return max(good, key=lambda radius: tried[radius]["attacked"]) if good else min(tried)


def shares(known: list[bool]) -> Score:
    """Return a mean with its resamples; those of equally many texts are paired."""
    known_N = np.array(known, dtype=float)
    counts_RN = resample_counts(len(known_N), NUM_RESAMPLES, 0)
    return Score(float(known_N.mean()), tuple(counts_RN @ known_N / len(known_N)), len(known_N))


def findings(clean, known) -> list[Finding]:
    before = {name: sample(found) for name, found in clean.items()}
    under = {name: sample(found) for name, found in known.items()}
    result = []
    for name in ("fgm", "freelb"):
        title = {"fgm": "FGM", "freelb": "FreeLB"}[name]
        what = f"{title} - plain"
        result += [
            difference(f"accuracy under attack, {what}", under[name], under[PLAIN], at_least=0.0),
            difference(f"clean accuracy, {what}", before[name], before[PLAIN], at_least=-0.5),
            difference(
                f"accuracy under attack, {what} with twice the passes",
                under[name],
                under[TWICE],
            ),
        ]
    what = "accuracy under attack, plain with twice the passes - plain"
    result.append(difference(what, under[TWICE], under[PLAIN]))
    result += [points(f"clean accuracy, {name}", found) for name, found in before.items()]
    return result + [points(f"accuracy under attack, {name}", found) for name, found in under.items()]


if __name__ == "__main__":
    main()
