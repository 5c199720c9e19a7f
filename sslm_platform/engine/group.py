"""The process group of all ranks: one for the life of the process, however many engines come and go."""

from __future__ import annotations

import atexit
import json
import os
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from sslm_platform.errors import Problem, SpecError

_BY_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def join_group() -> torch.device:
    """Join the launcher's group, or make one of this process alone; return this rank's device.

    Raises:
        SpecError: only a part of a launcher's environment is there, or there are more ranks than devices.
    """
    device = _device()
    if dist.is_initialized():
        return device
    backend = "nccl" if device.type == "cuda" else "gloo"
    bound = device if device.type == "cuda" else None
    missing = [name for name in _BY_LAUNCHERS if name not in os.environ]
    if not missing:
        dist.init_process_group(backend, device_id=bound)
    elif os.environ.get("WORLD_SIZE", "1") == "1":
        os.environ["LOCAL_RANK"] = "0"  # DeepSpeed reads it
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=0, world_size=1, device_id=bound)
    else:
        raise SpecError(
            Problem(
                "environment", f"WORLD_SIZE is set but {missing[0]} is not; start with --nproc or torchrun"
            )
        )
    atexit.register(_leave_group)
    return device


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if local_rank >= torch.cuda.device_count():
        raise SpecError(
            Problem("--nproc", f"rank {local_rank} has no GPU; there are {torch.cuda.device_count()}")
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
        # gloo's threads drop the last collective's tensors after it has returned, for which they take the
        # interpreter's lock; one that asks for it while the interpreter ends aborts the process. Groups
        # that DeepSpeed still refers to keep their threads, so give them the moment that they need.
        time.sleep(0.2)


def wait_for_all() -> None:
    """Wait until all ranks are here, where there are several."""
    if dist.is_initialized():
        dist.barrier()


def of_rank_0(value: bool) -> bool:
    """Return what rank 0 says, so that all ranks do alike."""
    if not dist.is_initialized():
        return value
    return bool(gather_json(value, _device())[0])


def broadcast_module(module: nn.Module) -> None:
    """Give all ranks rank 0's weights."""
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def sum_in_place(tensors: list[Tensor], scale: float) -> None:
    """Sum each tensor over ranks and multiply it, in one call for all."""
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat *= scale
    for tensor, piece in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(piece.view_as(tensor))


def gather_json(value: Any, device: torch.device) -> list[Any]:
    """Return every rank's value; bytes of JSON, since what torch offers for objects is pickle."""
    payload = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(device)
    world_size = dist.get_world_size()
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world_size)]
    dist.all_gather(sizes, torch.tensor([payload.numel()], dtype=torch.int64, device=device))
    longest = max(int(size) for size in sizes)
    padded = torch.zeros(longest, dtype=torch.uint8, device=device)
    padded[: payload.numel()] = payload
    received = [torch.empty_like(padded) for _ in range(world_size)]
    dist.all_gather(received, padded)
    return [
        json.loads(buffer[: int(size)].cpu().numpy().tobytes())
        for buffer, size in zip(received, sizes, strict=True)
    ]
