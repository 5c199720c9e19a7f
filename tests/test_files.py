"""Writes that a killed or a second process must not be able to spoil."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from sslm_platform.files import atomic_folder, atomic_path, write_json, write_once, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def fail():
        with atomic_path(tmp_path / "a.txt") as aside:
            aside.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_equal_values_are_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_the_first_writer_wins(tmp_path):
    path = tmp_path / "deep" / "file"
    assert write_once(path, "first") == "first"
    assert write_once(path, "second") == "first"
    assert list(path.parent.iterdir()) == [path]


def _write(task):
    path, text = task
    return write_once(path, text)


def test_of_processes_that_write_at_once_all_read_the_same(tmp_path):
    texts = [str(number) * 100_000 for number in range(8)]
    with ProcessPoolExecutor(4) as pool:
        read = set(pool.map(_write, [(tmp_path / "file", text) for text in texts]))
    assert len(read) == 1
    assert read <= set(texts)


@pytest.mark.parametrize("write", [atomic_path, atomic_folder])
def test_a_full_disk_is_said_with_what_was_to_be_written(tmp_path, write):
    with pytest.raises(OSError) as caught, write(tmp_path / "state"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "state"))
    assert not list(tmp_path.iterdir())
