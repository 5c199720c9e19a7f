"""What the system refuses is one message, not a traceback; what we did wrong stays one."""

import errno
import os

import pytest

from sslm_platform.cli_ending import run_to_end
from sslm_platform.signals import LAUNCHED, LOST_PEER


def refusing(number):
    def command():
        raise OSError(number, os.strerror(number), "/there/file")

    return command


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "error: /there/file: No space left on device; make room, and run it again\n"),
        (
            errno.ENOTDIR,
            "error: /there/file: Not a directory; there is a file where a folder belongs, or a folder where a"
            " file does\n",
        ),
        (
            errno.EROFS,
            "error: /there/file: Read-only file system; --out and --cache name folders that can be written\n",
        ),
        (
            errno.EACCES,
            "error: /there/file: Permission denied; --out and --cache name folders that can be written\n",
        ),
    ],
)
def test_what_the_system_refuses_is_one_message(number, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run_to_end(refusing(number))
    assert stop.value.code == 2
    assert capsys.readouterr().err == message


class DistBackendError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer"),
        DistBackendError("NCCL error"),
    ],
)
def test_a_rank_that_lost_another_says_so_with_a_code_of_its_own(error, capsys, monkeypatch):
    def command():
        raise error

    with pytest.raises(RuntimeError):
        run_to_end(command)
    monkeypatch.setenv(LAUNCHED, "1")
    with pytest.raises(SystemExit) as stop:
        run_to_end(command)
    assert stop.value.code == LOST_PEER
    assert capsys.readouterr().err == f"another rank is gone, as it seems (--debug shows where): {error}\n"


def test_other_errors_of_the_system_are_ours():
    with pytest.raises(FileNotFoundError):
        run_to_end(refusing(errno.ENOENT))
