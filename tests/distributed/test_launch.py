import os
import subprocess
import sys

import pytest

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


def test_a_killed_rank_gives_the_signals_code(tmp_path):
    assert start(tmp_path, "kill").returncode == 128 + 9
