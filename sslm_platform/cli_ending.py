"""How a command ends: an error that input caused, or a signal, is one message and an exit code."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import NoReturn

import typer

from sslm_platform.errors import Interrupted, Problem, RunError, SslmError
from sslm_platform.files import FORBIDDEN, NO_SPACE, OTHER_KIND
from sslm_platform.signals import LAUNCHED, LOST_PEER, interrupting

INTERRUPTED = 130  # what typer makes of Ctrl-C


def run_to_end(command: Callable[[], object]) -> None:
    """Run a command line: input that is wrong exits with 2, a signal with 128 and its number."""
    try:
        with interrupting():
            command()
    except Interrupted as stop:
        _say_how_to_go_on(str(stop))
        sys.exit(128 + stop.number)
    except SslmError as error:
        _fail(error)
    except OSError as error:
        if error.errno in NO_SPACE:
            what = "make room, and run it again"
        elif error.errno in FORBIDDEN:
            what = "--out and --cache name folders that can be written"
        elif error.errno in OTHER_KIND:
            what = "there is a file where a folder belongs, or a folder where a file does"
        else:
            raise
        _fail(RunError(Problem(str(error.filename or ""), f"{error.strerror}; {what}")))
    except RuntimeError as error:
        if LAUNCHED not in os.environ or "--debug" in sys.argv or not _is_of_a_lost_peer(error):
            raise
        typer.secho(f"another rank is gone, as it seems (--debug shows where): {error}", err=True)
        sys.exit(LOST_PEER)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _say_how_to_go_on("interrupted")
        raise


def _is_of_a_lost_peer(error: RuntimeError) -> bool:
    """Whether it is a collective's: torch's errors of its backends and stores, and gloo's own."""
    return type(error).__name__.startswith("Dist") or "gloo/transport" in str(error)


def _fail(error: SslmError) -> NoReturn:
    if "--debug" in sys.argv:
        raise error
    typer.secho(f"error: {error}" if len(error.problems) == 1 else _many(error), err=True, fg="red")
    sys.exit(2)


def _many(error: SslmError) -> str:
    lines = "\n".join(f"  {problem}" for problem in error.problems)
    return f"{len(error.problems)} errors:\n{lines}"


def _say_how_to_go_on(what: str) -> None:
    """Say it once: ranks of another launcher leave it to rank 0, those of ``--nproc`` to their parent."""
    if os.environ.get("RANK", "0") == "0" and LAUNCHED not in os.environ:
        words = [word for word in sys.argv[1:] if word != "--restart"]
        command = "the same command" if "RANK" in os.environ else f"`{shlex.join(['sslm', *words])}`"
        typer.secho(f"{what}; {command} goes on from what is saved", err=True)
