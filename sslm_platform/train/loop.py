"""The training loop: plan, fetch, weigh, encode, back-propagate, step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from sslm_platform.corpus import Corpus
from sslm_platform.data.augment import Augmentation
from sslm_platform.data.batching import plan_batches
from sslm_platform.data.feeds import Feed
from sslm_platform.engine.base import Engine
from sslm_platform.engine.course import phase_of
from sslm_platform.engine.optimizer import rate_factor
from sslm_platform.engine.task_gradients import TaskGradients
from sslm_platform.evaluate import Batch, make_batch, outputs_of, rewritten
from sslm_platform.schedule.plan import (
    Planner,
    Slot,
    StepPlan,
    loss_factors,
    rank_rows,
    steps_of_epochs,
    task_shares,
)
from sslm_platform.schedule.progress import Progress
from sslm_platform.scheduling import Observation
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import ScheduleSpec
from sslm_platform.steps import StepRecord
from sslm_platform.train.affinity import look_ahead
from sslm_platform.train.augmenting import adapts, at_present
from sslm_platform.train.balancing import Balancing
from sslm_platform.train.consolidate import end_stage, stage_ends
from sslm_platform.train.distillation import Distillation
from sslm_platform.train.fetch import Fetcher, plans_ahead
from sslm_platform.train.model import Model
from sslm_platform.train.passes import SlotPasses, num_backwards, passes_of
from sslm_platform.train.requests import Requests
from sslm_platform.train.skipping import not_finite


@dataclass(frozen=True, slots=True)
class Training:
    """What a training needs beside the engine."""

    corpus: Corpus
    model: Model
    feeds: Mapping[str, Feed]
    planner: Planner
    optimizer: OptimizerSpec
    balancing: Balancing
    seed: int
    phase: str
    augmentations: Mapping[str, Augmentation] = field(default_factory=dict)  # of feeds that have one
    distillation: Distillation | None = None

    def start(self) -> Progress:
        """Return where the schedule stands before the first step."""
        return Progress(self.planner.start())

    @property
    def log_affinity_every(self) -> int | None:
        """Steps between measurements of the tasks' affinities."""
        return self.corpus.run.spec.balancer.log_affinity_every

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.planner.num_steps

    def tasks_in(self, slot: Slot) -> tuple[str, ...]:
        """Return the tasks that a slot's examples are of."""
        return self.feeds[slot.feed].splits["train"].tasks_of(slot.rows)


def plan_training(
    corpus: Corpus,
    model: Model,
    schedule: ScheduleSpec,
    optimizer: OptimizerSpec,
    seed: int,
    phase: str,
    *,
    max_steps: int | None = None,
    epochs: float | None = None,
    feeds: Mapping[str, Feed] | None = None,
) -> Training:
    """Plan the joint training of a model's tasks; ``max_steps`` or ``epochs`` replace the schedule's.

    ``feeds`` replaces the corpus's, to train on some of the examples.
    """
    if feeds is None:
        feeds = corpus.feeds([m.task for m in model.tasks.values()], seed)
    planner = make_planner(corpus, feeds, schedule, seed, max_steps, epochs)
    every = corpus.run.spec.balancer.log_gradients_every
    balancing = Balancing(corpus.run.balancer, sorted(model.tasks), seed, planner.num_steps, every)
    augmentations = corpus.augmentations(feeds)
    kept = Distillation(optimizer.distill, model) if optimizer.distill is not None else None
    return Training(corpus, model, feeds, planner, optimizer, balancing, seed, phase, augmentations, kept)


def make_planner(
    corpus: Corpus,
    feeds: Mapping[str, Feed],
    schedule: ScheduleSpec,
    seed: int,
    max_steps: int | None = None,
    epochs: float | None = None,
) -> Planner:
    """Return what plans the steps of a training; ``max_steps`` or ``epochs`` replace the schedule's."""
    names = list(feeds)

    @lru_cache(maxsize=2 * len(names))
    def batches(feed: str, epoch: int) -> Sequence[np.ndarray]:
        key = (seed, names.index(feed), epoch)
        train = feeds[feed].splits["train"]
        return plan_batches(train.longest_N, schedule.tokens_per_batch, key, train.group_N, train.number_N)

    if max_steps is None and epochs is None:
        max_steps, epochs = schedule.max_steps, schedule.epochs
    if epochs is not None:
        passes = [len(batches(name, 0)) for name in names]
        max_steps = steps_of_epochs(epochs, passes, schedule.slots_per_step)
    assert max_steps is not None
    return Planner(
        corpus.run.sampler.build(),
        {name: len(feed.splits["train"]) for name, feed in feeds.items()},
        batches,
        seed=seed,
        slots_per_step=schedule.slots_per_step,
        num_steps=max_steps,
        tasks={name: feed.tasks for name, feed in feeds.items()},
    )


def train_steps(
    training: Training,
    engine: Engine,
    progress: Progress,
    start: int = 0,
    requests: Requests | None = None,
) -> Iterator[StepRecord]:
    """Run the steps from ``start``; ``progress`` stands after each step when its record is yielded.

    ``requests`` are agreed on by then.
    """
    planner = training.planner
    ends = stage_ends(planner)
    engine.encoder.train()
    for head in training.model.heads.values():
        head.train()
    ahead = None if adapts(training) else plans_ahead(planner, engine.device)
    with Fetcher(partial(_rank_batch, training, engine, progress), ahead, engine.device) as fetch:
        for step in range(start, planner.num_steps):
            plan = planner.plan(step, progress.positions, progress.sampler)
            record = train_step(training, engine, plan, progress, fetch, requests)
            progress.advance(plan)
            if not record.skipped_for:
                seen = Observation(slots=record.slots, losses=record.losses)
                progress.sampler = planner.observe(step, progress.sampler, seen)
            if training.optimizer.consolidate and step + 1 in ends:
                end_stage(training, engine, ends[step + 1], training.optimizer.consolidate.examples)
            if training.distillation is not None and step + 1 in ends:
                training.distillation.take(t for feed in ends[step + 1] for t in training.feeds[feed].tasks)
            yield record


def train_step(
    training: Training,
    engine: Engine,
    plan: StepPlan,
    progress: Progress,
    fetch: Callable[[StepPlan], list[RankBatch]] | None = None,
    requests: Requests | None = None,
) -> StepRecord:
    """Run one optimizer step; equal on all ranks but for the examples of each slot.

    Of ``progress`` it reads and writes the balancer's memory and the counts of skipped steps.
    """
    began = time.perf_counter()
    fetch = fetch or Fetcher(partial(_rank_batch, training, engine, progress))
    batches = fetch(plan)
    totals = _sum_over_ranks(engine, _weights(batches))
    balancing = training.balancing

    def losses_only() -> dict[str, float]:
        with torch.no_grad():
            return _means(_run_slots(training, engine, plan.step, batches, None), totals, engine)

    shares = task_shares([training.tasks_in(slot) for slot in plan.slots])
    state = balancing.state(plan.step, shares, progress.balancer)
    if balancing.needs_losses:
        state = replace(state, losses=losses_only())
    weights = balancing.weights(state)
    factors = loss_factors(shares, weights, totals)
    looks_ahead = len(shares) > 1 and _is_due(training.log_affinity_every, plan.step)
    is_apart = balancing.gradients or balancing.measures(plan.step) or looks_ahead
    apart = engine.task_gradients if is_apart else None
    rate = rate_factor(plan.step, training.num_steps, training.optimizer)
    if apart is not None:
        apart.start()
    engine.start_step(
        sum(num_backwards(training, batch) for batch, _ in batches),
        phase_of(plan.step, training.num_steps, training.optimizer),
    )
    num_examples = sum(len(slot.rows) for slot in plan.slots)
    backward = _backward(engine, factors, apart, num_examples)
    losses_of = _run_slots(training, engine, plan.step, batches, backward)
    settled, affinities = None, {}
    if apart is not None:
        seen = replace(state, losses=_means(losses_of, totals, engine))
        if looks_ahead:
            scales = {task: share * weights[task] for task, share in shares.items()}
            size = rate * training.optimizer.lr
            affinities = look_ahead(apart, scales, seen.losses, losses_only, size)
        settled = balancing.settle(seen, apart, weights)
        state = replace(state, memory=settled.memory)
    heads = {training.model.tasks[task].task.head_key for task in factors}
    norms = engine.step(heads, rate)
    # read once the step is under way: a read waits for the device
    losses = _means(losses_of, totals, engine, requests)
    blamed = not_finite(losses, norms)
    progress.judge(skipped=bool(blamed))
    if not blamed:
        after = losses_only() if balancing.needs_losses_after else {}
        progress.balancer = balancing.observe(replace(state, losses=losses, losses_after=after))
    drawn = [(training.feeds[slot.feed].splits["train"], slot.rows) for slot in plan.slots]
    return StepRecord(
        step=plan.step + 1,
        num_steps=training.num_steps,
        phase=training.phase,
        learning_rate=rate * training.optimizer.lr,
        loss=sum(shares[task] * weights[task] * loss for task, loss in losses.items()),
        losses=losses,
        weights=dict(settled.weights if settled else weights),
        gradient_norms=norms,
        slots=plan.counts,
        probabilities=dict(plan.probabilities),
        num_tokens=sum(int(split.lengths_N[rows].sum()) for split, rows in drawn),
        num_padded_tokens=sum(split.padded_tokens(rows) for split, rows in drawn),
        seconds=time.perf_counter() - began,
        gradients=settled.statistics if settled else None,
        skipped_for=blamed,
        num_skipped=progress.skipped,
        affinities=affinities,
    )


def _is_due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0


Backward = Callable[..., None]


def _backward(
    engine: Engine, factors: Mapping[str, float], apart: TaskGradients | None, num_examples: int
) -> Backward:
    """Return what accumulates the gradients of a slot's summed losses, and of what is distilled there."""

    def backward(losses: Mapping[str, Tensor], distilled: Tensor | None = None) -> None:
        parts = {task: loss * factors[task] for task, loss in losses.items()}
        if apart is None:
            start = torch.zeros(()) if distilled is None else distilled / num_examples
            engine.backward(sum(parts.values(), start=start))
        else:
            apart.backward(parts)

    return backward


def _run_slots(
    training: Training,
    engine: Engine,
    step: int,
    batches: Sequence[RankBatch],
    backward: Backward | None,
) -> dict[str, Tensor]:
    """Run each slot forward and perhaps backward; return this rank's summed loss of each task."""
    sums: dict[str, Tensor] = {}
    for index, (given, empty) in enumerate(batches):
        # keyed by step and slot: a resumed run, and a look ahead, drop out the same units
        torch.manual_seed(_mix(training.seed, step, engine.rank, index))
        batch = rewritten(given, {task: training.model.tasks[task] for task in given.tasks})
        share = 0.0 if empty else 1.0
        passes = passes_of(training, engine, batch) if backward is not None else None
        if backward is not None and passes is not None:
            losses = _run_wrapped(training, batch, passes, backward, share)
        else:
            outputs, distilled = _outputs(training, engine, batch, backward is not None)
            losses = _scaled(_slot_losses(training, batch, outputs), share)
            if backward is not None:
                backward(losses, None if distilled is None else _spoiling(distilled * share))
        for task, value in losses.items():
            sums[task] = sums.get(task, 0.0) + value.detach()
    return sums


def _run_wrapped(
    training: Training, batch: Batch, passes: SlotPasses, backward: Backward, share: float
) -> dict[str, Tensor]:
    """Back-propagate what a wrapper makes of a slot, part by part; return the loss of its first pass."""
    (task,) = batch.tasks
    wrapper = training.model.tasks[task].wrapper
    assert wrapper is not None
    for part_B in wrapper.losses(passes):
        backward(_scaled({task: part_B.sum()}, share))
    return {task: passes.first.sum() * share}


def _scaled(losses: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    return {task: _spoiling(loss * share) for task, loss in losses.items()}


def _spoiling(loss: Tensor) -> Tensor:
    """Return the loss; if it is not finite, its gradient is not either, so that the step is skipped."""
    return loss * (1.0 + 0.0 * loss.detach())


def _means(
    sums: Mapping[str, Tensor],
    totals: Mapping[str, float],
    engine: Engine,
    requests: Requests | None = None,
) -> dict[str, float]:
    """Return each task's mean loss over all ranks, of tasks with something to mean."""
    local = {task: float(value) for task, value in sums.items()}
    asked = requests.asked() if requests is not None else {}
    summed = _sum_over_ranks(engine, local | asked)
    if requests is not None:
        requests.granted = {name: summed[name] for name in asked}
    return {task: summed[task] / totals[task] for task in sorted(local) if totals[task] > 0}


RankBatch = tuple[Batch, bool]
"""A rank's part of a slot, and whether it is a dummy (the slot has fewer examples than ranks)."""


def _rank_batch(training: Training, engine: Engine, progress: Progress, slot: Slot) -> RankBatch:
    rows = rank_rows(slot.rows, engine.rank, engine.world_size)
    models = {task: training.model.tasks[task] for task in training.tasks_in(slot)}
    batch = make_batch(
        training.feeds[slot.feed].splits["train"],
        rows if len(rows) else slot.rows[:1],
        models,
        training.corpus.vocabulary.pad_id,
        training.seed,
        slot.epoch,
        engine.device,
        at_present(training.augmentations.get(slot.feed), progress.augmenting, slot.feed),
    )
    return batch, not len(rows)


def _weights(batches: Sequence[RankBatch]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for batch, empty in batches:
        for task, part in batch.tasks.items():
            totals[task] = totals.get(task, 0.0) + (0.0 if empty else float(part.weight_B.sum()))
    return totals


def _outputs(
    training: Training, engine: Engine, batch: Batch, trains: bool
) -> tuple[Mapping[str, Tensor], Tensor | None]:
    """Return each task's outputs and, after a first stage, what earlier heads' answers have changed by."""
    models = {task: training.model.tasks[task] for task in batch.tasks}
    if trains and training.distillation is not None:
        return training.distillation.outputs(engine.encoder, models, batch)
    return outputs_of(engine.encoder, models)(batch), None


def _slot_losses(training: Training, batch: Batch, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    objectives = {task: training.model.tasks[task].objective for task in batch.tasks}
    return {
        task: objectives[task].losses(outputs[task], part.targets, len(batch.rows)).sum()
        for task, part in batch.tasks.items()
    }


def _sum_over_ranks(engine: Engine, values: Mapping[str, float]) -> dict[str, float]:
    if engine.world_size == 1:
        return dict(values)
    tasks = sorted(values)
    local = torch.tensor([values[t] for t in tasks], dtype=torch.float64, device=engine.device)
    total = engine.all_reduce(local)
    return dict(zip(tasks, total.tolist(), strict=True))


def _mix(*key: int) -> int:
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
