"""LoRA against full fine-tuning: the sentiment of film reviews.

Both sides have the same examples, passes and head, and grids of the same size. Each side's learning rate is
chosen on dev, with seeds that are not reported. Differences of test accuracy are paired by seed and example.

    python benchmarks/adapting.py [--quick] [--seeds 3] [--train 800] [--epochs 2] [--dev 300] [--test 1000]

It runs on a GPU where there is one.
"""

from __future__ import annotations

import json

from learning import CHOICE_SEED, Score, Side, choose, difference, points, sample
from measuring import TASK_SPECS, Finding, arguments, save

RATES = {"full": (1e-4, 2e-4, 4e-4, 8e-4), "lora": (5e-4, 1e-3, 2e-3, 4e-3)}
LORA = {"name": "lora", "options": {"r": 8, "lora_alpha": 16, "target_modules": ["query", "value", "dense"]}}


def main() -> None:
    options = arguments(
        __doc__, seeds=(3, 1), train=(800, 16), dev=(300, 16), test=(1000, 16), epochs=(2, 1), choices=(1, 1)
    )
    sides = {name: side(options, name) for name in RATES}
    grids = {name: grid[:1] if options.quick else grid for name, grid in RATES.items()}
    rates, dev = {}, {}
    for name, grid in grids.items():
        rates[name], dev[name] = choose(
            f"{name}, rate", grid, lambda rate, name=name: dev_score(sides[name], rate, options.choices)
        )
    scores: dict[str, dict[int, Score]] = {name: {} for name in sides}
    trained, seconds = {}, {name: [] for name in sides}
    for seed in range(1, options.seeds + 1):
        for name, one in sides.items():
            fit = one.start(seed, lr=rates[name]).train()
            scores[name][seed] = fit.score("test")
            trained[name] = fit.num_trained()
            seconds[name].append(fit.seconds)
            print(f"seed {seed}, {name}: test {scores[name][seed].value:.4f}", flush=True)
        save(
            options,
            "adapting",
            "LoRA against full fine-tuning",
            findings(scores, trained, seconds),
            task="sentiment of film reviews (VADER), 2 labels, accuracy",
            num_train=options.train,
            num_test=scores["full"][1].num_examples,
            epochs=options.epochs,
            seeds=seed,
            rates=rates,
            dev=dev,
            num_trained=trained,
            test={name: {s: one.value for s, one in found.items()} for name, found in scores.items()},
        )


def side(options, name: str) -> Side:
    overrides = [
        "tasks={stream: vader-movies, task: sentiment}",
        "streams.vader-movies.tasks.sentiment.primary_metric=accuracy",
        f"limit={{train: {options.train}, dev: {options.dev}, test: {options.test}}}",
        f"schedule={{tokens_per_batch: 512, epochs: {options.epochs}}}",
        "evaluation={}",
        "transfer=[]",
        f"engine.threads={options.threads}",
    ]
    if name == "lora":
        overrides.append(f"encoder.adapter={json.dumps(LORA)}")
    return Side(TASK_SPECS / "quickstart.yaml", overrides)


def dev_score(one: Side, rate: float, num_seeds: int) -> float:
    seeds = range(CHOICE_SEED, CHOICE_SEED + num_seeds)
    return sum(one.start(seed, lr=rate).train().score("dev").value for seed in seeds) / num_seeds


def findings(scores, trained, seconds) -> list[Finding]:
    samples = {name: sample(found) for name, found in scores.items()}
    share = trained["lora"] / trained["full"]
    return [
        difference("test accuracy, LoRA - full fine-tuning", samples["lora"], samples["full"], at_least=-1.0),
        Finding("parameters that LoRA trains / those of full fine-tuning", 100 * share, "%", at_most=5.0),
        points("test accuracy, full fine-tuning", samples["full"]),
        points("test accuracy, LoRA", samples["lora"]),
        Finding("seconds of training, LoRA / full", sum(seconds["lora"]) / sum(seconds["full"]), "×"),
    ]


if __name__ == "__main__":
    main()
