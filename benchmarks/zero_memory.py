"""What each ZeRO stage keeps on a rank and sends in a step, counted at 1 and 2 ranks, beside the formulas.

A random BERT of about 23 M parameters, one step of two slots after a first one; batches are small, so that
weights, gradients and moments are what there is. Writes results/zero_memory.json and a table for
docs/scaling.md beside it.

    python benchmarks/zero_memory.py
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from measuring import machine

RESULT = Path(__file__).parent / "results" / "zero_memory.json"
TABLE = RESULT.with_suffix(".md")
STAGES = (0, 1, 2, 3)
RANKS = (1, 2)
SLOTS = 2
BUCKET = 1_000_000  # elements; DeepSpeed's default of 5e8 would be more than the model
CONFIG = {"reduce_bucket_size": BUCKET, "allgather_bucket_size": BUCKET}
STAGE_3 = {"stage3_param_persistence_threshold": 0, "stage3_prefetch_bucket_size": BUCKET}
ENCODER = {
    "vocab_size": 8000,
    "hidden_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 2048,
    "max_position_embeddings": 64,
}
KINDS = ("weights", "masters", "moments", "gradients")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--measure", nargs=2, metavar=("STAGE", "OUTPUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(int(options.measure[0]), Path(options.measure[1]))
        return
    rows = [run(stage, ranks) for ranks in RANKS for stage in STAGES]
    facts = {"machine": machine(1), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    content = {"encoder": ENCODER, "slots": SLOTS, "rows": rows, **facts}
    RESULT.write_text(json.dumps(content, indent=1) + "\n")
    TABLE.write_text(table(rows), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"))


def run(stage: int, ranks: int) -> dict[str, Any]:
    """Measure in processes of their own and return the figures of the rank that has most."""
    with tempfile.TemporaryDirectory() as folder:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr=localhost"]
        script = [__file__, "--measure", str(stage), folder]
        command = [sys.executable, *launcher, f"--nproc-per-node={ranks}", *script]
        subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found = [json.loads(file.read_text()) for file in sorted(Path(folder).glob("*.json"))]
    assert len(found) == ranks
    return {"stage": stage, "ranks": ranks, **max(found, key=lambda one: sum(one["bytes"].values()))}


def measure(stage: int, folder: Path) -> None:
    """Train two steps on this rank and write what there is between the second's backward and its update."""
    import torch
    import transformers

    from sslm_platform.engine.deepspeed import DeepSpeedEngine
    from sslm_platform.model.encoder import SharedEncoder
    from sslm_platform.spec.optimizer import OptimizerSpec
    from sslm_platform.spec.schema import EngineSpec

    sent = count_collectives()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    before = resident()
    torch.manual_seed(1)
    encoder = SharedEncoder(
        transformers.BertModel(transformers.BertConfig(**ENCODER), add_pooling_layer=False)
    )
    num_parameters = sum(p.numel() for p in encoder.parameters())
    zero = {**CONFIG, **(STAGE_3 if stage == 3 else {})}
    spec = EngineSpec(name="deepspeed", zero_stage=stage, config={"zero_optimization": zero} if stage else {})
    head = torch.nn.Linear(ENCODER["hidden_size"], 2)
    engine = DeepSpeedEngine(spec, OptimizerSpec(), encoder, {"head": head})
    ids_BL = torch.arange(1, 9)[None]
    for _ in range(2):
        sent.clear()
        engine.start_step(SLOTS)
        for _ in range(SLOTS):
            hidden_BLD, _ = engine.encoder(ids_BL, torch.ones_like(ids_BL), None, None)
            engine.backward(engine.heads["head"](hidden_BLD[:, 0]).square().sum())
        kept, all_bytes, rss = kinds(engine), everything(), resident() - before
        engine.step({"head"}, 1.0)
    figures = {
        "parameters": num_parameters,
        "bytes": kept,
        "other_bytes": all_bytes - sum(kept.values()),
        "resident_bytes": rss,
        "sent": dict(sent),
    }
    (folder / f"{engine.rank}.json").write_text(json.dumps(figures))
    engine.close()


def kinds(engine: Any) -> dict[str, int]:
    """Return the encoder's bytes on this rank by kind; a storage counts for the first kind that has it."""
    from sslm_platform.engine.sharded_part import masters

    deepspeed = engine._deepspeed
    optimizer = deepspeed.optimizer
    parameters = list(deepspeed.module.parameters())
    sharded = deepspeed.zero_optimization_stage() > 0
    held = {
        "weights": [tensor for p in parameters for tensor in (p.data, getattr(p, "ds_tensor", p.data))],
        "masters": masters(optimizer) if sharded else [],
        "moments": [t for state in deepspeed.basic_optimizer.state.values() for t in state.values()],
        "gradients": [
            *(p.grad for p in parameters if p.grad is not None),
            *flat(getattr(optimizer, "averaged_gradients", {}).values()),
            *flat([getattr(optimizer, "grad_partitions_flat_buffer", None)]),
            *flat(getattr(optimizer, "all_grad_tensors", {}).values()),
        ],
    }
    seen: set[int] = set()
    return {kind: storages(held[kind], seen) for kind in KINDS}


def flat(values: Iterable[Any]) -> list[Any]:
    found = []
    for value in values:
        found += flat(value) if isinstance(value, list | tuple) else [value] if value is not None else []
    return found


def storages(tensors: Iterable[Any], seen: set[int]) -> int:
    """Return the bytes of storages not seen yet."""
    total = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if storage.nbytes() and storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            total += storage.nbytes()
    return total


def everything() -> int:
    """Return the bytes of all tensors that Python knows of."""
    import torch

    gc.collect()
    found = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
    return storages([*found, *(t.grad for t in found if t.is_leaf and t.grad is not None)], set())


def resident() -> int:
    """Return this process's resident memory in bytes, what the allocator keeps given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


def count_collectives() -> Counter[str]:
    """Count the bytes of every collective's full tensor from here on, by operation."""
    import torch.distributed as dist

    sent: Counter[str] = Counter()
    payload = {"all_reduce": 0, "all_gather_into_tensor": 0, "reduce_scatter_tensor": 1, "reduce": 0}
    payload |= {"broadcast": 0, "all_gather": 0}
    for name, position in payload.items():
        setattr(dist, name, counted(getattr(dist, name), name, position, sent))
    return sent


def counted(call: Callable[..., Any], name: str, position: int, sent: Counter[str]) -> Callable[..., Any]:
    """Return a collective that counts the bytes of the argument at a position."""

    def run(*args: Any, **rest: Any) -> Any:
        tensors = args[position] if len(args) > position else rest.get("tensor", rest.get("output_tensor"))
        for tensor in tensors if isinstance(tensors, list) else [tensors]:
            sent[name] += tensor.numel() * tensor.element_size()
        return call(*args, **rest)

    return run


def expected(stage: int, ranks: int, parameters: int) -> dict[str, float]:
    """Return the bytes of fp32 training by formula (Rajbhandari et al. 2020, section 5; AdamW has K = 8)."""
    full = 4.0 * parameters
    return {
        "weights": full / ranks if stage == 3 else full,
        "masters": full / ranks if stage else 0.0,  # DeepSpeed copies the slice that it updates, in fp32 too
        "moments": 2 * full / ranks if stage else 2 * full,
        "gradients": full / ranks if stage >= 2 else full,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return counted bytes beside the formula's, and what was sent, in units of the weights' bytes (4 P)."""
    full = 4.0 * rows[0]["parameters"]
    lines = [
        f"Encoder of {rows[0]['parameters'] / 1e6:.1f} M parameters in fp32, 4 P = {full / 1e6:.0f} MB."
        " Counted (by formula), in units of 4 P:",
        "",
        "| stage | ranks | weights | masters | moments | gradients | sum | resident | sent in a step |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        formula = expected(row["stage"], row["ranks"], row["parameters"])
        cells = [f"{row['bytes'][kind] / full:.2f} ({formula[kind] / full:.2f})" for kind in KINDS]
        total = sum(row["bytes"].values()) / full
        sent = ", ".join(f"{name} {size / full:.2f}" for name, size in sorted(row["sent"].items()))
        cells += [f"{total:.2f} ({sum(formula.values()) / full:.2f})", f"{row['resident_bytes'] / full:.2f}"]
        lines.append(f"| {row['stage']} | {row['ranks']} | {' | '.join(cells)} | {sent} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
