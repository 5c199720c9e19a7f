"""What a process does when it is asked to stop, once and twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from sslm_platform.errors import Interrupted
from sslm_platform.signals import deferring, interrupting

PROGRAM = """
import sys, time
from sslm_platform.signals import deferring
with deferring() as pending:
    print("ready", flush=True)
    while pending.number is None:
        time.sleep(0.01)
    print(pending.number, flush=True)
    time.sleep(float(sys.argv[1]))
print("over", flush=True)
"""


def start(seconds):
    command = [sys.executable, "-c", PROGRAM, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_first_is_noted_and_what_comes_with_it_is_no_second():
    process = start(0.5)
    process.terminate()
    assert process.stdout.readline() == f"{int(signal.SIGTERM)}\n"
    process.send_signal(signal.SIGINT)  # a launcher's, say, where the batch system has sent one as well
    assert process.communicate()[0] == "over\n"
    assert process.returncode == 0


def test_a_second_ends_the_process_at_once():
    process = start(60)
    process.terminate()
    process.stdout.readline()
    time.sleep(1.2)
    process.terminate()
    assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == -signal.SIGTERM


def test_handlers_are_those_of_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with interrupting():
        with deferring() as pending:
            signal.raise_signal(signal.SIGINT)
        assert pending.number == signal.SIGINT
        with pytest.raises(Interrupted, match="stopped by SIGTERM"):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_that_may_not_handle_signals_trains_without():
    seen = []

    def work():
        with deferring() as pending:
            seen.append(pending.number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
