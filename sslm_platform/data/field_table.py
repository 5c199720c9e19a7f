"""One pass over a split: its raw values parsed, stored and counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from sslm_platform.data.splits import normalized
from sslm_platform.data.tables import ROWS_AT_ONCE, row_batches, stored_table, table_path
from sslm_platform.data.tags import is_well_formed
from sslm_platform.data.values import UnusableError, value_parser
from sslm_platform.errors import DataError, Problem, raise_all
from sslm_platform.files import write_json
from sslm_platform.kinds import FieldKind
from sslm_platform.spec.schema import FieldSpec

COMPLETE, CONTENT = ":complete", ":content"  # no field has such a name
_VERSION = 2  # of the tables' content; part of their key
_NAMED = (FieldKind.LABEL, FieldKind.LABELS, FieldKind.TAGS)
_TYPES = {
    FieldKind.LABEL: pa.string(),
    FieldKind.ANSWERS: pa.list_(pa.struct({"text": pa.string(), "start": pa.int64()})),
    FieldKind.LABELS: pa.list_(pa.string()),
    FieldKind.VALUE: pa.float64(),
    FieldKind.TAGS: pa.list_(pa.string()),
    FieldKind.TARGET_TEXT: pa.string(),
    FieldKind.CHOICE: pa.int64(),
}


@dataclass(slots=True)
class SplitFacts:
    """What a split's values are, for who does not want to read them all; JSON content.

    Attributes:
        num_empty: texts (or lists of tokens) that are empty; their rows are left out.
        counts: for each field of labels or tags, how often each value occurs.
        numbers: for each text field, how many texts are numbers, and the first of them.
        malformed: for each field of tags, how many rows break their scheme, and the first of them.
    """

    num_empty: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    numbers: dict[str, tuple[int, str]] = field(default_factory=dict)
    malformed: dict[str, tuple[int, str]] = field(default_factory=dict)


def field_table(
    rows: datasets.Dataset,
    split: str,
    specs: Mapping[str, FieldSpec],
    kinds: Mapping[str, FieldKind],
    *,
    key: Sequence[str],
    cache: Path,
    where: str,
) -> tuple[pa.Table, SplitFacts]:
    """Parse a split's fields, or open what an earlier run has parsed.

    Args:
        rows: the split.
        split: its name, for messages.
        specs: field to the spec's section.
        kinds: field to its kind.
        key: what identifies the rows.
        cache: folder of all caches.
        where: key path of the fields, for messages.

    Returns:
        One row for each of the split's: the targets; ``COMPLETE``, whether the row has all fields; and
        ``CONTENT``, uint64, a hash of the inputs without regard to case and spacing.

    Raises:
        DataError: with every problem.
    """
    columns = [[n, s.model_dump(), kinds[n].value, rows.features[s.column]] for n, s in specs.items()]
    path = table_path(cache, "fields", _VERSION, *key, columns)
    facts = path.with_suffix(".json")
    if _facts_of(facts) is None:
        path.unlink(missing_ok=True)

    def make() -> Iterator[pa.RecordBatch]:
        one = _Pass(rows, specs, kinds)
        yield from one.batches(rows)
        raise_all(DataError, list(one.problems(len(rows), split, where)))
        write_json(facts, asdict(one.facts))

    table = stored_table(path, make)
    found = _facts_of(facts)
    assert found is not None
    return table, found


def _facts_of(file: Path) -> SplitFacts | None:
    """Return what was written of a split, None where nothing was or it is damaged: it is made again."""
    try:
        return SplitFacts(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


class _Pass:
    def __init__(
        self, rows: datasets.Dataset, specs: Mapping[str, FieldSpec], kinds: Mapping[str, FieldKind]
    ) -> None:
        self.facts = SplitFacts(counts={n: {} for n, k in kinds.items() if k in _NAMED})
        self._specs = specs
        self._kinds = kinds
        self._inputs = sorted(name for name, kind in kinds.items() if kind.is_input)
        self._parsers = {n: value_parser(kinds[n], s, rows.features[s.column]) for n, s in specs.items()}
        self._unusable: dict[str, list[str]] = {name: [] for name in specs}  # complaints
        self._unequal: dict[str, list[str]] = {n: [] for n, k in kinds.items() if k is FieldKind.TAGS}

    def batches(self, rows: datasets.Dataset) -> Iterator[pa.RecordBatch]:
        for number, batch in enumerate(row_batches(rows, (spec.column for spec in self._specs.values()))):
            start = number * ROWS_AT_ONCE
            values = {n: self._parse(n, batch[s.column], start) for n, s in self._specs.items()}
            self._compare_lengths(values, start)
            complete = [None not in row for row in zip(*values.values(), strict=True)]
            self._count(values, complete)
            targets = {n: pa.array(v, t) for n, v in values.items() if (t := _TYPES.get(self._kinds[n]))}
            contents = zip(*(values[name] for name in self._inputs), strict=True)
            hashes = [_hash(row) if None not in row else 0 for row in contents]
            yield pa.RecordBatch.from_pydict(
                {**targets, COMPLETE: pa.array(complete, pa.bool_()), CONTENT: pa.array(hashes, pa.uint64())}
            )

    def problems(self, num_rows: int, split: str, where: str) -> Iterator[Problem]:
        for name, found in self._unusable.items():
            if found:
                what = f"{len(found)} of {num_rows} values in {split} cannot be used; the first, {found[0]}"
                yield Problem(f"{where}.{name}", what)
        for name, found in self._unequal.items():
            if found:
                what = f"{len(found)} rows of {split} have another number of tags than tokens"
                yield Problem(f"{where}.{name}", f"{what}; the first, {found[0]}")

    def _parse(self, name: str, raw: Sequence[Any], start: int) -> list[Any]:
        values = []
        for row, value in enumerate(raw, start):
            try:
                values.append(self._parsers[name](value))
                if values[-1] and self._kinds[name] is FieldKind.TAGS:
                    self._check_scheme(name, value, f"row {row}")
            except UnusableError as error:
                values.append(None)
                self._unusable[name].append(f"row {row}: {error}")
        return values

    def _check_scheme(self, name: str, raw: Sequence[Any], where: str) -> None:
        scheme = self._specs[name].scheme
        if all(isinstance(tag, str) for tag in raw) and not is_well_formed(raw, scheme):
            count, first = self.facts.malformed.get(name, (0, where))
            self.facts.malformed[name] = (count + 1, first)

    def _compare_lengths(self, values: Mapping[str, Sequence[Any]], start: int) -> None:
        tokens = next((values[n] for n, kind in self._kinds.items() if kind is FieldKind.TOKENS), ())
        for name, found in self._unequal.items():
            for row, (words, tags) in enumerate(zip(tokens, values[name], strict=False), start):
                if words and tags and len(words) != len(tags):
                    found.append(f"row {row}: {len(tags)} tags, {len(words)} tokens")
        self._compare_answers(values, start)
        self._compare_choices(values, start)
        spans = next(((n, values[n]) for n, kind in self._kinds.items() if kind is FieldKind.SPANS), None)
        if spans is not None:
            for row, (words, pair) in enumerate(zip(tokens, spans[1], strict=True), start):
                if words and pair and max(pair["end"]) > len(words):
                    self._unusable[spans[0]].append(f"row {row}: {pair['end']} of {len(words)} tokens")

    def _compare_answers(self, values: Mapping[str, Sequence[Any]], start: int) -> None:
        for name in (n for n, kind in self._kinds.items() if kind is FieldKind.ANSWERS):
            rows = zip(values["context"], values[name], strict=True)
            for row, (context, answers) in enumerate(rows, start):
                for one in answers or () if context else ():
                    there = context[one["start"] : one["start"] + len(one["text"])]
                    if there != one["text"] or not there:
                        what = (
                            f"{one['text'][:40]!r} is not at {one['start']}: the context has {there[:40]!r}"
                        )
                        self._unusable[name].append(f"row {row}: {what}")

    def _compare_choices(self, values: Mapping[str, Sequence[Any]], start: int) -> None:
        kinds = {kind: name for name, kind in self._kinds.items()}
        if FieldKind.CHOICE not in kinds:
            return
        name, texts = kinds[FieldKind.CHOICE], values[kinds[FieldKind.TEXTS]]
        for row, (choice, candidates) in enumerate(zip(values[name], texts, strict=True), start):
            if candidates is not None and choice is not None and choice >= len(candidates):
                self._unusable[name].append(f"row {row}: {choice} of {len(candidates)} candidates, from 0")

    def _count(self, values: Mapping[str, Sequence[Any]], complete: Sequence[bool]) -> None:
        facts = self.facts
        facts.num_empty += sum(value is None for name in self._inputs for value in values[name])
        for name, kind in self._kinds.items():
            kept = [value for value, whole in zip(values[name], complete, strict=True) if whole]
            if kind is FieldKind.TEXT:
                numbers = [text for text in kept if is_number(text)]
                count, first = facts.numbers.get(name, (0, ""))
                facts.numbers[name] = (count + len(numbers), first or (numbers[0] if numbers else ""))
            elif kind in _NAMED:
                names = kept if kind is FieldKind.LABEL else (one for several in kept for one in several)
                counts = facts.counts[name]
                for one in names:
                    counts[one] = counts.get(one, 0) + 1


def is_number(text: str) -> bool:
    """Whether Python reads a text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _hash(row: tuple[Any, ...]) -> int:
    content = normalized(row).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
