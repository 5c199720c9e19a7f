"""A file to columns, some rows at a time: one reader for each ``format`` of a spec."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice, zip_longest
from typing import IO, Any, TextIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from sslm_platform.data.answers import squad_rows, subjqa_rows
from sslm_platform.data.catalogues import read_catalogue
from sslm_platform.data.conversations import read_conversations
from sslm_platform.data.documents import block_rows, json_rows
from sslm_platform.data.markup import read_tagged_xml
from sslm_platform.data.relations import relation_rows, semeval_rows
from sslm_platform.data.tables import ROWS_AT_ONCE, Columns
from sslm_platform.data.templates import template_rows
from sslm_platform.errors import DataError, Problem
from sslm_platform.spec.data import (
    BlocksFormat,
    CatalogueFormat,
    ConllFormat,
    ConlluFormat,
    ConversationsFormat,
    DelimitedFormat,
    Format,
    JsonFormat,
    JsonLinesFormat,
    ParquetFormat,
    RelationsFormat,
    SemevalRelationsFormat,
    SquadFormat,
    SubjqaFormat,
    TaggedXmlFormat,
    TemplatesFormat,
    TextFormat,
)

Opener = Callable[[], IO[bytes]]
"""Opens the file, not compressed, at its beginning."""

_Row = TypeVar("_Row")

_CONLLU = ("tokens", "lemmas", "upos", "xpos")
_BLANKS = re.compile(r"[ \t]+")
_NO_WORD = re.compile(r"\d+[-.]\d+\t")
_LONGEST_VALUE = (1 << 31) - 1


def read_batches(content: Opener, form: Format, *, where: str) -> Iterator[Columns]:
    """Parse one file.

    Args:
        content: opens the file.
        form: the spec's ``format`` section.
        where: the file's name, for messages.

    Yields:
        Column name to the values of the next rows; a column that these rows lack may be missing.

    Raises:
        DataError: the content is not in that format, with the line.
    """
    reader: Callable[[Opener, Any, str], Iterator[Columns]] = _READERS[type(form)]
    return reader(content, form, where)


@contextmanager
def _text_of(content: Opener, encoding: str, where: str, newline: str = "\n") -> Iterator[TextIO]:
    """Open a file as text, decoded strictly; a byte order mark is dropped."""
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)  # hex and the like are no encodings of text
    except LookupError:
        raise DataError(
            Problem(where, f"unknown encoding {encoding!r}; try utf-8, cp1252 or latin-1")
        ) from None
    codec = "utf-8-sig" if codec == "utf-8" else codec
    with content() as stream, io.TextIOWrapper(stream, codec, newline=newline) as text:
        try:
            yield text
        except UnicodeDecodeError:
            raise DataError(_undecodable(content, codec, encoding, where)) from None


def _undecodable(content: Opener, codec: str, encoding: str, where: str) -> Problem:
    """Find the line of a byte that the encoding does not have: a stream's errors do not tell."""
    with content() as stream:
        whole = stream.read()
    try:
        whole.decode(codec)
    except UnicodeDecodeError as error:
        line = whole[: error.start].count(b"\n") + 1
        byte = f"byte 0x{whole[error.start]:02x} at line {line}"
        return Problem(where, f"not {encoding}: {byte}; set format.encoding (say cp1252)")
    raise AssertionError(where)


def _batched(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Cut rows into lists of ``ROWS_AT_ONCE``; at least one list, perhaps empty."""
    iterator = iter(rows)
    batch = list(islice(iterator, ROWS_AT_ONCE))
    yield batch
    while batch := list(islice(iterator, ROWS_AT_ONCE)):
        yield batch


def read_parallel(
    contents: Mapping[str, tuple[str, Opener]], encoding: str, words: Iterable[str] = ()
) -> Iterator[Columns]:
    """Parse files that go line by line together; column name to the file's name and content.

    The lines of the columns ``words`` are split at ASCII blanks.

    Raises:
        DataError: the files differ in their numbers of lines.
    """
    with ExitStack() as stack:
        texts = {
            column: stack.enter_context(_text_of(content, encoding, where))
            for column, (where, content) in contents.items()
        }
        for batch in _batched(_aligned(texts, {c: where for c, (where, _) in contents.items()})):
            columns = {column: [row[i] for row in batch] for i, column in enumerate(texts)}
            yield {c: list(map(_split, v)) if c in words else v for c, v in columns.items()}


def _split(line: str) -> list[str] | None:
    return _BLANKS.split(line) if line else None


def _aligned(texts: Mapping[str, TextIO], names: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    for number, lines in enumerate(zip_longest(*texts.values()), 1):
        short = [names[column] for column, line in zip(texts, lines, strict=True) if line is None]
        if short:
            others = ", ".join(name for name in names.values() if name not in short)
            raise DataError(Problem(short[0], f"ends before line {number}, which {others} has"))
        yield tuple(line.strip() for line in lines)


def _delimited(content: Opener, form: DelimitedFormat, where: str) -> Iterator[Columns]:
    quoting = form.quoting if form.quoting is not None else form.name == "csv"
    with _text_of(content, form.encoding, where, newline="") as text:
        reader = csv.reader(
            text,
            delimiter="," if form.name == "csv" else "\t",
            quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
            strict=True,
        )
        previous = csv.field_size_limit(_LONGEST_VALUE)
        try:
            rows = (row for row in reader if row)
            names = form.columns or next(rows, [])
            if len(set(names)) != len(names):
                raise DataError(Problem(where, f"two columns have one name: {', '.join(names)}"))
            whole = (_checked(row, names, f"{where}:{reader.line_num}") for row in rows)
            for batch in _batched(whole):
                yield {name: [row[i] for row in batch] for i, name in enumerate(names)}
        except csv.Error as error:
            hint = "; set format.quoting: false if quotes are text" if quoting else ""
            raise DataError(Problem(f"{where}:{reader.line_num}", f"{error}{hint}")) from None
        finally:
            csv.field_size_limit(previous)


def _checked(row: list[str], names: list[str], where: str) -> list[str]:
    if len(row) != len(names):
        raise DataError(Problem(where, f"{len(row)} values, expected {len(names)} ({', '.join(names)})"))
    return row


def _json_lines(content: Opener, form: JsonLinesFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        numbered = ((number, line) for number, line in enumerate(text, 1) if line.strip())
        rows = (_of_lists(_json_object(line, w := f"{where}:{n}"), form, w) for n, line in numbered)
        yield from _filled(rows)


def _json(content: Opener, form: JsonFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        rows = json_rows(text.read(), form.columns, form.key, where)
        yield from _filled(_of_lists(row, form, where) for row in rows)


def _blocks(content: Opener, form: BlocksFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        yield from _filled(block_rows(text.read(), form.item, where))


def _templates(content: Opener, form: TemplatesFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        yield from _filled(template_rows(text.read(), form.per_template, form.fill, where))


def _filled(rows: Iterable[Mapping[str, Any]]) -> Iterator[Columns]:
    """Make columns of rows; what a row lacks is no value."""
    for batch in _batched(rows):
        names = dict.fromkeys(name for row in batch for name in row)
        yield {name: [row.get(name) for row in batch] for name in names}


def _of_lists(row: dict[str, Any], form: JsonLinesFormat | JsonFormat, where: str) -> dict[str, Any]:
    """Make texts of the lists that the format names; an empty list has no value."""
    for name in (*form.join, *form.first):
        values = row.get(name)
        if values is None:
            continue
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise DataError(Problem(where, f"{name} is no list of texts, which join and first are for"))
        joined = form.join[name].join(values) if name in form.join else next(iter(values), None)
        row[name] = joined or None
    return row


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        place = min(error.pos, len(line.rstrip())) + 1
        raise DataError(Problem(where, f"not JSON: {error.msg} at character {place}")) from None
    except RecursionError:
        raise DataError(Problem(where, "JSON that is nested too deep")) from None
    if not isinstance(row, dict):
        raise DataError(Problem(where, f"expected a JSON object; got {type(row).__name__}"))
    return row


def _parquet(content: Opener, form: ParquetFormat, where: str) -> Iterator[Columns]:
    with content() as stream:
        try:
            with pq.ParquetFile(stream) as file:
                yield {name: [] for name in file.schema_arrow.names}
                for batch in file.iter_batches(ROWS_AT_ONCE):
                    yield batch.to_pydict()
        except pa.ArrowException as error:
            raise DataError(Problem(where, f"not a Parquet file: {error}")) from None


def _conll(content: Opener, form: ConllFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        for batch in _batched(_sentences(text, form, where)):
            columns = enumerate(form.columns)
            yield {name: [s[i] for s in batch] for i, name in columns if name != "_"}


def _sentences(text: Iterable[str], form: ConllFormat, where: str) -> Iterator[list[list[str]]]:
    """Yield each sentence's columns."""
    sentence: list[list[str]] = []
    for number, raw in enumerate(text, 1):
        # Only ASCII blanks separate: a no-break space can be (part of) a token.
        line = raw.rstrip("\n").rstrip("\r") if form.separator else raw.strip(" \t\r\n")
        if not line.strip(" \t"):
            yield from _ended(sentence)
            sentence = []
        elif form.comment is None or not line.startswith(form.comment):
            values = line.split(form.separator) if form.separator else re.split(r"[ \t]+", line)
            if len(values) != len(form.columns):
                what = f"{len(values)} columns, expected {len(form.columns)} ({', '.join(form.columns)})"
                raise DataError(Problem(f"{where}:{number}", what))
            sentence.append(values)
    yield from _ended(sentence)


def _conllu(content: Opener, form: ConlluFormat, where: str) -> Iterator[Columns]:
    columns = ["id", *_CONLLU, "feats", "head", "deprel", "deps", "misc"]
    plain = ConllFormat(name="conll", columns=columns, separator="\t", comment="#")
    with _text_of(content, form.encoding, where) as text:
        for batch in _batched(_sentences(_words(text), plain, where)):
            yield {name: [s[i] for s in batch] for i, name in enumerate(_CONLLU, 1)}


def _words(lines: Iterable[str]) -> Iterator[str]:
    """Leave out what is no syntactic word: written words of several (``1-2``), and empty nodes (``1.1``)."""
    return ("#\n" if _NO_WORD.match(line) else line for line in lines)


def _ended(sentence: list[list[str]]) -> Iterator[list[list[str]]]:
    if sentence and not sentence[0][0].startswith("-DOCSTART-"):
        yield [list(values) for values in zip(*sentence, strict=True)]


def _text(content: Opener, form: TextFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as lines:
        stripped = (line.strip() for line in lines)
        units = filter(None, stripped) if form.unit == "line" else _paragraphs(stripped)
        for batch in _batched(units):
            yield {"text": batch}


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in lines:
        if line:
            paragraph += line.split()
        elif paragraph:
            yield " ".join(paragraph)
            paragraph = []
    if paragraph:
        yield " ".join(paragraph)


def _tagged_xml(content: Opener, form: TaggedXmlFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        tokens, tags = read_tagged_xml(text.read(), form.item, where)
    yield {"tokens": tokens, "tags": tags}


def _squad(content: Opener, form: SquadFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        for batch in _batched(squad_rows(text.read(), where)):
            yield _transposed(batch, ("id", "title", "paragraph", "question", "context", "answers"))


def _subjqa(content: Opener, form: SubjqaFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where, newline="") as text:
        for batch in _batched(subjqa_rows(text, where)):
            yield _transposed(batch, ("id", "item", "question", "context", "answers"))


def _catalogue(content: Opener, form: CatalogueFormat, where: str) -> Iterator[Columns]:
    with content() as stream:
        yield read_catalogue(stream.read(), where)


def _semeval(content: Opener, form: SemevalRelationsFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        for batch in _batched(semeval_rows(text, where)):
            yield _transposed(batch, ("id", "tokens", "spans", "label"))


def _relations(content: Opener, form: RelationsFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        numbered = ((f"{where}:{number}", line) for number, line in enumerate(text, 1) if line.strip())
        rows = (
            row for place, line in numbered for row in relation_rows(_json_object(line, place), form, place)
        )
        for batch in _batched(rows):
            yield _transposed(batch, ("id", "tokens", "spans", "labels", "label"))


def _transposed(rows: list[dict[str, Any]], names: Iterable[str]) -> Columns:
    return {name: [row[name] for row in rows] for name in names}


def _conversations(content: Opener, form: ConversationsFormat, where: str) -> Iterator[Columns]:
    with _text_of(content, form.encoding, where) as text:
        yield read_conversations(text.read(), where)


_READERS: dict[type, Callable[[Opener, Any, str], Iterator[Columns]]] = {
    CatalogueFormat: _catalogue,
    ConversationsFormat: _conversations,
    DelimitedFormat: _delimited,
    BlocksFormat: _blocks,
    JsonFormat: _json,
    JsonLinesFormat: _json_lines,
    ParquetFormat: _parquet,
    ConllFormat: _conll,
    ConlluFormat: _conllu,
    TextFormat: _text,
    TaggedXmlFormat: _tagged_xml,
    TemplatesFormat: _templates,
    SemevalRelationsFormat: _semeval,
    RelationsFormat: _relations,
    SquadFormat: _squad,
    SubjqaFormat: _subjqa,
}
