"""Joint training with balancers of gradients of the slice, on the engines that the arguments name; a script.

usage: slice_scenario.py SPEC CACHE OUTPUT CASE...

A case is ENGINE/BALANCER (a whole run), or ENGINE/BALANCER:OTHER (go on from OTHER's half-way state).
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sslm_platform.corpus import Corpus
from sslm_platform.engine.factory import make_engine
from sslm_platform.schedule.progress import Progress
from sslm_platform.spec.load import load_run_spec
from sslm_platform.spec.resolve import resolve
from sslm_platform.train.loop import plan_training, train_steps
from sslm_platform.train.model import build_model

ENGINES = {
    "local": [],
    **{f"zero{s}": ["engine.name=deepspeed", f"engine.zero_stage={s}"] for s in (0, 1, 2, 3)},
    "zero3-all": [
        "engine.name=deepspeed",
        "engine.zero_stage=3",
        "engine.config.zero_optimization.stage3_param_persistence_threshold=0",
    ],
    "zero2-bf16": ["engine.name=deepspeed", "engine.zero_stage=2", "engine.precision=bf16"],
}
BALANCERS = {
    "upgrad": ["balancer.name=upgrad", "balancer.log_gradients_every=5"],
    "imtl_g": ["balancer.name=imtl_g"],
    "equal": ["balancer.name=equal", "balancer.log_gradients_every=3"],
    "plain": ["balancer.name=equal"],
}


def train(spec, cache, case, output):
    name, _, other = case.partition(":")
    engine_name, _, balancer = name.partition("/")
    corpus = Corpus(resolve(load_run_spec(spec, [*ENGINES[engine_name], *BALANCERS[balancer]])), cache)
    run = corpus.run.spec
    model = build_model(corpus, list(corpus.run.tasks.values()), seed=2 if other else 1)
    engine = make_engine(run.engine, run.optimizer, model.encoder, model.heads, corpus.run.gradients_of)
    training = plan_training(corpus, model, run.schedule, run.optimizer, 1, "test")
    half, progress, start = training.num_steps // 2, training.start(), 0
    if other:
        start, progress = half, load(engine, file(output, f"{other}.half"))
    records = []
    for record in train_steps(training, engine, progress, start):
        records.append(asdict(record))
        if record.step == half and not other:
            save(engine, progress, file(output, f"{name}.half"))
    save(engine, progress, file(output, case))
    if engine.rank == 0:
        file(output, f"{case}.records").write_text(json.dumps(records))
    engine.close()


def file(folder, case):
    return folder / case.replace("/", "-").replace(":", "-from-")


def save(engine, progress, path):
    """Write the state; named by parameter, so that any engine reads it."""
    encoder, heads, moments = engine.encoder_state(), engine.head_states(), engine.optimizer_state()
    if engine.rank == 0:
        save_file(encoder, f"{path}.encoder")
        save_file(
            {f"{h}|{name}": t for h, state in heads.items() for name, t in state.items()}, f"{path}.heads"
        )
        save_file(moments, f"{path}.moments")
        path.write_text(json.dumps(progress.content()))
    engine.barrier()


def load(engine, path):
    heads = {head: {} for head in engine.heads}
    for name, tensor in load_file(f"{path}.heads").items():
        head, _, parameter = name.partition("|")
        heads[head][parameter] = tensor
    engine.load_weights(load_file(f"{path}.encoder"), heads)
    engine.load_optimizer_state(load_file(f"{path}.moments"))
    return Progress.of(json.loads(path.read_text()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    spec, cache, output, *cases = sys.argv[1:]
    for case in cases:
        train(Path(spec), Path(cache), case, Path(output))
