import os

import pytest

from sslm_platform.engine import threads


@pytest.fixture
def sixteen(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000\n", 16), ("250000 100000\n", 2), ("50000 100000\n", 1), ("9900000 100000\n", 16)],
)
def test_a_containers_quota_counts(sixteen, tmp_path, quota, cores):
    path = tmp_path / "cpu.max"
    path.write_text(quota)
    assert threads.available_cores(path) == cores


def test_no_quota_file_means_no_quota(sixteen, tmp_path):
    assert threads.available_cores(tmp_path / "none") == 16


def test_ranks_share_the_cores_and_each_has_one_at_least(sixteen, monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 5)
    assert [threads.threads_per_rank(n) for n in (1, 2, 3, 8)] == [5, 2, 1, 1]
    assert threads.threads_per_rank(2, asked=4) == 4
