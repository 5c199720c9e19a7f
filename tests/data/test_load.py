import gzip
import hashlib
import json
import re
import shutil

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sslm_platform.data.load import load_stream
from sslm_platform.errors import DataError

ROWS = [{"text": f"the cat sat {i}", "label": "good" if i % 2 else "bad"} for i in range(40)]


def files(path, form="jsonl", **options):
    return {"source": "files", "path": path, "format": {"name": form, **options}}


def contents(rows):
    return {split: dataset.to_list() for split, dataset in rows.splits.items()}


def write(path, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(lines) if path.suffix == ".gz" else lines)


@pytest.fixture
def load(tmp_path, stream_spec):
    return lambda **overrides: load_stream(stream_spec(**overrides), base=tmp_path, cache=tmp_path / "cache")


def test_files_are_joined_by_glob_plain_or_gzipped_in_order_of_name(tmp_path, load):
    write(tmp_path / "b.jsonl.gz", ROWS[20:])
    write(tmp_path / "a.jsonl", ROWS[:20])
    rows = load(data=files(["*.jsonl*", "a.jsonl"]))
    assert sorted(r["text"] for split in contents(rows).values() for r in split) == sorted(
        r["text"] for r in ROWS
    )


def test_the_fingerprint_changes_with_content_and_split_and_with_nothing_else(tmp_path, load):
    write(tmp_path / "rows.jsonl", ROWS)
    write(tmp_path / "changed.jsonl", [*ROWS[:-1], {**ROWS[-1], "label": "bad!"}])
    write(tmp_path / "keys_in_other_order.jsonl", [dict(reversed(row.items())) for row in ROWS])
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    first = load().fingerprint
    assert re.fullmatch("[0-9a-f]{64}", first)
    same = [files("keys_in_other_order.jsonl"), files("rows.parquet", "parquet")]
    assert {load(data=data).fingerprint for data in same} == {first}
    other = {
        load(data=files("changed.jsonl")).fingerprint,
        load(split={"by": "hash", "train": 0.5, "dev": 0.25, "test": 0.25}).fingerprint,
    }
    assert len(other | {first}) == 3


def test_the_fingerprint_and_keys_are_pinned(tmp_path, load):
    """They name cached tokens and finished cells on every machine: a change must be meant."""
    write(tmp_path / "rows.jsonl", [{"text": "naïve", "label": "a"}] * 2)
    rows = load()
    digest = hashlib.sha256('{"label": "a", "text": "naïve"}'.encode()).digest()
    whole = b"train 0\ndev 0\ntest 2\n" + digest + digest
    assert rows.fingerprint == hashlib.sha256(whole).hexdigest()
    assert rows.keys["test"].tolist() == [3381260105057436895, 9356711223764053320]


def test_keys_follow_the_row_and_tell_copies_apart(tmp_path, load):
    write(tmp_path / "rows.jsonl", [*ROWS, ROWS[0]])
    write(tmp_path / "reversed.jsonl", [ROWS[0], *ROWS[::-1]])
    first, second = load(), load(data=files("reversed.jsonl"))
    for split, dataset in first.splits.items():
        assert len(np.unique(first.keys[split])) == len(dataset)
        assert sorted(first.keys[split]) == sorted(second.keys[split])
        assert first.keys[split].dtype == np.uint64


def test_a_datasets_folder_names_its_classes(tmp_path, load):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    part = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    datasets.DatasetDict({"train": part, "validation": part, "extra": part}).save_to_disk(tmp_path / "saved")
    rows = load(data={"source": "datasets", "path": "saved"}, split={"by": "given"})
    assert [len(rows.splits[s]) for s in ("train", "dev", "test")] == [2, 2, 0]
    with pytest.raises(
        DataError, match=r"streams\[0\]\.data\.splits\.test: no split 'extre' in saved; did you mean extra\?"
    ):
        load(
            data={"source": "datasets", "path": "saved", "splits": {"train": "train", "test": "extre"}},
            split={"by": "given"},
        )


def test_a_loadable_folder_is_read_without_a_hub(tmp_path, load):
    (tmp_path / "folder").mkdir()
    write(tmp_path / "folder" / "train.jsonl", ROWS)
    rows = load(data={"source": "datasets", "path": "folder"})
    assert sum(map(len, rows.splits.values())) == len(ROWS)


def test_a_data_set_that_is_nowhere_is_an_error_of_the_data(load, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=r"streams\[0\]\.data\.path: cannot load 'no/such-set'"):
        load(data={"source": "datasets", "path": "no/such-set"})


def test_only_some_rows_of_a_file_are_a_streams(tmp_path, load):
    write(tmp_path / "rows.jsonl", [{**row, "genre": "abc"[i % 3]} for i, row in enumerate(ROWS)])
    found = contents(load(data={**files("rows.jsonl"), "only": {"genre": ["a", "b"], "label": "good"}}))
    kept = {row["text"] for rows in found.values() for row in rows}
    assert kept == {r["text"] for i, r in enumerate(ROWS) if i % 3 < 2 and r["label"] == "good"}
    with pytest.raises(DataError, match=r"streams\[0\].data.only: no column 'gnre'; did you mean genre"):
        load(data={**files("rows.jsonl"), "only": {"gnre": "a"}})


def test_errors_of_files(tmp_path, load):
    with pytest.raises(DataError, match=r"streams\[0\]\.data\.path: no file matches 'none\*.jsonl' in "):
        load(data=files("none*.jsonl"))
    (tmp_path / "bad.jsonl.gz").write_bytes(b"plain")
    with pytest.raises(DataError, match=r"bad.jsonl.gz: not a gzip file"):
        load(data=files("bad.jsonl.gz"))
    write(tmp_path / "mixed.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": "x"}])
    with pytest.raises(DataError, match="column 'label' does not hold one kind of value: 1 and 'x'"):
        load(data=files("mixed.jsonl"))
    write(tmp_path / "x1.jsonl", [{"text": "a"}])
    write(tmp_path / "x2.jsonl", [{"texte": "a"}])
    with pytest.raises(DataError, match=r"x2.jsonl: columns texte; .*x1.jsonl has text"):
        load(data=files("x?.jsonl"))
    write(tmp_path / "test.jsonl", ROWS)
    with pytest.raises(DataError, match="given needs train; the data have test only"):
        load(data=files({"test": "test.jsonl"}), split={"by": "given"})


def parallel(**columns):
    return {"source": "parallel", "columns": columns}


def test_parallel_files_are_rows_by_their_lines_and_empty_lines_count(tmp_path, load):
    (tmp_path / "text.txt").write_text("one\n\nthree \u2028 three\n" * 20, encoding="utf-8")
    (tmp_path / "label.txt.gz").write_bytes(gzip.compress(b"a\nb\na\n" * 20))
    rows = contents(load(data=parallel(text="text.txt", label="label.txt.gz")))
    pairs = {(row["text"], row["label"]) for split in rows.values() for row in split}
    assert pairs == {("one", "a"), ("", "b"), ("three \u2028 three", "a")}


def test_parallel_files_of_given_splits(tmp_path, load):
    for split in ("train", "test"):
        (tmp_path / f"{split}.en").write_text(f"{split} one\n{split} two\n" * 5)
        (tmp_path / f"{split}.lab").write_text("x\ny\n" * 5)
    data = parallel(
        text={"train": "train.en", "test": "test.en"}, label={"train": "train.lab", "test": "test.lab"}
    )
    rows = contents(load(data=data, split={"by": "given", "dev_from_train": 0.5}))
    assert {row["text"] for row in rows["test"]} == {"test one", "test two"}
    assert {row["text"] for split in ("train", "dev") for row in rows[split]} == {"train one", "train two"}


def test_parallel_files_of_different_lengths_are_an_error_that_names_the_short_one(tmp_path, load):
    (tmp_path / "text.txt").write_text("one\ntwo\nthree\n")
    (tmp_path / "label.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"label\.txt: ends before line 3, which .*text\.txt has"):
        load(data=parallel(text="text.txt", label="label.txt"))
    with pytest.raises(DataError, match=r"columns\.label: no such file: .*lable\.txt"):
        load(data=parallel(text="text.txt", label="lable.txt"))
    with pytest.raises(ValueError, match="same splits"):
        load(data=parallel(text={"train": "text.txt"}, label="label.txt"))


def test_a_folder_that_is_saved_anew_is_read_anew(tmp_path, load):
    """A data set from a generator has the fingerprint of its function, whatever that yields."""
    data, seen = {"source": "datasets", "path": "saved"}, []
    for label in ("good", "bad"):
        rows = datasets.Dataset.from_list([{"text": f"{label} {i}", "label": label} for i in range(20)])
        rows._fingerprint = "same"
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        rows.save_to_disk(tmp_path / "saved")
        found = load(data=data)
        assert {row["label"] for split in contents(found).values() for row in split} == {label}
        seen.append(found.fingerprint)
    assert seen[0] != seen[1]


def pair_task(**fields):
    return {
        "name": "pair",
        "fields": {**fields, "label": "label"},
        "objective": {"name": "cross_entropy"},
        "head": {"name": "sequence_classifier"},
        "metrics": ["accuracy"],
    }


def test_a_text_is_in_one_split_whatever_other_tasks_read_beside_it(tmp_path, load):
    rows = [{"text": f"premise {i // 3}", "more": f"hypothesis {i}", "label": "a"} for i in range(300)]
    write(tmp_path / "rows.jsonl", rows)
    one = pair_task(text="text")
    two = pair_task(text="text", text_pair="more") | {"name": "other"}
    texts = [{row["text"] for row in split} for split in contents(load(tasks=[one, two])).values()]
    assert all(texts)
    assert sum(map(len, texts)) == len(set.union(*texts)) == 100


def test_tasks_that_read_no_column_in_common_need_a_group(tmp_path, load):
    write(tmp_path / "rows.jsonl", [{"text": str(i), "more": str(i // 2), "label": "a"} for i in range(20)])
    tasks = [pair_task(text="text"), pair_task(text="more") | {"name": "other"}]
    with pytest.raises(DataError, match=r"streams\[0\]\.split\.group: its tasks read no column in common"):
        load(tasks=tasks)
    assert load(tasks=tasks, split={"by": "hash", "group": "more"})


def test_only_takes_a_column_that_the_first_rows_lack(tmp_path, load):
    plain = [{"text": f"{i}", "label": "a"} for i in range(2100)]
    german = [{"text": f"de {i}", "label": "a", "lang": "de"} for i in range(30)]
    write(tmp_path / "rows.jsonl", [*plain, *german])
    rows = load(data=files("rows.jsonl") | {"only": {"lang": "de"}})
    assert sum(map(len, rows.splits.values())) == 30
    with pytest.raises(DataError, match=r"streams\[0\]\.data\.only: no column 'lnag'; did you mean lang\?"):
        load(data=files("rows.jsonl") | {"only": {"lnag": "de"}})
