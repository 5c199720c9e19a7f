"""An objective under test: built, and run on synthetic examples."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from sslm_platform.interfaces import Encoded, Objective, TaskBatch
from sslm_platform.testing import data
from sslm_platform.testing.cases import Case
from sslm_platform.types import ObjectiveContext, ObjectiveDef

ObjectiveCase = Case[ObjectiveDef]


def build(case: ObjectiveCase) -> Objective:
    """Build the objective of a case."""
    labels = data.labels_of(case.kind)
    counts = tuple(range(1, len(labels) + 1))
    tokenizer = data.TOKENIZER if case.kind.is_generated else None
    context = ObjectiveContext(case.kind, data.VOCABULARY, labels, counts, sum(counts), tokenizer)
    return case.definition.build(case.parsed_options(), context)


def examples_of(case: ObjectiveCase, num: int = 6) -> list[Encoded]:
    """Make examples with the fields that the objective needs."""
    partners = case.definition.partners
    return data.make_examples(case.definition.needs[case.kind], num, partners=partners)


def collate(objective: Objective, examples: Sequence[Encoded], keys: Sequence[int]) -> TaskBatch:
    """Collate the examples of these keys, each with its own generator, as the platform does."""
    generators = data.make_generators(len(examples))
    return objective.collate([examples[key] for key in keys], [generators[key] for key in keys])


def losses(case: ObjectiveCase, objective: Objective, batch: TaskBatch, keys: Sequence[int]) -> Tensor:
    """Return the losses of outputs that depend on each example's key alone."""
    return objective.losses(data.make_outputs(case.kind, batch.targets, keys), batch.targets, len(keys))
