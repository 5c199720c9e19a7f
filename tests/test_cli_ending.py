"""What the system refuses is one message, not a traceback; what we did wrong stays one."""

import errno
import os

import pytest

from sslm_platform.cli_ending import run_to_end


def refusing(number):
    def command():
        raise OSError(number, os.strerror(number), "/there/file")

    return command


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "error: /there/file: No space left on device; make room, and run it again\n"),
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


def test_other_errors_of_the_system_are_ours():
    with pytest.raises(FileNotFoundError):
        run_to_end(refusing(errno.ENOENT))
