"""Sentiment in four genres (real text), trained jointly by three trainers, each as its users write it.

Every side has the same pretrained encoder, one linear head for each genre on mean-pooled states, cross
entropy, fused AdamW, the same schedule and gradient clipping, and as many examples a step: the 8 that are the
HF Trainer's default. Batches are each side's own: random ones padded to their longest example (HF: of all
genres mixed; sentence-transformers: of one genre), or the platform's token-budget batches, 8 on average.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from measuring import TASK_SPECS
from sklearn.metrics import f1_score
from torch import Tensor, nn

from sslm_platform.data.batching import EncoderInputs, collate_inputs, plan_batches
from sslm_platform.engine.factory import make_engine
from sslm_platform.evaluate import evaluation_batches
from sslm_platform.runs import open_run
from sslm_platform.spec.schema import OptimizerSpec
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model

EXAMPLES_PER_STEP = 8  # TrainingArguments.per_device_train_batch_size
SCHEDULE = {"warmup": 0.1, "decay": "linear", "clip": 1.0, "weight_decay": 0.0}


@dataclass
class Clock:
    """Seconds, real tokens and examples of training steps; what happens while it stands is not counted."""

    seconds: float = 0.0
    tokens: int = 0
    padded: int = 0
    examples: int = 0
    _since: float | None = field(default=None, repr=False)

    def go(self) -> None:
        self._since = time.perf_counter()

    def stand(self) -> None:
        if self._since is not None:
            self.seconds += time.perf_counter() - self._since
        self._since = None

    def count(self, mask_BL: Tensor) -> None:
        self.tokens += int(mask_BL.sum())
        self.padded += mask_BL.numel()
        self.examples += len(mask_BL)


class Tasks:
    """The four tasks' texts and labels, and the score of a model that is being trained."""

    def __init__(self, threads: int, num_train: int | None, num_dev: int | None) -> None:
        limits = [
            f"limit.{k}={'null' if n is None else n}" for k, n in (("train", num_train), ("dev", num_dev))
        ]
        names = ("vader-tweets", "vader-movies", "vader-products", "vader-news")
        own_heads = [f"streams.{name}.tasks.sentiment.head.shared_as=null" for name in names]
        overrides = [*limits, *own_heads, f"engine.threads={threads}"]
        self.run = open_run(TASK_SPECS / "sentiment_4x4.yaml", overrides=overrides)
        self.spec, self.corpus = self.run.resolved.spec, self.run.corpus
        self.tasks = list(self.run.resolved.tasks.values())
        self.feeds = {t.identity: self.corpus.task_feed(t, self.spec.seed) for t in self.tasks}
        self.labels = {t.identity: self.corpus.labels([t]) for t in self.tasks}
        torch.set_num_threads(threads)

    @property
    def num_train(self) -> int:
        return sum(len(feed.splits["train"]) for feed in self.feeds.values())

    def lengths(self) -> np.ndarray:
        return np.concatenate([feed.splits["train"].lengths_N for feed in self.feeds.values()])

    def columns(self, task: str, split: str) -> dict[str, list]:
        part = self.feeds[task].splits[split]
        ids = [self.labels[task].index(label) for label in part.values(task, "label")]
        return {"text": part.values(task, "text"), "label": ids}

    def token_budget(self) -> int:
        """Return the budget whose batches have ``EXAMPLES_PER_STEP`` examples on average."""

        def mean(tokens: int) -> float:
            parts = [feed.splits["train"].lengths_N for feed in self.feeds.values()]
            return sum(map(len, parts)) / sum(len(plan_batches(part, tokens, (0,))) for part in parts)

        budgets = range(int(self.lengths().max()), 1000, 4)
        return min(budgets, key=lambda tokens: abs(mean(tokens) - EXAMPLES_PER_STEP))

    @cached_property
    def _dev(self) -> dict[str, tuple[np.ndarray, list[tuple[np.ndarray, EncoderInputs]]]]:
        pad_id, found = self.corpus.vocabulary.pad_id, {}
        for task, feed in self.feeds.items():
            part = feed.splits["dev"]
            batches = [
                (rows, collate_inputs(part.encoded(task, rows, ()), None, pad_id))
                for rows in evaluation_batches(part.lengths_N)
            ]
            found[task] = np.array(self.columns(task, "dev")["label"]), batches
        return found

    def macro_f1(self, backbone: nn.Module, heads: Callable[[str, Tensor], Tensor]) -> float:
        """Return the dev macro F1, averaged over the tasks: the same code for all sides."""
        was_training = backbone.training
        backbone.eval()
        scores = []
        with torch.no_grad():
            for task, (gold_N, batches) in self._dev.items():
                found_N = np.zeros_like(gold_N)
                for rows, inputs in batches:
                    states = backbone(input_ids=inputs.input_ids_BL, attention_mask=inputs.mask_BL)
                    pooled_BD = mean_pool(states.last_hidden_state, inputs.mask_BL)
                    found_N[rows] = heads(task, pooled_BD).argmax(dim=-1).numpy()
                scores.append(f1_score(gold_N, found_N, average="macro"))
        backbone.train(was_training)
        return float(np.mean(scores))


def mean_pool(hidden_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    mask_BL1 = mask_BL.unsqueeze(-1)
    return (hidden_BLD * mask_BL1).sum(dim=1) / mask_BL1.sum(dim=1)


@dataclass(frozen=True)
class Point:
    """Where a training stands."""

    seconds: float
    score: float


class Platform:
    """sslm_platform: token-budget batches, one genre a step."""

    name = "sslm_platform"

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.budget = tasks.token_budget()

    def train(
        self, rate: float, num_steps: int, seed: int, every: int | None = None
    ) -> tuple[Clock, list[Point]]:
        """Train from the pretrained encoder; score each ``every`` steps, with the clock standing."""
        corpus, spec = self.tasks.corpus, self.tasks.spec
        optimizer = OptimizerSpec(lr=rate, **SCHEDULE)
        schedule = spec.schedule.model_copy(update={"tokens_per_batch": self.budget})
        model = build_model(corpus, self.tasks.tasks, seed)
        engine = make_engine(spec.engine, optimizer, model.encoder, model.heads)
        training = plan_training(corpus, model, schedule, optimizer, seed, "benchmark", max_steps=num_steps)
        clock, points = Clock(), []
        clock.go()
        for record in train_steps(training, engine, training.start()):
            clock.tokens += record.num_tokens
            clock.padded += record.num_padded_tokens
            if every and record.step % every == 0:
                clock.stand()
                points.append(Point(clock.seconds, self._score(model)))
                clock.go()
        clock.stand()
        return clock, points

    def _score(self, model) -> float:
        def answer(task: str, pooled_BD: Tensor) -> Tensor:
            return model.tasks[task].head.module(pooled_BD)

        for head in model.heads.values():  # they drop out
            head.eval()
        score = self.tasks.macro_f1(model.encoder.backbone, answer)
        for head in model.heads.values():
            head.train()
        return score
