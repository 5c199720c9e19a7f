"""Large blocks that every step allocates anew, such as the gradient of an embedding matrix."""

from __future__ import annotations

import ctypes
import logging
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_BYTES = (1 << 31) - 1, 1 << 30

logger = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Let this process reuse large blocks that it has freed; return whether it does.

    glibc gives them back to the system, which clears page after page when the next step asks for as much: a
    tenth of a small step's time. Who sets malloc up through the environment is not overruled.
    """
    if platform.libc_ver()[0] != "glibc" or any(n.startswith(("MALLOC_", "GLIBC_TUN")) for n in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = zip((_TRIM_THRESHOLD, _MMAP_THRESHOLD), _BYTES, strict=True)
    refused = [name for name, value in settings if mallopt(name, value) != 1]
    logger.debug("options of mallopt that were refused: %s", refused)
    return not refused
