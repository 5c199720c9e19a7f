"""Training texts that are changed a little in each pass; what is tokenized on the disk stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import datasets
import numpy as np

from sslm_platform.augmenting import Augmenter, Word
from sslm_platform.data.batching import example_generator
from sslm_platform.data.encodings import encode_inputs
from sslm_platform.data.feeds import FeedSplit
from sslm_platform.errors import PluginError
from sslm_platform.interfaces import Encoded

STREAM = 2  # of an example's random numbers

Examples = dict[str, list[Encoded]]
"""Task to its view of the batch's examples."""


@dataclass(frozen=True, slots=True, eq=False)
class Augmentation:
    """A feed's augmenters, and what it takes to read and tokenize a changed row.

    Attributes:
        steps: augmenters, one after the other, each with the share of the examples that it changes.
        rows: the stream's training split.
        inputs: what the encoder reads, field to column.
        tokenizer: a fast ``transformers`` tokenizer.
        max_length: in tokens.
        room: tokens of these that are kept for a target, which stays as it is.
    """

    steps: Sequence[tuple[Augmenter, float]]
    rows: datasets.Dataset
    inputs: Mapping[str, str]
    tokenizer: Any
    max_length: int
    room: int = 0

    def apply(
        self,
        split: FeedSplit,
        rows: np.ndarray,
        examples: Mapping[str, list[Encoded]],
        labels: Mapping[str, tuple[str, ...]],
        key: tuple[int, int],
    ) -> Examples:
        """Return a batch's examples, some of them changed; tags follow their words.

        Args:
            split: the feed's training split.
            rows: places in it.
            examples: of each task, in the order of ``rows``.
            labels: of each task, whose tags may forbid to cut between two words.
            key: (seed, epoch), which with the example decides all.

        Raises:
            PluginError: an augmenter breaks its rules.
        """
        changed: dict[int, tuple[dict[str, Any], dict[str, np.ndarray]]] = {}
        tagged = {task: split.tag_fields(task) for task in examples}
        for index, row in enumerate(rows.tolist()):
            generator = example_generator(*key, int(split.keys_N[row]), STREAM)
            due = [augmenter for augmenter, share in self.steps if generator.random() < share]
            if due:
                tags = [
                    _names(examples[task][index].values[field], labels[task])
                    for task, fields in tagged.items()
                    for field in fields
                ]
                raw = self.rows[int(split.rows_N[row])]
                inputs = {name: raw[column] for name, column in self.inputs.items()}
                changed[index] = _changed(inputs, tags, due, generator)
        return self._encoded(examples, changed, tagged) if changed else dict(examples)

    def _encoded(
        self,
        examples: Mapping[str, list[Encoded]],
        changed: Mapping[int, tuple[dict[str, Any], dict[str, np.ndarray]]],
        tagged: Mapping[str, tuple[str, ...]],
    ) -> Examples:
        texts = [inputs for inputs, _ in changed.values()]
        columns = {name: [inputs[name] for inputs in texts] for name in self.inputs}
        encoded = encode_inputs(columns, self.tokenizer, self.max_length, self.room)
        result = {task: list(views) for task, views in examples.items()}
        for (index, (_, origins)), example in zip(changed.items(), encoded, strict=True):
            for task, views in result.items():
                values = views[index].values
                moved = {field: values[field][origins["tokens"]] for field in tagged[task]}
                views[index] = replace(example, values={**values, **moved})
        return result


def _names(ids_W: np.ndarray, labels: tuple[str, ...]) -> list[str]:
    """Return the names of tags; one that the label set lacks has none."""
    return [labels[i] if i >= 0 else "" for i in ids_W.tolist()]


def _changed(
    inputs: Mapping[str, Any],
    tags: Sequence[Sequence[str]],
    due: Sequence[Augmenter],
    generator: np.random.Generator,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the changed inputs, and of each the original places of its words."""
    result: dict[str, Any] = {}
    origins: dict[str, np.ndarray] = {}
    for name, value in inputs.items():
        if name == "target":
            result[name] = value
            continue
        is_text = isinstance(value, str)
        words = [Word(text, i) for i, text in enumerate(value.split() if is_text else value)]
        for augmenter in due:
            chunks = [] if is_text else [[own[word.origin] for word in words] for own in tags]
            words = _step(augmenter, words, groups_of(len(words), chunks), generator)
        texts = [word.text for word in words]
        result[name] = " ".join(texts) if is_text else texts
        origins[name] = np.array([word.origin for word in words], dtype=np.int64)
    return result, origins


def groups_of(num_words: int, tags: Sequence[Sequence[str]]) -> list[range]:
    """Cut places 0 to ``num_words`` - 1 wherever no tagging (BIO) has a chunk that goes on."""
    starts = [i for i in range(num_words) if not any(own[i].startswith("I-") for own in tags)]
    starts = starts if starts[:1] == [0] else [0, *starts]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], num_words], strict=True)]


def _step(
    augmenter: Augmenter, words: Sequence[Word], groups: Sequence[range], generator: np.random.Generator
) -> list[Word]:
    changed = augmenter.augment([word.text for word in words], groups, generator)
    if complaint := complaint_about(changed, groups):
        raise PluginError(f"augmenter {type(augmenter).__name__}: {complaint}")
    return [Word(word.text, words[word.origin].origin) for word in changed]


def complaint_about(changed: Sequence[Word], groups: Sequence[range]) -> str:
    """Return what breaks the rules of :class:`~sslm_platform.augmenting.Augmenter`, or nothing."""
    if not changed:
        return "no word is left"
    if blank := [word for word in changed if len(word.text.split()) != 1]:
        return f"{blank[0].text!r} is not one word"
    num_words = groups[-1].stop
    places: dict[int, list[int]] = {}
    for place, word in enumerate(changed):
        if not 0 <= word.origin < num_words:
            return f"{word.origin} is no place in a text of {num_words} words"
        places.setdefault(word.origin, []).append(place)
    for group in groups:
        found = [place for origin in group for place in places.get(origin, ())]
        whole = len(found) == len(group) and found == list(range(found[0], found[0] + len(found)))
        if len(group) > 1 and found and not whole:
            return f"the chunk of words {group.start} to {group.stop - 1} is not in one piece"
    return ""
