"""Where the time of the quickstart's joint steps goes, part by part, and how far the machine's limit is.

python benchmarks/profile_steps.py [--quick] [--steps 30] [--rounds 5]
"""

from __future__ import annotations

import time
from collections import Counter

import torch
from measuring import TASK_SPECS, Finding, arguments, median, save
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from sslm_platform.engine.factory import make_engine
from sslm_platform.runs import open_run
from sslm_platform.train import loop
from sslm_platform.train.model import build_model

BATCH = "data: plan, fetch, collate"
PARTS = (
    ("embedding", ("embedding", "EmbeddingBackward")),
    ("attention: scores and mixing", ("scaled_dot_product", "flash_attention", "aten::bmm", "aten::softmax")),
    ("optimizer", ("_fused_adamw", "_foreach", "linalg_vector_norm", "Optimizer.step", "zero_grad")),
    ("GELU", ("gelu",)),
    ("layer norm", ("layer_norm",)),
    ("dropout", ("dropout", "bernoulli")),
)
MATMULS = ("aten::addmm", "aten::mm", "aten::linear", "aten::matmul")


def main() -> None:
    options = arguments(__doc__, steps=(30, 2), rounds=(5, 1))
    spec = TASK_SPECS / "quickstart.yaml"
    num_steps = (options.rounds + 2) * options.steps
    run = open_run(spec, overrides=[f"schedule.max_steps={num_steps}", f"engine.threads={options.threads}"])
    steps = joint_steps(run)
    sizes = (run.corpus.vocabulary.size, *widths(run))
    take(steps, options.steps)  # warm-up
    speeds, rates, peaks = [], [], []
    for _ in range(options.rounds - 1):
        peaks.append(matmul_rate())
        records, seconds = take(steps, options.steps)
        speeds.append(sum(r.num_tokens for r in records) / seconds)
        rates.append(seconds / options.steps)
    with FlopCounterMode(display=False) as counter:
        counted = take(steps, options.steps)[0]
    flops_per_token = counter.get_total_flops() / sum(r.num_padded_tokens for r in counted)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        records, seconds = take(steps, options.steps)
    shares = by_part(profiler, seconds, sizes)
    real = sum(r.num_tokens for r in records) / sum(r.num_padded_tokens for r in records)
    achieved = [
        speed / real * flops_per_token / 1e9
        for speed in speeds or [sum(r.num_tokens for r in records) / seconds]
    ]
    findings = [
        median("real tokens a second", speeds or [1.0]),
        median("arithmetic of the steps", achieved, "GFLOP/s"),
        median("arithmetic of a plain matmul (2048 x 2048 fp32)", peaks or [matmul_rate()], "GFLOP/s"),
        Finding("share of the tokens that are real", real),
        *(Finding(f"share of the time: {part}", share) for part, share in shares.most_common()),
    ]
    save(options, "profile_steps", "Where the time goes", findings)


def joint_steps(run):
    spec, corpus = run.resolved.spec, run.corpus
    model = build_model(corpus, list(run.resolved.tasks.values()), spec.seed)
    engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads)
    training = loop.plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "benchmark")
    fetch, plan = loop._rank_batch, training.planner.plan

    def named(function):
        def call(*args, **kwargs):
            with record_function(BATCH):
                return function(*args, **kwargs)

        return call

    loop._rank_batch = named(fetch)
    training.planner.plan = named(plan)
    return loop.train_steps(training, engine, training.start())


def widths(run) -> tuple[int, int]:
    from transformers import AutoConfig

    from sslm_platform.model.backbone import locate

    config = AutoConfig.from_pretrained(locate(run.resolved.spec.encoder.path))
    return config.hidden_size, config.intermediate_size


def take(steps, count: int):
    began = time.perf_counter()
    records = [next(steps) for _ in range(count)]
    return records, time.perf_counter() - began


def matmul_rate(size: int = 2048, repeats: int = 4) -> float:
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    began = time.perf_counter()
    for _ in range(repeats):
        a @ b
    return 2 * size**3 * repeats / (time.perf_counter() - began) / 1e9


def by_part(profiler, seconds: float, sizes: tuple[int, int, int]) -> Counter[str]:
    """Sum the operations' own times by part; what no operation accounts for is Python's.

    An operation belongs to the part of the nearest one around it that has one.
    """
    shares: Counter[str] = Counter()
    for event in profiler.events():
        around, part = event, None
        while around is not None and part is None:
            part = part_of(around.key, around.input_shapes, sizes)
            around = around.cpu_parent
        shares[part or "other operations"] += event.self_cpu_time_total / 1e6 / seconds
    shares["Python between operations"] = max(0.0, 1 - sum(shares.values()))
    return shares


def part_of(key: str, shapes, sizes: tuple[int, int, int]) -> str | None:
    vocabulary, hidden, inner = sizes
    if key == BATCH:
        return BATCH
    if key in MATMULS:
        dimensions = {size for shape in shapes if isinstance(shape, list) for size in shape}
        if vocabulary in dimensions:
            return "matmul: language model head"
        if inner in dimensions:
            return "matmul: feed-forward"
        return "matmul: attention's projections" if hidden in dimensions else "matmul: heads"
    return next((part for part, names in PARTS if any(name in key for name in names)), None)


if __name__ == "__main__":
    main()
