"""What the platform costs: joint training steps against a bare PyTorch loop on the same batches.

The bare loop gets its batches as ready tensors and does nothing but forward, backward, clip and step, with
the same modules, fused AdamW and schedule. Both sides take turns, pair by pair, in one process.

    python benchmarks/overhead.py [--quick] [--pairs 12] [--steps 5] [--threads 2]
"""

from __future__ import annotations

from measuring import TASK_SPECS, alternate, arguments, device, median, now, ratios, save
from torch import nn

from sslm_platform.engine.factory import make_engine
from sslm_platform.engine.optimizer import make_adamw, rate_factor
from sslm_platform.evaluate import make_batch
from sslm_platform.model.multitask import task_outputs
from sslm_platform.runs import open_run
from sslm_platform.schedule.plan import loss_factors, task_shares
from sslm_platform.train.loop import plan_training, train_step
from sslm_platform.train.model import build_model


def main() -> None:
    options = arguments(__doc__, pairs=(12, 2), steps=(5, 1))
    sides = build_sides((options.pairs + 1) * options.steps, options.threads)
    for side in sides.values():  # warm-up
        side(options.steps)
    turns = {name: lambda side=side: side(options.steps) for name, side in sides.items()}
    found = alternate(turns, options.pairs)
    what = "time of joint training steps / time of a bare PyTorch loop on the same batches"
    ratio = median(what, ratios(found["platform"], found["bare"]), "×", at_most=1.02)
    save(options, "overhead", "Against a bare loop", [ratio], steps_per_turn=options.steps, seconds=found)


def build_sides(num_steps: int, threads: int):
    overrides = [f"schedule.max_steps={num_steps}", f"engine.threads={threads}"]
    run = open_run(TASK_SPECS / "quickstart.yaml", overrides=overrides)
    spec, corpus = run.resolved.spec, run.corpus
    tasks = list(run.resolved.tasks.values())
    builders = {"platform": platform_steps, "bare": bare_steps}
    return {
        name: build(spec, corpus, build_model(corpus, tasks, spec.seed)) for name, build in builders.items()
    }


def platform_steps(spec, corpus, model):
    engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads, corpus.run.gradients_of)
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "benchmark")
    state = {"step": 0, "progress": training.start()}
    engine.encoder.train()

    def run(steps: int) -> float:
        began = now()
        for _ in range(steps):
            progress = state["progress"]
            plan = training.planner.plan(state["step"], progress.positions, progress.sampler)
            train_step(training, engine, plan, progress)
            progress.advance(plan)
            state["step"] += 1
        return now() - began

    return run


def bare_steps(spec, corpus, model):
    for module in (model.encoder, *model.heads.values()):
        module.to(device())
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "benchmark")
    steps = list(ready_batches(training, corpus))
    optimizers = {
        name: make_adamw(head, spec.optimizer, spec.optimizer.lr) for name, head in model.heads.items()
    }
    encoder_optimizer = make_adamw(model.encoder, spec.optimizer, spec.optimizer.lr)
    model.encoder.train()
    state = {"step": 0}

    def run(count: int) -> float:
        began = now()
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
                for group in optimizer.param_groups:
                    group["lr"] = spec.optimizer.lr * rate
                optimizer.step()
                optimizer.zero_grad()
            state["step"] += 1
        return now() - began

    return run


def ready_batches(training, corpus):
    """The very batches that the platform's side will make, as tensors."""
    positions = training.planner.start()
    for step in range(training.num_steps):
        plan = training.planner.plan(step, positions)
        positions = plan.positions
        made, totals = [], {}
        for slot in plan.slots:
            models = {t: training.model.tasks[t] for t in training.tasks_in(slot)}
            split = training.feeds[slot.feed].splits["train"]
            pad_id, here = corpus.vocabulary.pad_id, device()
            batch = make_batch(split, slot.rows, models, pad_id, training.seed, slot.epoch, here)
            for task, part in batch.tasks.items():
                totals[task] = totals.get(task, 0.0) + float(part.weight_B.sum())
            made.append((batch, models))
        shares = task_shares([training.tasks_in(slot) for slot in plan.slots])
        factors = loss_factors(shares, dict.fromkeys(totals, 1.0), totals)
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
