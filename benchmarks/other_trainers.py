"""The HF Trainer and sentence-transformers' trainer on several tasks, as their users write it."""

from __future__ import annotations

import tempfile
import warnings

import torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from joint_set import SCHEDULE, Clock, Point, Tasks, mean_pool
from measuring import device
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.models import Pooling, Transformer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModel, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
from transformers.utils import logging

from sslm_platform.model.backbone import locate

DROPOUT = 0.1  # before the head, as on the platform's side


def be_quiet() -> None:
    """Let the trainers say only what matters."""
    warnings.filterwarnings("ignore", message=".*pin_memory.*")
    logging.disable_progress_bar()
    logging.set_verbosity_error()


class MultiTaskModel(nn.Module):
    """One encoder, a linear head for each task; a batch may mix tasks."""

    def __init__(self, folder: str, num_labels: dict[str, int]) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder)
        self.dropout = nn.Dropout(DROPOUT)
        size = self.encoder.config.hidden_size
        self.heads = nn.ModuleList(nn.Linear(size, width) for width in num_labels.values())
        self.clock = Clock()

    def forward(self, input_ids, attention_mask, token_type_ids=None, task_id=None, labels=None):
        self.clock.count(attention_mask)
        states = self.encoder(input_ids, attention_mask, token_type_ids).last_hidden_state
        pooled_BD = self.dropout(mean_pool(states, attention_mask))
        loss = sum(
            cross_entropy(
                self.heads[task](pooled_BD[task_id == task]), labels[task_id == task], reduction="sum"
            )
            for task in task_id.unique().tolist()
        )
        return {"loss": loss / len(labels)}


class Scoring(TrainerCallback):
    """Lets the clock run while steps are trained, and scores with the clock standing."""

    def __init__(self, clock: Clock, every: int | None, score) -> None:
        self.clock, self.every, self.score = clock, every, score
        self.points: list[Point] = []

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.clock.go()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.every and state.global_step % self.every == 0:
            self.clock.stand()
            self.points.append(Point(self.clock.seconds, self.score()))
            self.clock.go()

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.clock.stand()


def arguments(kind, folder: str, tasks: Tasks, rate: float, num_steps: int, seed: int, **more):
    return kind(
        output_dir=folder,
        learning_rate=rate,
        max_steps=num_steps,
        seed=seed,
        per_device_train_batch_size=tasks.examples_per_step,
        warmup_steps=round(SCHEDULE["warmup"] * num_steps),
        lr_scheduler_type=SCHEDULE["decay"],
        max_grad_norm=SCHEDULE["clip"],
        weight_decay=SCHEDULE["weight_decay"],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=device().type == "cpu",
        **more,
    )


class HuggingFace:
    """The HF Trainer: data sets joined, a column that names the task; shuffled, padded by its collator."""

    name = "HF Trainer"

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.folder = locate(tasks.spec.encoder.path)
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        parts = []
        for number, task in enumerate(tasks.feeds):
            columns = tasks.columns(task, "train")
            encoded = self.tokenizer(
                columns["text"], truncation=True, max_length=tasks.spec.encoder.max_length
            )
            parts.append(
                Dataset.from_dict(
                    {**encoded, "labels": columns["label"], "task_id": [number] * len(columns["label"])}
                )
            )
        self.data = concatenate_datasets(parts)

    def train(
        self, rate: float, num_steps: int, seed: int, every: int | None = None
    ) -> tuple[Clock, list[Point]]:
        torch.manual_seed(seed)
        names = list(self.tasks.feeds)
        model = MultiTaskModel(self.folder, {name: len(self.tasks.labels[name]) for name in names})

        def score() -> float:
            return self.tasks.macro_f1(model.encoder, lambda task, x: model.heads[names.index(task)](x))

        scoring = Scoring(model.clock, every, score)
        with tempfile.TemporaryDirectory() as folder:
            args = arguments(TrainingArguments, folder, self.tasks, rate, num_steps, seed)
            Trainer(
                model, args, train_dataset=self.data, processing_class=self.tokenizer, callbacks=[scoring]
            ).train()
        return model.clock, scoring.points


class TaskLoss(nn.Module):
    """A linear classifier on the sentence embedding, in the manner of the library's SoftmaxLoss."""

    def __init__(self, model: SentenceTransformer, num_labels: int, clock: Clock) -> None:
        super().__init__()
        self.model = model
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(model.get_embedding_dimension(), num_labels)
        self.clock = clock

    def forward(self, sentence_features, labels: Tensor) -> Tensor:
        (features,) = sentence_features
        self.clock.count(features["attention_mask"])
        embedding_BD = self.model(features)["sentence_embedding"]
        return cross_entropy(self.classifier(self.dropout(embedding_BD)), labels)


class SentenceTransformers:
    """sentence-transformers' trainer with a data set and a loss for each task, drawn in proportion."""

    name = "sentence-transformers"

    def __init__(self, tasks: Tasks) -> None:
        self.tasks = tasks
        self.folder = locate(tasks.spec.encoder.path)
        self.data = DatasetDict(
            {task: Dataset.from_dict(tasks.columns(task, "train")) for task in tasks.feeds}
        )

    def train(
        self, rate: float, num_steps: int, seed: int, every: int | None = None
    ) -> tuple[Clock, list[Point]]:
        torch.manual_seed(seed)
        words = Transformer(self.folder, max_seq_length=self.tasks.spec.encoder.max_length)
        modules = [words, Pooling(words.get_embedding_dimension(), "mean")]
        model = SentenceTransformer(modules=modules, device=str(device()))
        clock = Clock()
        losses = {t: TaskLoss(model, len(self.tasks.labels[t]), clock) for t in self.data}

        def score() -> float:
            return self.tasks.macro_f1(words.auto_model, lambda task, x: losses[task].classifier(x))

        scoring = Scoring(clock, every, score)
        with tempfile.TemporaryDirectory() as folder:
            args = arguments(
                SentenceTransformerTrainingArguments,
                folder,
                self.tasks,
                rate,
                num_steps,
                seed,
                multi_dataset_batch_sampler="proportional",
            )
            SentenceTransformerTrainer(
                model, args, train_dataset=self.data, loss=losses, callbacks=[scoring]
            ).train()
        return clock, scoring.points
