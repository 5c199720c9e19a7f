"""Whole joint trainings one after the other, stopped and gone on from; run as a script.

usage: runs.py FOLDER CACHE JOB...

A job is SPEC:NAME:ENGINE (``shares``: one process, whose slots are two ranks' shares of them), or
SPEC:NAME:ENGINE:STEP to be stopped after that step. FOLDER has SPEC.yaml; the
run's folder is FOLDER/NAME, and what it said FOLDER/NAME.said.
"""

import io
import sys
from dataclasses import replace
from pathlib import Path

import torch
from parity import Shares
from rich.console import Console

from sslm_platform.corpus import Corpus
from sslm_platform.spec.load import load_run_spec
from sslm_platform.spec.resolve import resolve
from sslm_platform.train import joint
from sslm_platform.train.folder import RunFolder

LOCAL = ["engine.name=local"]
PARTITION_ALL = ["engine.config.zero_optimization.stage3_param_persistence_threshold=0"]
ONE_PROCESS = ("local", "shares")


class Stopped(Exception):
    pass


def stopping_after(last, train_steps):
    """Return ``train_steps`` that raises on all ranks alike."""

    def run(*args, **kwargs):
        for record in train_steps(*args, **kwargs):
            yield record
            if record.step == last:
                raise Stopped

    return run


def sharing(train_steps):
    """Return ``train_steps`` with what two ranks would each see of a slot as slots."""

    def run(training, *args, **kwargs):
        shares = replace(training, planner=Shares(training.planner))
        return train_steps(shares, *args, **kwargs)

    return run


def train(folder, cache, spec, name, engine, stop=None):
    stage = engine.removeprefix("zero")
    overrides = (
        LOCAL if engine in ("local", "shares") else ["engine.name=deepspeed", f"engine.zero_stage={stage}"]
    )
    overrides = [*overrides, *(PARTITION_ALL if stage == "3" else ())]
    corpus = Corpus(resolve(load_run_spec(folder / f"{spec}.yaml", overrides)), cache)
    console = Console(file=io.StringIO(), width=300)
    whole = joint.train_steps
    joint.train_steps = stopping_after(int(stop), whole) if stop else whole
    if engine == "shares":
        joint.train_steps = sharing(whole)
    try:
        run = corpus.run.spec
        joint.train_joint(corpus, RunFolder(folder / name), console, run.seed, run.engine)
    except Stopped:
        pass
    finally:
        joint.train_steps = whole
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        with (folder / f"{name}.said").open("a") as said:
            said.write(console.file.getvalue())


if __name__ == "__main__":
    torch.set_num_threads(1)
    for job in sys.argv[3:]:
        train(Path(sys.argv[1]), Path(sys.argv[2]), *job.split(":"))
