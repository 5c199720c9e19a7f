"""What the platform costs: joint training steps against a bare PyTorch loop on the same batches.

The bare loop gets its batches as ready tensors and does nothing but forward, backward, clip and step, with
the same modules, fused AdamW and schedule. Both sides take turns, pair by pair, in one process.

    python benchmarks/overhead.py [--pairs 12] [--steps 4] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sslm_platform.engine.factory import make_engine
from sslm_platform.engine.optimizer import make_adamw, rate_factor, set_rate
from sslm_platform.evaluate import make_batch
from sslm_platform.model.multitask import task_outputs
from sslm_platform.runs import open_run
from sslm_platform.schedule.plan import loss_factors
from sslm_platform.train.loop import plan_training, train_step
from sslm_platform.train.model import build_model

SPEC = Path(__file__).parent.parent / "task_specs" / "quickstart.yaml"
RESULT = Path(__file__).parent / "results" / "overhead.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    platform_side, bare_side = build_sides(options.pairs * options.steps + options.steps, options.threads)
    platform_side(options.steps), bare_side(options.steps)  # warm-up
    ratios, times = [], []
    for pair in range(options.pairs):
        order = (platform_side, bare_side) if pair % 2 else (bare_side, platform_side)
        spent = {side: side(options.steps) for side in order}
        times.append((spent[platform_side], spent[bare_side]))
        ratios.append(spent[platform_side] / spent[bare_side])
        print(f"pair {pair + 1}: platform {times[-1][0]:.2f} s, bare {times[-1][1]:.2f} s, {ratios[-1]:.3f}")
    draws = np.random.default_rng(0).choice(ratios, size=(10_000, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    result = {
        "what": "time of joint training steps / time of a bare PyTorch loop on the same batches",
        "median_ratio": float(np.median(ratios)),
        "interval_95": [float(low), float(high)],
        "pairs": options.pairs,
        "steps_per_side": options.steps,
        "ratios": ratios,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"median ratio {result['median_ratio']:.3f} (95 % interval {low:.3f} to {high:.3f}); {RESULT}")


def build_sides(num_steps: int, threads: int):
    overrides = [f"schedule.max_steps={num_steps}", f"engine.threads={threads}"]
    run = open_run(SPEC, overrides=overrides)
    spec, corpus = run.resolved.spec, run.corpus
    tasks = list(run.resolved.tasks.values())
    sides = []
    for build in (platform_steps, bare_steps):
        model = build_model(corpus, tasks, spec.seed)
        sides.append(build(spec, corpus, model))
    return sides


def platform_steps(spec, corpus, model):
    engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads, corpus.run.gradients_of)
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "benchmark")
    state = {"step": 0, "progress": training.start()}
    engine.encoder.train()

    def run(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            progress = state["progress"]
            plan = training.planner.plan(state["step"], progress.positions, progress.sampler)
            train_step(training, engine, plan, progress)
            progress.advance(plan)
            state["step"] += 1
        return time.perf_counter() - began

    return run


def bare_steps(spec, corpus, model):
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "benchmark")
    steps = list(ready_batches(training, corpus))
    optimizers = {
        name: make_adamw(head, spec.optimizer, spec.optimizer.lr) for name, head in model.heads.items()
    }
    encoder_optimizer = make_adamw(model.encoder, spec.optimizer, spec.optimizer.lr)
    model.encoder.train()
    state = {"step": 0}

    def run(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            active = set()
            for inputs, targets, heads, factors, models in steps[state["step"]]:
                outputs = task_outputs(model.encoder, heads, inputs, targets)
                loss = sum(
                    models[t].objective.losses(outputs[t], targets[t], len(inputs["mask_BL"])).sum()
                    * factors[t]
                    for t in outputs
                )
                loss.backward()
                active |= {models[t].task.head_key for t in outputs}
            rate = rate_factor(state["step"], training.num_steps, spec.optimizer)
            parts = [(model.encoder, encoder_optimizer)] + [(model.heads[n], optimizers[n]) for n in active]
            for module, optimizer in parts:
                nn.utils.clip_grad_norm_(module.parameters(), spec.optimizer.clip)
                set_rate(optimizer, spec.optimizer.lr * rate)
                optimizer.step()
                optimizer.zero_grad()
            state["step"] += 1
        return time.perf_counter() - began

    return run


def ready_batches(training, corpus):
    """The very batches that the platform's side will make, as tensors."""
    positions = training.planner.start()
    for step in range(training.num_steps):
        plan = training.planner.plan(step, positions)
        positions = plan.positions
        made, totals = [], {}
        for slot in plan.slots:
            models = {t: training.model.tasks[t] for t in training.tasks_of(slot.feed)}
            split = training.feeds[slot.feed].splits["train"]
            batch = make_batch(split, slot.rows, models, corpus.vocabulary.pad_id, training.seed, slot.epoch)
            for task, part in batch.tasks.items():
                totals[task] = totals.get(task, 0.0) + float(part.weight_B.sum())
            made.append((batch, models))
        factors = loss_factors(
            plan, {f: training.tasks_of(f) for f in plan.counts}, dict.fromkeys(totals, 1.0), totals
        )
        yield [
            (
                b.inputs,
                {t: p.targets for t, p in b.tasks.items()},
                {t: m.head for t, m in ms.items()},
                factors,
                ms,
            )
            for b, ms in made
        ]


if __name__ == "__main__":
    main()
