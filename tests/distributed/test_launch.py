import os
import signal
import subprocess
import sys

import pytest
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from sslm_platform.engine import launch
from sslm_platform.signals import LOST_PEER

pytestmark = pytest.mark.distributed

LAUNCH = "import sys; from sslm_platform.engine.launch import launch; sys.exit(launch(sys.argv[1:], 2))"
CHILD = """
import os, signal, sys, time
rank, case = int(os.environ["RANK"]), sys.argv[1]
print(f"rank {rank} of {os.environ['WORLD_SIZE']}, threads {os.environ['OMP_NUM_THREADS']}", flush=True)
if case == "fail" and rank == 1:
    sys.exit("rank one cannot go on")
if case == "kill" and rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if case == "raise":
    import torch.distributed as dist, torch
    from sslm_platform.cli_ending import run_to_end
    def work():
        dist.init_process_group("gloo")
        if rank == 1:
            raise ValueError("the real reason")
        dist.all_reduce(torch.ones(1))
    run_to_end(work)
if case != "fine":
    time.sleep(60)
"""


def start(tmp_path, case, **environment):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    inherited = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    return subprocess.run(
        [sys.executable, "-c", LAUNCH, str(script), case],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=50,  # less than the surviving rank would sleep
    )


def test_rank_0_speaks_for_all_and_threads_are_set(tmp_path):
    done = start(tmp_path, "fine", OMP_NUM_THREADS="3")
    assert (done.returncode, done.stdout, done.stderr) == (0, "rank 0 of 2, threads 3\n", "")


def test_a_failing_rank_ends_all_and_its_words_and_code_come_through(tmp_path):
    done = start(tmp_path, "fail")
    assert done.returncode == 1
    assert "rank 1 of 2 failed" in done.stderr
    assert "rank one cannot go on" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_rank_that_raised_is_named_and_not_the_one_that_lost_it(tmp_path):
    done = start(tmp_path, "raise")
    assert done.returncode == 1
    assert "rank 1 of 2 failed" in done.stderr
    assert "ValueError: the real reason" in done.stderr


@pytest.mark.parametrize(
    ("failures", "cause", "others"),
    [
        ({0: (LOST_PEER, 0), 1: (1, 0)}, 1, [1]),
        ({0: (-signal.SIGKILL, 31), 1: (2, 0)}, 1, [1]),  # it did not end when it was asked to
        ({0: (1, 0), 1: (-signal.SIGKILL, 0)}, 1, [1]),
        ({0: (2, 0), 1: (2, 0), 2: (2, 0)}, 0, []),  # all found the same, and rank 0 has said it
        ({0: (-signal.SIGTERM, 0), 1: (128 + signal.SIGTERM, 0), 2: (2, 1), 3: (2, 1)}, 2, [2, 3]),
        ({0: (-signal.SIGABRT, 0), 1: (1, 1)}, 1, [1]),
        ({0: (LOST_PEER, 0), 1: (LOST_PEER, 0)}, 0, []),  # on another host
    ],
)
def test_the_rank_that_began_it_is_found(failures, cause, others):
    found = {}
    for rank, (code, seconds) in failures.items():
        found[rank] = ProcessFailure(local_rank=rank, pid=1, exitcode=code, error_file="/none")
        found[rank].timestamp = 1000 + seconds
    error = ChildFailedError("name", found)
    assert launch._cause(error)[0] == cause
    assert launch._to_show(cause, error) == others


def test_what_the_ranks_are_told_is_not_left_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = dict(os.environ)
    with launch._of_ranks_alone(2):
        assert os.environ["OMP_NUM_THREADS"].isdigit()
    assert dict(os.environ) == before


def test_a_killed_rank_gives_the_signals_code(tmp_path):
    assert start(tmp_path, "kill").returncode == 128 + 9
