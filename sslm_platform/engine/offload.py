"""What can be said of ZeRO-Offload without DeepSpeed: what is exact, and what this machine lacks."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sslm_platform.errors import Problem
from sslm_platform.spec.schema import EngineSpec

# These put DeepSpeed's own Adam beside torch's: two optimizers that round differently.
_NEED_OTHER_ADAM = ("ratio", "super_offload")


def check_offload(spec: EngineSpec) -> Iterator[Problem]:
    """Yield what is wrong with ``offload_optimizer`` and ``offload_param`` of a DeepSpeed config."""
    section = spec.config.get("zero_optimization")
    if not isinstance(section, Mapping):
        return
    for key, stages in (("offload_optimizer", (1, 2, 3)), ("offload_param", (3,))):
        where = f"engine.config.zero_optimization.{key}"
        if key not in section:
            continue
        given = section[key]
        if not isinstance(given, Mapping):
            yield Problem(where, f"must be a mapping, say {{device: cpu}}; got {given!r}")
        elif spec.zero_stage not in stages:
            yield Problem(where, f"needs engine.zero_stage {' or '.join(map(str, stages))}")
        else:
            yield from _optimizer(spec, given, where) if key == "offload_optimizer" else _param(given, where)


def _param(given: Mapping[str, Any], where: str) -> Iterator[Problem]:
    if given.get("device") == "nvme":
        yield Problem(f"{where}.device", "nvme keeps fp32 parameters in 16 bits, which is not exact; set cpu")


def _optimizer(spec: EngineSpec, given: Mapping[str, Any], where: str) -> Iterator[Problem]:
    for key in _NEED_OTHER_ADAM:
        if key in given:
            yield Problem(
                f"{where}.{key}", "refused: it takes DeepSpeed's own Adam, which rounds differently"
            )
    if given.get("device") != "nvme":
        return
    if spec.zero_stage != 3:
        yield Problem(f"{where}.device", "nvme needs engine.zero_stage 3; at 1 and 2 set cpu")
    if not given.get("nvme_path"):
        yield Problem(f"{where}.nvme_path", "needed with nvme: a folder on a local disk")
    missing = list(_missing_for_aio())
    if missing:
        yield Problem(
            f"{where}.device", f"nvme needs DeepSpeed's async_io, and there is no {', no '.join(missing)}"
        )


def _missing_for_aio() -> Iterator[str]:
    """Yield what is missing to build the op, nothing where it is built already."""
    package = importlib.util.find_spec("deepspeed")
    if package and package.origin and any(Path(package.origin).parent.glob("ops/aio/async_io_op*.so")):
        return
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        yield "C++ compiler (c++, or $CXX)"
    if shutil.which("ninja") is None:
        yield "ninja (pip install ninja)"
    if ctypes.util.find_library("aio") is None and not _on_library_path():
        yield "libaio (apt install libaio-dev)"


def _on_library_path() -> bool:
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return any((Path(folder) / "libaio.so").exists() for folder in folders if folder)
