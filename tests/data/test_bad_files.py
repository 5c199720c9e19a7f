"""Files that are not what the spec says: one message with the place, whatever a library would have raised."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from sslm_platform.data import sources
from sslm_platform.data.load import load_stream
from sslm_platform.errors import DataError


@pytest.fixture
def load(tmp_path, stream_spec):
    return lambda **overrides: load_stream(stream_spec(**overrides), base=tmp_path, cache=tmp_path / "cache")


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        (b'{"text": "a"}\n', {"name": "jsonl", "encoding": "hex"}, "rows: unknown encoding 'hex'"),
        (b'{"text": ' + b"[" * 100_000 + b"\n", {"name": "jsonl"}, "rows:1: JSON that is nested too deep"),
        (
            b'{"text": 1}\n{"text": 99999999999999999999}\n',
            {"name": "jsonl"},
            "column 'text' does not hold one",
        ),
        (
            b"question,review\na,b\n",
            {"name": "subjqa"},
            "rows: not SubjQA's CSV: no column 'human_ans_indices'",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, load, content, form, message):
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(data={"source": "files", "path": "rows", "format": form})


def test_a_truncated_gzip_file_of_two_in_parallel_is_named(tmp_path, load):
    whole = gzip.compress(b"a\nb\nc\n" * 1000)
    (tmp_path / "en.gz").write_bytes(whole)
    (tmp_path / "de.gz").write_bytes(whole[: len(whole) // 2])
    data = {"source": "parallel", "columns": {"text": "en.gz", "label": "de.gz"}}
    with pytest.raises(DataError, match=r"de\.gz: not a gzip file"):
        load(data=data)


def test_members_of_one_name_in_two_archives_are_two(tmp_path, load, monkeypatch):
    def tar(members):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return out.getvalue()

    rows = {lang: b"".join(b'{"text": "%s %d", "label": "x"}\n' % (lang.encode(), i) for i in range(9))
            for lang in ("en", "de")}  # fmt: skip
    outer = tar({f"p/{lang}.tar": tar({"train.jsonl": content}) for lang, content in rows.items()})
    (tmp_path / "outer").write_bytes(outer)
    monkeypatch.setattr(sources, "fetch_archive", lambda *args, **kwargs: tmp_path / "outer")
    members = [f"p/{lang}.tar!train.jsonl" for lang in rows]
    data = {"source": "archive", "package": "some==1.0", "sha256": "0" * 64, "member": members,
            "format": {"name": "jsonl"}}  # fmt: skip
    found = load(data=data)
    assert sum(map(len, found.splits.values())) == 18
