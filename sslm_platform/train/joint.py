"""The joint training of a run: from its feeds to the best model and its test scores."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

from rich.console import Console
from torch import Tensor

from sslm_platform.corpus import Corpus
from sslm_platform.engine.base import Engine
from sslm_platform.engine.factory import make_engine
from sslm_platform.engine.rank import rank
from sslm_platform.errors import Interrupted, Problem, RunError
from sslm_platform.files import write_json
from sslm_platform.model.backbone import encoder_fingerprint
from sslm_platform.model.store import read_heads
from sslm_platform.plugins import host
from sslm_platform.report.records import TaskScore
from sslm_platform.schedule.progress import Progress
from sslm_platform.scheduling import Memory, Observation
from sslm_platform.scoring import score_details, score_intervals
from sslm_platform.signals import deferring
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.schema import LAST, MEAN_GAIN, EngineSpec
from sslm_platform.train.augmenting import after_scoring
from sslm_platform.train.checkpoint import (
    State,
    kept_before,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
)
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.job import digest, joint_content
from sslm_platform.train.kept import KeptModels
from sslm_platform.train.loop import Training, plan_training, train_steps
from sslm_platform.train.model import Model, build_model, load_trained, trained_weights
from sslm_platform.train.observers import MetricsFile, Notifier, TerminalProgress, observing
from sslm_platform.train.requests import Requests
from sslm_platform.train.resume import VERSION, check_same, kept_at_the_end, read_done
from sslm_platform.train.selection import Evaluator, Selection, dev_scores, selection_value
from sslm_platform.train.skipping import check_diverged, has_diverged

log = logging.getLogger(__name__)


def joint_id(corpus: Corpus, seed: int) -> str:
    """Return the content hash of a run's joint training with a seed."""
    return digest(joint_content(corpus, seed))


def is_done(folder: RunFolder, job: str) -> bool:
    """Whether the folder holds this training, finished."""
    done = read_done(folder)
    return done is not None and done["job"] == job


def train_joint(
    corpus: Corpus,
    folder: RunFolder,
    console: Console,
    seed: int,
    engine_spec: EngineSpec,
    *,
    fresh: bool = False,
) -> bool:
    """Train all tasks of a run jointly, or go on where a training was saved.

    Args:
        corpus: the run's data.
        folder: where the training is kept.
        console: where it says how it goes.
        seed: of the training.
        engine_spec: the section ``engine``.
        fresh: rank 0 has removed, or is removing, what the folder held.

    Returns:
        Whether there was anything left to train.

    Raises:
        RunError: the folder's training is another, or damaged; or training has diverged.
        Interrupted: a signal asked to stop, and all is saved.
    """
    content = joint_content(corpus, seed)
    if not fresh:
        check_same(folder, content)
    if not fresh and is_done(folder, digest(content)):
        if rank() == 0:  # what is there where the end was killed
            remove_checkpoint(folder.checkpoint)
            KeptModels(folder).prune(kept_at_the_end(folder))
        console.print(f"joint training: done before ({folder.model})", highlight=False)
        return False
    spec = corpus.run.spec
    model = build_model(corpus, list(corpus.run.tasks.values()), seed)
    said = model.said_of_parameters()
    if rank() == 0 and said:
        console.print(f"joint training: {said}", highlight=False, soft_wrap=True)
    engine = make_engine(
        engine_spec,
        spec.optimizer,
        model.encoder,
        model.heads,
        corpus.run.gradients_of,
        sharded_heads=corpus.run.sharded_heads,
    )
    model = model.with_heads(engine.heads)
    try:
        training = plan_training(corpus, model, spec.schedule, spec.optimizer, seed, "joint")
        _Joint(training, engine, folder, content, console).run()
    finally:
        engine.close()
    return True


class _Joint:
    def __init__(
        self,
        training: Training,
        engine: Engine,
        folder: RunFolder,
        content: dict[str, Any],
        console: Console,
    ) -> None:
        self.training = training
        self.engine = engine
        self.folder = folder
        self.content = content
        self.console = console
        spec = training.corpus.run.spec
        self.spec = spec
        self.models = KeptModels(folder)
        self.evaluator = Evaluator(training, engine)
        self.selection = Selection(spec.evaluation, spec.checkpoint.keep_best)
        self.progress = training.start()
        self.start = 0
        self.began = time.monotonic()

    def run(self) -> None:
        self._resume()
        with ExitStack() as stack:
            metrics = None
            terminal = TerminalProgress(self.console)
            if self._first:
                metrics = MetricsFile(self.folder.train / "metrics.jsonl", self.start)
                stack.enter_context(closing(metrics))
                stack.enter_context(observing(host(), metrics, terminal))
            stack.enter_context(terminal.live())
            pending = stack.enter_context(deferring())
            self._train(Requests(pending, self.spec.checkpoint.minutes, self.engine.rank), metrics)
        if pending.number is not None:  # it came after the last step
            raise Interrupted(pending.number)
        self._finish()

    def _resume(self) -> None:
        """Go back to the last checkpoint, if there is one."""
        kept = self.training.distillation
        more = {} if kept is None else {"teacher": kept.load_state}
        state, damage = load_checkpoint(self.folder.checkpoint, self.engine, more)
        if damage:
            self._say(f"joint training: {damage}; taking the checkpoint before it")
        if state is not None:
            self.start, self.progress = state.step, state.progress
            self.selection.kept = state.kept[: self.selection.keep]
            self.selection.since_best = state.since_best
            self.began -= state.seconds
            self._say(f"joint training: continuing after step {self.start} of {self.training.num_steps}")
        failure = ""
        if self._first:
            try:
                steps = [scoring.step for scoring in self.selection.kept]
                self.models.restore(steps, kept_before(self.folder.checkpoint))
            except RunError as error:
                failure = f"{error}; bring it back from a copy, or train from the beginning with --restart"
        failure = self.engine.all_gather_objects(failure)[0]
        if failure:
            raise RunError(failure)

    def _train(self, requests: Requests, metrics: MetricsFile | None) -> None:
        """Run the steps that are left; score, save and stop where it is time to, all ranks at once."""
        if self.selection.exhausted:
            return
        if self.training.num_steps == 0 and not self.selection.kept:
            self._evaluate(0, metrics)
        notifier, limit = Notifier(host()), self.spec.optimizer.max_skipped
        every = self.spec.checkpoint.every
        for record in train_steps(self.training, self.engine, self.progress, self.start, requests):
            if self._first:
                notifier.step_ended(record)
            last = record.step == self.training.num_steps
            if last or (self.spec.evaluation.every and record.step % self.spec.evaluation.every == 0):
                with self.engine.averaged():
                    self._evaluate(record.step, metrics)
                requests.agree(self.engine)
            over = last or self.selection.exhausted
            due = requests.save or (every is not None and record.step % every == 0)
            if over or due or requests.stop or has_diverged(self.progress, limit):
                if metrics:
                    metrics.flush()
                self._checkpoint(record.step)
                requests.saved()
            check_diverged(record, self.progress, limit)
            if requests.stop:
                self._say(f"joint training: saved after step {record.step} of {self.training.num_steps}")
                raise Interrupted(requests.stop)
            if over:
                return

    @property
    def _first(self) -> bool:
        return self.engine.rank == 0

    def _say(self, text: str) -> None:
        if self._first:
            self.console.print(text, highlight=False, soft_wrap=True)

    @property
    def _measure(self) -> str:
        """What the value of a scoring is."""
        select_by = self.spec.evaluation.select_by
        return MEAN_GAIN if select_by == LAST else select_by

    def _evaluate(self, step: int, metrics: MetricsFile | None) -> None:
        selection, tasks = self.selection, self.training.model.tasks
        scores, baseline = self.evaluator.scores("dev"), self.evaluator.majority("dev")
        seen = Observation(scores=dev_scores(tasks, scores, baseline))
        if step:
            self.progress.sampler = self.training.planner.observe(step - 1, self.progress.sampler, seen)
            self.progress.augmenting = self._augmenting(seen)
        value = selection_value(self._measure, tasks, scores, baseline)
        if selection.observe(value, step):
            self._save_model(step, value)
        if metrics:
            content = {"scores": scores, "majority": baseline, "selection": value}
            if self.progress.augmenting:
                content["augmenting"] = self.progress.augmenting
            metrics.write({"kind": "evaluation", "step": step, **content})
        kept = "kept" if selection.best_step == step else f"best is step {selection.best_step}"
        self._say(f"joint training: step {step}, dev {self._measure} {value:.3f} ({kept})")

    def _augmenting(self, seen: Observation) -> Memory:
        training = self.training
        tasks = {feed: training.feeds[feed].tasks for feed in training.augmentations}
        specs = {feed: training.model.tasks[names[0]].task.stream.augment for feed, names in tasks.items()}
        return after_scoring(self.progress.augmenting, tasks, specs, seen.scores)

    def _save_model(self, step: int, value: float) -> None:
        encoder, heads = self.engine.encoder_state(), self.engine.head_states()
        if self._first:
            facts: dict[str, Any] = {"step": step, self._measure: value}
            if self.spec.encoder.adapter is not None:
                facts["base"] = encoder_fingerprint(self.spec.encoder)
            tokenizer = self.training.corpus.tokenizer
            self.training.model.save(self.models.path(step), tokenizer, encoder, heads, facts)
            self.models.choose(self.selection.best_step)
        self.engine.barrier()

    def _checkpoint(self, step: int) -> None:
        kept = self.selection.kept
        seconds = time.monotonic() - self.began
        state = State(step, self.progress, kept, self.selection.since_best, seconds)
        distilled = self.training.distillation
        teacher = distilled.state() if distilled is not None and self._first else {}
        more = {"teacher": teacher} if teacher else {}
        save_checkpoint(self.folder.checkpoint, self.content, state, self.engine, more)
        if self._first:
            before = kept_before(self.folder.checkpoint)
            self.models.prune([*(scoring.step for scoring in kept), *before])

    def _finish(self) -> None:
        """Score the kept model on the test splits, once, and mark the training as done."""
        seconds = time.monotonic() - self.began
        heads = {name: state for name, (_, state) in read_heads(self.folder.model).items()}
        self.engine.load_weights(self._trained(), heads)
        scores = joint_scores(self.training.model, self.evaluator, "test")
        shares = self._shares(self.progress)
        if self.progress.skipped:
            self._say(f"joint training: {self.progress.skipped} steps were skipped: not finite")
        self.engine.barrier()  # all have read the model
        if self._first:
            self.models.settle(self.selection.best_step)
            content = [score.model_dump(mode="json") for score in scores]
            write_json(self.folder.scores, {"scores": content})
            done = {"version": VERSION, "job": digest(self.content), "content": self.content}
            done |= {"best_step": self.selection.best_step, "kept": self.selection.kept}
            done |= {"seconds": seconds, "shares": shares, "skipped": self.progress.skipped}
            write_json(self.folder.done, done)
            remove_checkpoint(self.folder.checkpoint)
            self.models.prune([scoring.step for scoring in self.selection.kept])
        self.engine.barrier()

    def _trained(self) -> Mapping[str, Tensor]:
        return trained_weights(self.training.corpus, self.folder.model, self.training.seed)

    def _shares(self, progress: Progress) -> dict[str, dict[str, float]]:
        """Return, and say, how much of each feed the sampler meant to draw, and has drawn."""
        passes = self.training.planner.passes(progress.positions)
        shares = {feed: {**share, "passes": passes[feed]} for feed, share in progress.shares().items()}
        drawn = (
            f"{feed} {s['realised']:.1%} ({s['intended']:.1%}), {s['passes']:.1f} passes"
            for feed, s in shares.items()
        )
        if shares:
            self._say(f"joint training: slots drawn (intended): {'; '.join(drawn)}")
        return shares


def joint_scores(model: Model, evaluator: Evaluator, split: SplitName) -> list[TaskScore]:
    """Return every task's scores on a split beside the constant predictor's."""
    constant = evaluator.majority_scored(split)
    result = []
    for identity, scored in evaluator.scored(split).items():
        part = model.tasks[identity]
        definition = part.task.primary.definition
        values, resamples = score_intervals(part.task, scored, part.labels)
        result.append(
            TaskScore(
                task=identity,
                metric=part.task.primary_name,
                higher_is_better=definition.higher_is_better,
                best=definition.best,
                scores=values,
                majority=score_intervals(part.task, constant[identity], part.labels)[0],
                num_test=len(scored),
                details=score_details(part.task, scored, part.labels),
                resamples=resamples,
            )
        )
    return result


def score_saved(corpus: Corpus, folder: RunFolder, split: SplitName) -> list[TaskScore]:
    """Score a run's saved model on a split, in this process.

    Raises:
        RunError: there is no trained model.
    """
    if not (folder.model / "encoder").is_dir():
        raise RunError(Problem(str(folder.model), "no trained model; run `sslm train` first"))
    spec = corpus.run.spec
    model = load_trained(corpus, list(corpus.run.tasks.values()), folder.model)
    here = spec.engine.model_copy(update={"name": "local", "zero_stage": None, "config": {}})
    engine = make_engine(here, spec.optimizer, model.encoder, model.heads)
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "evaluation")
    return joint_scores(model, Evaluator(training, engine), split)
