"""Which head of a source answers for a target, and what its labels mean there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sslm_platform.corpus import Corpus
from sslm_platform.kinds import OutputKind
from sslm_platform.spec.resolved import Task
from sslm_platform.transfer.labels import OUTSIDE, LabelMapping, match_labels, unmatched
from sslm_platform.transfer.sources import Source, head_for

NUM_NAMED = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A source's head as a target's.

    Attributes:
        head_key: of the source's head.
        labels: the target's, which the answers are among.
        mapping: None where the head has the target's labels in their order, or none at all.
        lacking: the target's labels that the head cannot give.
    """

    head_key: str
    labels: tuple[str, ...]
    mapping: LabelMapping | None = None
    lacking: tuple[str, ...] = ()

    def undefined(self, source: Source) -> str:
        """Return why the head cannot answer for the target, or nothing where it can."""
        if not self.lacking:
            return ""
        more = f" and {len(self.lacking) - NUM_NAMED} more" if len(self.lacking) > NUM_NAMED else ""
        named = ", ".join(self.lacking[:NUM_NAMED])
        return f"{source.name} has no label for {named}{more}; label_map can name one"


def answer_for(
    corpus: Corpus, source: Source, target: Task, label_map: Mapping[str, str], known: Sequence[Task] = ()
) -> Answer | None:
    """Return how a source answers for a target without training, or None where it has no head for it.

    Args:
        corpus: the labels.
        source: what was trained on.
        target: what is asked.
        label_map: source label to target label.
        known: tasks whose labels the source's heads have; default: its own.
    """
    key = head_for(source, target, mapped=bool(label_map))
    if key is None:
        return None
    labels = corpus.labels([target])
    emits = target.head.definition.emits
    if not emits.has_labels:
        return Answer(key, labels)
    members = [task for task in (known or source.tasks) if task.head_key == key]
    mapping = match_labels(corpus.labels(members), labels, label_map, tags=emits.has_tags)
    lacking = unmatched(mapping, labels)
    same_task = any(task.spec.name == target.spec.name for task in members)
    if not same_task and set(lacking) >= set(labels) - {OUTSIDE}:
        return None  # the label map is of other tasks
    is_same = mapping == tuple(range(len(labels)))
    if emits in (OutputKind.LABEL_SET_LOGITS, OutputKind.TAG_PAIR_LOGITS) and not is_same:
        return None  # logits of sets, and of pairs of tags, cannot be merged
    return Answer(key, labels, None if is_same else mapping, lacking)
