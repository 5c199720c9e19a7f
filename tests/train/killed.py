"""One rank of ``sslm train``, for a test that kills it: run in a process that has imported what is slow.

``ARGV``, ``ENVIRONMENT`` and ``LOG`` are given as globals.
"""

import os
import sys
from pathlib import Path

ARGV: list[str]
ENVIRONMENT: dict[str, str]
LOG: str

os.environ |= globals()["ENVIRONMENT"]
sys.argv = globals()["ARGV"]
descriptor = os.open(globals()["LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for stream in (1, 2):
    os.dup2(descriptor, stream)
Path(f"{globals()['LOG']}.started").touch()

from sslm_platform.cli import main  # noqa: E402

main()
