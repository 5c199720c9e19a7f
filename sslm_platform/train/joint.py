"""The joint training of a run: from its feeds to the best model and its test scores."""

from __future__ import annotations

import json
import logging
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from sslm_platform.corpus import Corpus
from sslm_platform.engine.base import Engine
from sslm_platform.engine.factory import make_engine
from sslm_platform.errors import Problem, RunError
from sslm_platform.evaluate import score_intervals
from sslm_platform.files import write_json
from sslm_platform.interfaces import Observation
from sslm_platform.model.store import read_heads
from sslm_platform.plugins import host
from sslm_platform.report.records import TaskScore
from sslm_platform.schedule.progress import Progress
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.checkpoint import State, load_checkpoint, save_checkpoint
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.job import digest, metric_content, training_content
from sslm_platform.train.loop import Training, plan_training, train_steps
from sslm_platform.train.model import Model, build_model, encoder_weights, load_trained
from sslm_platform.train.observers import MetricsFile, Notifier, TerminalProgress, observing
from sslm_platform.train.selection import Evaluator, Selection, dev_scores, selection_value

log = logging.getLogger(__name__)


def joint_id(corpus: Corpus, seed: int) -> str:
    """Return the content hash of a run's joint training with a seed, its selection included."""
    spec = corpus.run.spec
    tasks = list(corpus.run.tasks.values())
    budget = spec.schedule.model_dump(mode="json", include={"max_steps", "epochs"})
    evaluation = spec.evaluation.model_dump(mode="json")
    scored = [metric_content(task) for task in tasks]
    return digest([training_content(corpus, tasks, seed, budget), evaluation, scored])


def is_done(folder: RunFolder, job: str) -> bool:
    """Whether the folder holds this training, finished."""
    file = folder.train / "done.json"
    return file.exists() and json.loads(file.read_text(encoding="utf-8"))["job"] == job


def train_joint(
    corpus: Corpus, folder: RunFolder, console: Console, seed: int, engine_spec: EngineSpec
) -> bool:
    """Train all tasks of a run jointly, or go on where a killed training was saved.

    Returns:
        Whether there was anything left to train.
    """
    job = joint_id(corpus, seed)
    if is_done(folder, job):
        console.print(f"joint training: done before ({folder.model})", highlight=False)
        return False
    spec = corpus.run.spec
    model = build_model(corpus, list(corpus.run.tasks.values()), seed)
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
        _Joint(training, engine, folder, job, console).run()
    finally:
        engine.close()
    return True


@dataclass(slots=True)
class _Joint:
    training: Training
    engine: Engine
    folder: RunFolder
    job: str
    console: Console

    def run(self) -> None:
        spec = self.training.corpus.run.spec
        selection = Selection(spec.evaluation)
        progress = self.training.start()
        checkpoint = self.folder.train / "checkpoint"
        state = load_checkpoint(checkpoint, self.job, self.engine)
        start, spent = 0, 0.0
        if state is not None:
            start, progress, spent = state.step, state.progress, state.seconds
            selection = Selection(spec.evaluation, state.best, state.best_step, state.since_best)
            self._say(f"joint training: continuing after step {start} of {self.training.num_steps}")
        elif checkpoint.exists():
            self._say(f"joint training: {checkpoint} is of another spec, data or plugins; training anew")
        evaluator = Evaluator(self.training, self.engine)
        began = time.monotonic() - spent
        terminal = TerminalProgress(self.console)
        notifier = Notifier(host())
        with ExitStack() as stack:
            metrics = None
            if self._first:
                metrics = MetricsFile(self.folder.train / "metrics.jsonl", start)
                stack.enter_context(closing(metrics))
                stack.enter_context(observing(host(), metrics, terminal))
            stack.enter_context(terminal.live())
            for record in train_steps(self.training, self.engine, progress, start):
                if self._first:
                    notifier.step_ended(record)
                last = record.step == self.training.num_steps
                if last or (spec.evaluation.every and record.step % spec.evaluation.every == 0):
                    self._evaluate(evaluator, selection, progress, record.step, metrics)
                stop = last or selection.exhausted
                if stop or record.step % spec.checkpoint.every == 0:
                    self._checkpoint(record.step, progress, selection, time.monotonic() - began)
                if stop:
                    break
        self._finish(evaluator, selection, progress, time.monotonic() - began)

    @property
    def _first(self) -> bool:
        return self.engine.rank == 0

    def _say(self, text: str) -> None:
        if self._first:
            self.console.print(text, highlight=False, soft_wrap=True)

    def _evaluate(
        self,
        evaluator: Evaluator,
        selection: Selection,
        progress: Progress,
        step: int,
        metrics: MetricsFile | None,
    ) -> None:
        scores, baseline = evaluator.scores("dev"), evaluator.majority("dev")
        seen = Observation(scores=dev_scores(self.training.model.tasks, scores, baseline))
        progress.sampler = self.training.planner.observe(step - 1, progress.sampler, seen)
        value = selection_value(selection.spec.select_by, self.training.model.tasks, scores, baseline)
        if selection.observe(value, step):
            self._save_model()
        if metrics:
            content = {"scores": scores, "majority": baseline, "selection": value}
            metrics.write({"kind": "evaluation", "step": step, **content})
        kept = "kept" if selection.best_step == step else f"best is step {selection.best_step}"
        self._say(f"joint training: step {step}, dev {selection.spec.select_by} {value:.3f} ({kept})")

    def _save_model(self) -> None:
        encoder, heads = self.engine.encoder_state(), self.engine.head_states()
        if self._first:
            self.training.model.save(self.folder.model, self.training.corpus.tokenizer, encoder, heads)
        self.engine.barrier()

    def _checkpoint(self, step: int, progress: Progress, selection: Selection, seconds: float) -> None:
        state = State(step, progress, selection.best, selection.best_step, selection.since_best, seconds)
        save_checkpoint(self.folder.train / "checkpoint", self.job, state, self.engine)

    def _finish(self, evaluator: Evaluator, selection: Selection, progress: Progress, seconds: float) -> None:
        """Score the kept model on the test splits, once, and mark the training as done."""
        heads = {name: state for name, (_, state) in read_heads(self.folder.model).items()}
        self.engine.load_weights(encoder_weights(self.folder.model), heads)
        scores = joint_scores(self.training.model, evaluator, "test")
        shares = self._shares(progress)
        if self._first:
            content = [score.model_dump(mode="json") for score in scores]
            write_json(self.folder.scores, {"scores": content})
            done: dict[str, Any] = {"job": self.job, "best_step": selection.best_step, "seconds": seconds}
            done["shares"] = shares
            write_json(self.folder.train / "done.json", done)
        self.engine.barrier()

    def _shares(self, progress: Progress) -> dict[str, dict[str, float]]:
        """Return, and say, how much of each feed the sampler meant to draw, and has drawn."""
        passes = self.training.planner.passes(progress.positions)
        shares = {feed: {**share, "passes": passes[feed]} for feed, share in progress.shares().items()}
        drawn = (
            f"{feed} {s['realised']:.1%} ({s['intended']:.1%}), {s['passes']:.1f} passes"
            for feed, s in shares.items()
        )
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
