"""A small real tokenizer, and streams from rows written to a temporary folder."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sslm_platform.data.load import StreamRows, load_stream
from sslm_platform.spec.schema import StreamSpec

WORDS = "the a cat dog sat on mat good bad film red box un ##able believ ##ing play"


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Uncased WordPiece over a few words and single ASCII letters: other characters are unknown."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    names = [*special, *WORDS.split(), *letters, *(f"##{c}" for c in letters)]
    backend = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def task_spec(**overrides: Any) -> dict[str, Any]:
    """A classification task, changed by top-level keys."""
    return {
        "name": "mood",
        "fields": {"text": "text", "label": "label"},
        "objective": {"name": "cross_entropy"},
        "head": {"name": "sequence_classifier"},
        "metrics": ["accuracy"],
    } | overrides


def stream_spec(**overrides: Any) -> StreamSpec:
    """A stream over `rows.jsonl` with one task, changed by top-level keys."""
    content: dict[str, Any] = {
        "name": "pets",
        "domain": "home",
        "data": {"source": "files", "path": "rows.jsonl", "format": {"name": "jsonl"}},
        "split": {"by": "hash"},
        "tasks": [task_spec()],
    }
    return StreamSpec.model_validate(content | overrides)


@pytest.fixture(name="task_spec")
def task_spec_fixture() -> Callable[..., dict[str, Any]]:
    return task_spec


@pytest.fixture(name="stream_spec")
def stream_spec_fixture() -> Callable[..., StreamSpec]:
    return stream_spec


@pytest.fixture
def given_rows(tmp_path: Path) -> Callable[..., tuple[StreamSpec, StreamRows]]:
    """Load a stream with these rows as its splits."""

    def load(
        *, train: list[dict], dev: list[dict], test: list[dict], **overrides: Any
    ) -> tuple[StreamSpec, StreamRows]:
        paths = {}
        for split, rows in {"train": train, "dev": dev, "test": test}.items():
            write_jsonl(tmp_path / f"{split}.jsonl", rows)
            paths[split] = f"{split}.jsonl"
        data = {"source": "files", "path": paths, "format": {"name": "jsonl"}}
        spec = stream_spec(**({"data": data, "split": {"by": "given"}} | overrides))
        return spec, load_stream(spec, base=tmp_path, cache=tmp_path / "cache")

    return load


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
