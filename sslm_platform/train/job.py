"""What identifies a training: two with one id end with the same weights, so it is never done twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sslm_platform.corpus import Corpus
from sslm_platform.data.token_cache import tokenizer_digest
from sslm_platform.model.backbone import encoder_fingerprint
from sslm_platform.spec.resolved import Task


def digest(content: Any) -> str:
    """Return a short SHA-256 of JSON content."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def encoder_content(corpus: Corpus) -> dict[str, Any]:
    """Return what identifies the encoder that trainings start from."""
    content = encoder_fingerprint(corpus.run.spec.encoder)
    tokenizer = corpus.run.spec.encoder.tokenizer
    if tokenizer is not None and tokenizer.train is not None:
        content["tokenizer"] = tokenizer_digest(corpus.tokenizer)
    return content


def initial_content(corpus: Corpus, seed: int) -> dict[str, Any]:
    """Return what identifies the encoder before any training: random weights are another encoder by seed."""
    return encoder_content(corpus) | {"initialization": initial_seed(corpus, seed)}


def initial_seed(corpus: Corpus, seed: int) -> int:
    """Return the seed of the encoder's first weights; all seeds are one where they are loaded."""
    return seed if corpus.run.spec.encoder.path is None else 0


def task_content(corpus: Corpus, task: Task) -> dict[str, Any]:
    """Return what identifies a task: its examples, objective, head, and their plugins' versions."""
    head = {**task.head.fingerprint(), "key": task.head_key}
    if task.spec.head.tokenizer is not None:
        head["tokenizer"] = task.spec.head.tokenizer.model_dump(mode="json", exclude_none=True)
        if task.spec.head.tokenizer.path is not None:
            codec = corpus.text_tokenizer([task])
            head["tokenizer"]["content"] = digest(codec.content if codec is not None else "")
    changed = zip(corpus.run.augmenters.get(task.stream.name, ()), task.stream.augment, strict=True)
    augment = [
        {**bound.fingerprint(), **spec.model_dump(include={"probability", "adapt"}, exclude_none=True)}
        for bound, spec in changed
    ]
    return {
        "identity": task.identity,
        "data": corpus.fingerprint(task),
        **({"augment": augment} if augment else {}),
        "objective": task.objective.fingerprint(),
        **({"wrapper": task.wrapper.fingerprint()} if task.wrapper else {}),
        "head": head,
    }


def metric_content(task: Task) -> list[dict[str, Any]]:
    """Return what identifies how a task is scored."""
    return [
        {**bound.fingerprint(), "primary": name == task.primary_name, "resampled_by": task.stream.name}
        for name, bound in task.metrics.items()
    ]


def training_content(
    corpus: Corpus, tasks: Sequence[Task], seed: int, budget: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what identifies a training of some tasks."""
    spec = corpus.run.spec
    logged = {"log_gradients_every": spec.balancer.log_gradients_every}
    if spec.balancer.log_affinity_every is not None:
        logged["log_affinity_every"] = spec.balancer.log_affinity_every
    schedule = spec.schedule.model_dump(mode="json", include={"tokens_per_batch", "slots_per_step"})
    return {
        "encoder": encoder_content(corpus),
        "tasks": [task_content(corpus, task) for task in tasks],
        "schedule": {**schedule, **budget},
        "sampler": corpus.run.sampler.fingerprint(),
        "balancer": {
            **corpus.run.balancer.fingerprint(),
            **logged,  # logging changes how sums are rounded
            "gradients_of": corpus.run.gradients_of,
        },
        "optimizer": spec.optimizer.model_dump(
            mode="json", exclude={"max_skipped"} | ({"distill"} if spec.optimizer.distill is None else set())
        ),
        "precision": spec.engine.precision,
        "seed": seed,
        **({"freeze": spec.encoder.freeze} if spec.encoder.freeze else {}),
        **({"adapter": spec.encoder.adapter.model_dump()} if spec.encoder.adapter else {}),
    }


def joint_content(corpus: Corpus, seed: int) -> dict[str, Any]:
    """Return what identifies the joint training of a run's tasks with a seed, its selection included."""
    spec, tasks = corpus.run.spec, list(corpus.run.tasks.values())
    budget = spec.schedule.model_dump(mode="json", include={"max_steps", "epochs"})
    return {
        **training_content(corpus, tasks, seed, budget),
        "tasks": {
            task.identity: {**task_content(corpus, task), "metrics": metric_content(task)} for task in tasks
        },
        "order": [task.identity for task in tasks],  # it decides the order of their batches
        "evaluation": spec.evaluation.model_dump(mode="json"),
    }
