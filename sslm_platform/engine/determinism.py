"""The same bits each time on a GPU too, so that a resumed training ends like one that never stopped."""

from __future__ import annotations

import os

import torch


def keep_deterministic(wanted: bool) -> None:
    """Let torch use, on a GPU, only operations that give the same bits each time; it names one that does not.

    On a CPU all that is used here does.
    """
    if not torch.cuda.is_available():
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    torch.use_deterministic_algorithms(wanted)
    # A check for errors that costs time; the setting is a property that type checkers do not see.
    vars(torch.utils)["deterministic"].fill_uninitialized_memory = False
