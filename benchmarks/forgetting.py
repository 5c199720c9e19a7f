"""Forgetting in three stages, and what EWC and replay leave of it: film reviews, addresses, names of persons.

Sentiment, then the parts of addresses, then the parts of names, each stage with the same number of steps, one
after the other: as they come, with elastic weight consolidation, and with replay. All sides have the learning
rate that is best for the first, of a grid; strength and share are chosen from grids of the same size. Choices
are made on dev, by the mean score of all three tasks at the end, with a seed that is not reported.

R_kj is the test score of stage j's task after stage k. Forgetting is the mean over earlier stages j of
max_{l<3} R_lj - R_3j (Chaudhry et al. 2018); backward transfer, the mean of R_3j - R_jj (Lopez-Paz & Ranzato
2017), is not biased by the maximum.

    python benchmarks/forgetting.py [--quick] [--seeds 3] [--train 400] [--steps 40] [--test 200]

It runs on a GPU where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from learning import CHOICE_SEED, Score, Side, choose, difference, points, sample
from measuring import TASK_SPECS, Finding, arguments, save

from sslm_platform.statistics import Sample, combine, mean_of

STAGES = {
    "vader-movies": "sentiment@movies",
    "addresses": "tagging@addresses",
    "persons": "tagging@persons",
}
RATES = (2e-4, 5e-4, 1e-3)
STRENGTHS = (1e3, 1e4, 1e5)
SHARES = (0.05, 0.1, 0.2)
TOKENS = 256  # of a batch

Course = dict[int, dict[str, Score]]
"""Stage, from 1, to each task's score after it."""


def main() -> None:
    options = arguments(
        __doc__, seeds=(3, 1), train=(400, 24), dev=(100, 16), test=(200, 16), steps=(40, 2),
        examples=(100, 4),
    )  # fmt: skip
    dev: dict[str, Mapping[str, float]] = {}
    plain = side(options)
    rate, dev["rate"] = choose("plain, rate", part(RATES, options), lambda one: at_the_end(plain, lr=one))

    def held(strength: float) -> dict[str, object]:
        return {"lr": rate, "consolidate": {"strength": strength, "examples": options.examples}}

    strength, dev["strength"] = choose(
        "EWC, strength",
        part(STRENGTHS, options),
        lambda one: at_the_end(plain, **held(one)),
    )
    replayed = {share: side(options, share) for share in part(SHARES, options)}
    share, dev["share"] = choose(
        "replay, share", list(replayed), lambda one: at_the_end(replayed[one], lr=rate)
    )
    sides = {
        "plain": (plain, {"lr": rate}),
        "EWC": (plain, held(strength)),
        "replay": (replayed[share], {"lr": rate}),
    }
    courses: dict[str, dict[int, Course]] = {name: {} for name in sides}
    for seed in range(1, options.seeds + 1):
        for name, (one, optimizer) in sides.items():
            courses[name][seed] = course(one, seed, **optimizer)
            print(f"seed {seed}, {name}: {shown(courses[name][seed])}", flush=True)
        save(
            options,
            "forgetting",
            "Forgetting in three stages",
            findings(courses),
            stages=list(STAGES.values()),
            num_train=options.train,
            num_test={task: courses["plain"][1][1][task].num_examples for task in STAGES.values()},
            steps_per_stage=options.steps,
            tokens_per_batch=TOKENS,
            seeds=seed,
            chosen={"rate": rate, "strength": strength, "share": share},
            dev=dev,
            test={name: {s: shown(one) for s, one in found.items()} for name, found in courses.items()},
        )


def part(grid, options):
    return grid[:1] if options.quick else grid


def side(options, replay: float = 0.0) -> Side:
    stages = ", ".join(f"{{feeds: [{stream}]}}" for stream in STAGES)
    return Side(
        TASK_SPECS / "quickstart.yaml",
        [
            f"tasks={{stream: [{', '.join(STAGES)}], task: [sentiment, tagging]}}",
            "streams.vader-movies.tasks.sentiment.primary_metric=accuracy",
            f"limit={{train: {options.train}, dev: {options.dev}, test: {options.test}}}",
            f"schedule={{sampler: {{name: sequential, options: {{stages: [{stages}], replay: {replay}}}}},"
            f" tokens_per_batch: {TOKENS}, max_steps: {len(STAGES) * options.steps}}}",
            "optimizer={warmup: 0.05, decay: constant, head_lr: 1.0e-3}",
            "evaluation={}",
            "transfer=[]",
            f"engine.threads={options.threads}",
        ],
    )


def course(one: Side, seed: int, **optimizer: object) -> Course:
    """Train; score all tasks on test at the end of each stage."""
    fit = one.start(seed, **optimizer)
    ends = {end: number for number, (end, _) in enumerate(fit.training.planner.stages(), start=1)}
    return {ends[step]: fit.scores("test") for step in fit.steps() if step in ends}


def at_the_end(one: Side, **optimizer: object) -> float:
    """Return the mean dev score of all tasks after the last stage."""
    fit = one.start(CHOICE_SEED, **optimizer).train()
    return float(np.mean([score.value for score in fit.scores("dev").values()]))


def shown(found: Course) -> dict[str, list[float]]:
    """Return each task's scores after each stage."""
    return {task: [round(found[k][task].value, 4) for k in sorted(found)] for task in STAGES.values()}


def figures(courses: Mapping[int, Course]) -> dict[str, Sample]:
    """Return forgetting, backward transfer, what was learned and what is left, each a sample over seeds."""
    last = len(STAGES)
    samples = {
        (k, task): sample({seed: found[k][task] for seed, found in courses.items()})
        for k in range(1, last + 1)
        for task in STAGES.values()
    }
    earlier = list(enumerate(STAGES.values(), start=1))[:-1]
    lost = [
        combine(
            lambda *scores: np.max(scores[:-1], axis=0) - scores[-1],
            *(samples[k, task] for k in range(1, last + 1)),
        )
        for _, task in earlier
    ]
    back = [combine(lambda a, b: a - b, samples[last, task], samples[k, task]) for k, task in earlier]
    return {
        "forgetting": mean_of(lost),
        "backward transfer": mean_of(back),
        "mean score of each task after its own stage": mean_of(
            [samples[k, task] for k, task in enumerate(STAGES.values(), start=1)]
        ),
        "mean score of the tasks at the end": mean_of([samples[last, task] for task in STAGES.values()]),
    }


def findings(courses: Mapping[str, Mapping[int, Course]]) -> list[Finding]:
    found = {name: figures(one) for name, one in courses.items()}
    plain, result = found["plain"], []
    for name in ("EWC", "replay"):
        more = combine(lambda a, b: a - b / 2, found[name]["forgetting"], plain["forgetting"])
        result.append(points(f"forgetting with {name} - half of that without", more, at_most=0.0))
    for name in ("EWC", "replay"):
        what = "mean score of the tasks at the end"
        result.append(difference(f"{what}, {name} - plain", found[name][what], plain[what]))
    for what in plain:
        result += [points(f"{what}, {name}", one[what]) for name, one in found.items()]
    return result


if __name__ == "__main__":
    main()
