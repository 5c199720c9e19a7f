"""Adversarial training against word substitution: sentiment of film reviews, PWWS with WordNet's synonyms.

Four sides are trained on the same examples: as usual, as usual for twice as many passes (FGM's number of
encoder calls), FGM and FreeLB. Radii are chosen on dev, with a seed that is not reported: the best accuracy
under attack of those whose clean accuracy is at most a point below the usual training's. Each victim is
attacked by its own probabilities, with one budget. A text counts as known under attack if the victim knows it
and the attack does not find a substitution within the budget that changes that.

    python benchmarks/robustness.py [--quick] [--seeds 2] [--train 400] [--attacked 80] [--attacked_dev 40]

It runs on a GPU where there is one.
"""

from __future__ import annotations

import json

import numpy as np
from attack import Attacked, Budget, attack, victim
from learning import CHOICE_SEED, Fit, Score, Side, difference, points, sample
from measuring import TASK_SPECS, Finding, arguments, save
from synonyms import synonyms

from sslm_platform.statistics import NUM_RESAMPLES, resample_counts

RADII = {"fgm": (0.3, 1.0, 3.0), "freelb": (0.3, 1.0, 3.0)}
CLEAN_LOSS = 0.01  # how much clean dev accuracy a radius may cost
BUDGET = Budget()
SPLITS = {"dev": "attacked_dev", "test": "attacked"}


def main() -> None:
    options = arguments(
        __doc__, seeds=(2, 1), train=(400, 16), dev=(300, 16), test=(1000, 16), epochs=(2, 1),
        attacked=(80, 3), attacked_dev=(40, 3),
    )  # fmt: skip
    words = synonyms()
    plain = side(options, None)
    sides = {"plain": plain, "plain, twice the passes": side(options, None, passes=2)}
    radii, dev = {}, {"plain": outcome(plain.start(CHOICE_SEED).train(), "dev", options, words)}
    for name, grid in RADII.items():
        tried = {}
        for radius in grid[:1] if options.quick else grid:
            one = side(options, wrapper(name, radius))
            tried[radius] = one, outcome(one.start(CHOICE_SEED).train(), "dev", options, words)
            dev[f"{name} {radius:g}"] = tried[radius][1]
            print(f"{name} {radius:g}: dev {means(tried[radius][1])}", flush=True)
        radii[name] = best_radius({r: means(found) for r, (_, found) in tried.items()}, means(dev["plain"]))
        sides[name] = tried[radii[name]][0]
    clean: dict[str, dict[int, Score]] = {name: {} for name in sides}
    known: dict[str, dict[int, Score]] = {name: {} for name in sides}
    facts: dict[str, list] = {name: [] for name in sides}
    for seed in range(1, options.seeds + 1):
        for name, one in sides.items():
            fit = one.start(seed).train()
            clean[name][seed] = fit.score("test")
            found = outcome(fit, "test", options, words)
            known[name][seed] = shares(found["known"])
            facts[name].append({k: v for k, v in found.items() if k != "known"} | {"seconds": fit.seconds})
            print(f"seed {seed}, {name}: clean {clean[name][seed].value:.4f}, "
                  f"attacked {known[name][seed].value:.4f}", flush=True)  # fmt: skip
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
            seeds=seed,
            radii=radii,
            dev={name: means(found) for name, found in dev.items()},
            test=facts,
        )


def side(options, wrapper: dict | None, passes: int = 1) -> Side:
    overrides = [
        "tasks={stream: vader-movies, task: sentiment}",
        "streams.vader-movies.tasks.sentiment.primary_metric=accuracy",
        f"limit={{train: {options.train}, dev: {options.dev}, test: {options.test}}}",
        f"schedule={{tokens_per_batch: 512, epochs: {options.epochs * passes}}}",
        "evaluation={}",
        "transfer=[]",
        f"engine.threads={options.threads}",
    ]
    if wrapper is not None:
        overrides.append(f"streams.vader-movies.tasks.sentiment.objective.wrapper={json.dumps(wrapper)}")
    return Side(TASK_SPECS / "quickstart.yaml", overrides)


def wrapper(name: str, radius: float) -> dict:
    """Return a wrapper; FreeLB's two steps can reach the radius."""
    options = {"epsilon": radius} | ({"step_size": radius / 2, "steps": 3} if name == "freelb" else {})
    return {"name": name, "options": options}


def outcome(fit: Fit, split: str, options, words) -> dict:
    """Attack the first texts of a split; say of each whether it was known before, and still is."""
    ((task, model),) = fit.model.tasks.items()
    (feed,) = fit.training.feeds.values()
    examples = feed.splits[split]
    number = min(len(examples), getattr(options, SPLITS[split]))
    texts = examples.values(task, "text")[:number]
    gold = [model.labels.index(label) for label in examples.values(task, "label")[:number]]
    ask, unknown = victim(fit), fit.training.corpus.tokenizer.unk_token
    before = ask(texts).argmax(axis=-1) == np.array(gold)
    after: list[Attacked | None] = [
        attack(text, label, ask, words, unknown, BUDGET) if knows else None
        for text, label, knows in zip(texts, gold, before, strict=True)
    ]
    tried = [one for one in after if one is not None]
    return {
        "clean": float(before.mean()),
        "known": [one is not None and not one.fooled for one in after],
        "words_replaced": float(np.mean([one.replaced for one in tried])) if tried else 0.0,
        "queries": float(np.mean([one.queries for one in tried])) if tried else 0.0,
        "all_clean": fit.score(split).value,
    }


def means(found: dict) -> dict[str, float]:
    return {"clean": found["all_clean"], "attacked": float(np.mean(found["known"]))}


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
            difference(f"accuracy under attack, {what}", under[name], under["plain"], at_least=0.0),
            difference(f"clean accuracy, {what}", before[name], before["plain"], at_least=-0.5),
            difference(
                f"accuracy under attack, {what} with twice the passes",
                under[name],
                under["plain, twice the passes"],
            ),
        ]
    result += [points(f"clean accuracy, {name}", found) for name, found in before.items()]
    return result + [points(f"accuracy under attack, {name}", found) for name, found in under.items()]


if __name__ == "__main__":
    main()
