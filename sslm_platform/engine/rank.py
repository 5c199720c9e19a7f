"""What a launcher told this process, and its tie to the one that started it."""

from __future__ import annotations

import os
import threading
import time

_SECONDS = 1.0


def rank() -> int:
    """Return this process's rank: 0 where no launcher started it."""
    return int(os.environ.get("RANK", "0"))


def end_with_parent() -> None:
    """Let this process end soon after the one that started it.

    A launcher ends its ranks when it ends; one that is killed cannot, and they would train on for nobody.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_SECONDS)
        os._exit(1)  # the main thread may be inside a collective that will never return

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
