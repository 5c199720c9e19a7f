"""Checks of what an objective has the encoder read: rows, encoder calls, and the parts of them that count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sslm_platform.data.windows import windows_of as windows_of_text
from sslm_platform.interfaces import Encoded, Targets, TaskBatch
from sslm_platform.testing import data, vectors
from sslm_platform.testing.objective_cases import ObjectiveCase, build, collate, examples_of


def windows_of(examples: Sequence[Encoded], batch: TaskBatch) -> list[tuple[int, np.ndarray]]:
    """Return each row that the encoder reads, with its example."""
    ids = batch.input_ids or [example.input_ids_L for example in examples]
    starts = [example.window_S for example in examples] if batch.windows is None else batch.windows
    pairs = zip(ids, starts, strict=True)
    return [(i, row) for i, (ids_L, start_S) in enumerate(pairs) for row in windows_of_text(ids_L, start_S)]


def check_vector_rows(examples: Sequence[Encoded], batch: TaskBatch) -> None:
    """Rows of vectors are spans of tokens of rows that the encoder reads."""
    targets = batch.targets
    for name in vectors.NAMES:
        assert name in targets, f"targets of vectors need {name!r}"
        assert targets[name].shape == targets["labels"].shape, f"{name} and labels differ in shape"
        assert targets[name].dtype == torch.int64, f"{name} is {targets[name].dtype}, not int64"
    rows = windows_of(examples, batch)
    for row, start, end, example in zip(
        *(targets[n].tolist() for n in ("row", "start", "end", "example")), strict=True
    ):
        assert rows[row][0] == example, f"row {row} of the batch is of example {rows[row][0]}, not {example}"
        assert 0 <= start < end <= len(rows[row][1]), (
            f"tokens [{start}, {end}) are not in a row of {len(rows[row][1])}"
        )


def check_windows(examples: Sequence[Encoded], batch: TaskBatch) -> None:
    """No row is longer than the text that it is made of."""
    for example, row in windows_of(examples, batch):
        longest = len(examples[example].input_ids_L)
        assert 1 <= len(row) <= longest, f"a row of {len(row)} tokens is made of a text of {longest}"
    for ids_L, segment_L in zip(batch.input_ids or (), batch.segments or (), strict=True):
        assert ids_L.shape == segment_L.shape, "segments are not as long as their input_ids"


def check_encoder_calls(case: ObjectiveCase) -> None:
    """Each row is read by one of the ``encoder_calls``, and the first call reads some of each example."""
    examples, number = examples_of(case), case.definition.encoder_calls
    batch = collate(build(case), examples, range(len(examples)))
    if number == 1:
        assert batch.calls is None, "calls are given: declare encoder_calls"
        return
    assert batch.calls is not None, f"encoder_calls is {number}, but collate gives no calls"
    starts = batch.windows if batch.windows is not None else [example.window_S for example in examples]
    for call_S, start_S in zip(batch.calls, starts, strict=True):
        rows = 1 if start_S is None else len(start_S)
        assert call_S.shape == (rows,), f"{call_S.shape} calls of {rows} rows"
        assert ((call_S >= 0) & (call_S < number)).all(), f"calls are {call_S}; there are {number}, from 0"
        assert (call_S == 0).any(), "the first call reads nothing of an example"


def check_vectors_are_of_text(case: ObjectiveCase) -> None:
    """No row of vectors takes in a special token."""
    examples = examples_of(case)
    batch = collate(build(case), examples, range(len(examples)))
    rows, special = windows_of(examples, batch), sorted(data.VOCABULARY.special_ids)
    for row, start, end in zip(*(batch.targets[n].tolist() for n in ("row", "start", "end")), strict=True):
        assert not np.isin(rows[row][1][start:end], special).any(), "a vector takes in a special token"


def check_candidates(examples: Sequence[Encoded], targets: Targets) -> None:
    """There is a row for each candidate, in order, and one of each example's is right."""
    for name in ("example", "position", "row", "labels"):
        assert name in targets, f"targets of candidates need {name!r}"
        assert targets[name].dtype == torch.int64, f"{name} is {targets[name].dtype}, not int64"
    sizes = [1 if e.window_S is None else len(e.window_S) for e in examples]
    expected = [(i, position) for i, size in enumerate(sizes) for position in range(size)]
    found = list(zip(targets["example"].tolist(), targets["position"].tolist(), strict=True))
    assert found == expected, "rows are the candidates in order, position 0 first"
    right = targets["example"][targets["labels"] == 1].tolist()
    assert right == list(range(len(examples))), "one candidate of each example is right, with label 1"
