"""What plugins score on real text: trains the specs of task_specs/ and keeps their test scores.

They are kept in results/catalogue.json, spec by spec: each task beside simple methods (floors.py) and, where
the spec has a pretrained encoder, a small one from scratch with the same budget (left out with --no-scratch,
and then added by a call without). What is kept and unchanged is not measured again, so that a run that was
stopped goes on; a spec that fails is said, and the others go on. A spec that reads local copies of data needs
the variable DATA, as its streams say. `make docs` writes what is kept into docs/catalogue.md.

    python benchmarks/catalogue.py [--quick] [--again] [--no-scratch] [SPEC ...]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
import traceback
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from floors import floors
from measuring import RESULTS, TASK_SPECS, machine

from sslm_platform.errors import SslmError
from sslm_platform.interfaces import Scored
from sslm_platform.kinds import OutputKind
from sslm_platform.report.curves import read_curves
from sslm_platform.report.records import TaskScore
from sslm_platform.runs import Run, open_run, read_scores
from sslm_platform.scoring import build_metrics
from sslm_platform.spec.load import dump_spec
from sslm_platform.spec.resolved import Task
from sslm_platform.statistics import NUM_RESAMPLES, percentile_interval, resample_counts
from sslm_platform.train.folder import default_cache

RESULT = RESULTS / "catalogue.json"
QUICK = ("limit.train=16", "limit.dev=8", "limit.test=8", "schedule.epochs=null", "schedule.max_steps=2")
SMALL = (
    "{model_type: bert, hidden_size: 128, num_hidden_layers: 2, num_attention_heads: 4,"
    " intermediate_size: 512}"
)
SCRATCH = "{config: %s, tokenizer: {train: {model: bpe, vocabulary_size: 4000}}, max_length: %d}"
SCRATCH_LR = 1.0e-3
NORMAL = 1.96  # standard errors from the middle of a 95 % interval to its end

Outcome = tuple[float, np.ndarray]  # the primary metric, and that of each bootstrap resample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("specs", nargs="*", default=names(), help="default: all whose data is there")
    parser.add_argument("--quick", action="store_true", help="see that they run; nothing is written")
    parser.add_argument("--again", action="store_true", help="measure also what is kept and unchanged")
    parser.add_argument("--no-scratch", action="store_true", help="without encoders from scratch")
    parser.add_argument("--out", type=Path, default=RESULT, help="where scores are kept")
    options = parser.parse_args()
    failed = []
    for name in options.specs:
        began = time.monotonic()
        try:
            if needs_data(TASK_SPECS / f"{name}.yaml") and "DATA" not in os.environ:
                print(f"{name}: left out, set DATA", flush=True)
                continue
            run = opened(name, QUICK if options.quick else ())
            entry = kept(options.out).get(name)
            if entry and entry["spec"] == digest(run) and not options.again:
                if options.no_scratch or not lacks_scratch(run, entry):
                    print(f"{name}: is kept", flush=True)
                    continue
                entry = with_scratch(run, entry)
            else:
                if options.again:
                    shutil.rmtree(run.path, ignore_errors=True)
                entry = measured(run, not options.no_scratch)
        except Exception as error:  # whatever it is, the other specs can still be measured
            traceback.print_exc()
            print(f"{name}: FAILED after {time.monotonic() - began:.0f} s: {error}", flush=True)
            failed.append(name)
            continue
        for row in entry["rows"]:
            print(f"{name}: {row['task']} {row['primary']} {row['scores'][row['primary']]}"
                  f" {row['baselines']}", flush=True)  # fmt: skip
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        if not options.quick:
            keep(options.out, name, entry)
        shutil.rmtree(run.path)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def names() -> list[str]:
    """Return the specs that are runs: the others are streams to include."""
    return sorted(path.stem for path in TASK_SPECS.glob("*.yaml"))


def needs_data(spec: Path) -> bool:
    text = spec.read_text(encoding="utf-8")
    included = [spec.parent / path for path in re.findall(r"streams/[\w-]+\.yaml", text)]
    return any("${DATA}" in part for part in [text, *(path.read_text(encoding="utf-8") for path in included)])


def opened(name: str, overrides: tuple[str, ...]) -> Run:
    """Open a spec's run in the folder where an earlier measurement of the same spec may have stopped."""
    run = open_run(TASK_SPECS / f"{name}.yaml", overrides=("transfer=[]", *overrides))
    run.path = default_cache() / "benchmarks" / "catalogue" / f"{name}-{digest(run)}"
    return run


def digest(run: Run) -> str:
    """Return what tells whether a spec has changed since; places of data may differ."""
    text = dump_spec(run.resolved.spec).replace(os.environ.get("DATA", "${DATA}"), "${DATA}")
    return sha256(text.replace(str(TASK_SPECS.resolve()), "").encode()).hexdigest()[:16]


def measured(run: Run, scratch: bool) -> dict[str, Any]:
    """Train a spec's tasks jointly, and return its entry: the circumstances, and a row for each task."""
    spec = run.resolved.spec
    run.train()
    curves = read_curves(run.path / "train" / "metrics.jsonl")
    found = {score.task: score for score in read_scores(run.path)}
    others = small(run) if scratch and starts_pretrained(run) else {}
    constant = constant_answers(run)
    rows = []
    for identity, task in run.resolved.tasks.items():
        methods = {"majority": constant[identity]}
        if identity in others and is_comparable(task):
            methods["scratch"] = of_score(others[identity])
        for name, scored in floors(run.corpus, task):
            methods[name] = resampled(task, scored, run.corpus.labels([task]))
        rows.append(row(run, task, found[identity], methods))
    lacks = {"no_scratch": True} if scratch and starts_pretrained(run) and not others else {}
    return {
        "spec": digest(run),
        **lacks,
        "date": datetime.now(UTC).date().isoformat(),
        "device": device(),
        "seconds": round(curves.seconds, 1),
        "budget": {"steps": len(curves.steps), "tokens": curves.num_tokens, "seed": spec.seed},
        "uses": uses(run),
        "rows": rows,
    }


def device() -> str:
    """Return what trains here, and by which torch."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    found = machine(torch.get_num_threads())
    return f"{found['processor'].split(' avx')[0]}, {found['threads']} threads, torch {torch.__version__}"


def uses(run: Run) -> dict[str, list[str]]:
    """Return the definitions that belong to the run and not to one of its tasks."""
    augmenters = [a.definition.name for bound in run.resolved.augmenters.values() for a in bound]
    return {"augmenter": sorted(set(augmenters))}


def starts_pretrained(run: Run) -> bool:
    encoder = run.resolved.spec.encoder
    return encoder.path is not None and encoder.adapter is None


def is_comparable(task: Task) -> bool:
    """Return whether scores do not depend on the encoder's vocabulary."""
    return task.head.definition.emits is not OutputKind.VOCABULARY_LOGITS


def lacks_scratch(run: Run, entry: Mapping[str, Any]) -> bool:
    tasks = run.resolved.tasks
    missing = (
        is_comparable(tasks[row["task"]]) and "scratch" not in row["baselines"] for row in entry["rows"]
    )
    return starts_pretrained(run) and not entry.get("no_scratch") and any(missing)


def with_scratch(run: Run, entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with the scores of the small encoder, whose training was left out.

    The lead over it is as if they were scored on different texts: its interval is rather too wide.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    others = small(run)
    for row in entry["rows"] if others else []:
        if not is_comparable(run.resolved.tasks[row["task"]]):
            continue
        other, others_R = of_score(others[row["task"]])
        value, low, high = row["scores"][row["primary"]]
        sign = 1 if row["higher_is_better"] else -1
        error = np.hypot((high - low) / (2 * NORMAL), others_R.std())
        lead = sign * (value - other)
        scratch = {
            "score": interval(other, others_R),
            "lead": rounded(lead, lead - NORMAL * error, lead + NORMAL * error),
        }
        majority, *rest = row["baselines"].items()
        row["baselines"] = dict([majority, ("scratch", scratch), *rest])
    return entry | ({"scratch": {"device": device()}} if others else {"no_scratch": True})


def small(run: Run) -> dict[str, TaskScore]:
    """Train a small encoder from scratch on the same tasks, with as many steps; return its test scores."""
    spec = run.resolved.spec
    encoder = SCRATCH % (SMALL, spec.encoder.max_length)
    overrides = [f"encoder={encoder}", f"optimizer.lr={max(spec.optimizer.lr, SCRATCH_LR)}"]
    overrides += ["optimizer.layer_decay=null", "optimizer.unfreeze=null", "optimizer.decay_to=zero"]
    loaded = run.path / "scratch.yaml"
    loaded.write_text(dump_spec(spec), encoding="utf-8")
    try:
        other = open_run(loaded, out=run.path / "scratch", overrides=overrides)
        other.train()
    except SslmError as error:  # what the spec asks for may need pretrained weights
        print(f"{spec.name}: not from scratch: {error}", flush=True)
        return {}
    return {score.task: score for score in read_scores(other.path)}


def constant_answers(run: Run) -> dict[str, Outcome]:
    """Return what the constant predictor scores on each task's test split."""
    from sslm_platform.engine.factory import make_engine
    from sslm_platform.train.folder import RunFolder
    from sslm_platform.train.loop import plan_training
    from sslm_platform.train.model import load_trained
    from sslm_platform.train.selection import Evaluator

    spec, corpus = run.resolved.spec, run.corpus
    model = load_trained(corpus, list(run.resolved.tasks.values()), RunFolder(run.path).model)
    engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads)
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "evaluation")
    constant = Evaluator(training, engine).majority_scored("test")
    return {
        name: resampled(run.resolved.tasks[name], scored, model.tasks[name].labels)
        for name, scored in constant.items()
    }


def of_score(score: TaskScore) -> Outcome:
    return score.scores[score.metric].value, np.asarray(score.resamples)


def resampled(task: Task, scored: Scored, labels: tuple[str, ...]) -> Outcome:
    """Return the primary metric of some answers, and of the resamples that the model's score has."""
    metric = build_metrics(task, labels)[task.primary_name]
    counts_RN = resample_counts(len(scored), NUM_RESAMPLES, zlib.crc32(task.stream.name.encode()))
    return float(metric.score(scored)), np.asarray(metric.resample(scored, counts_RN))


def row(run: Run, task: Task, score: TaskScore, methods: Mapping[str, Outcome]) -> dict[str, Any]:
    """Return a task's scores with 95 % intervals, and the lead over each method, paired by example."""
    splits = run.corpus.task_feed(task, run.resolved.spec.seed).splits
    value, resamples_R = of_score(score)
    sign = 1 if score.higher_is_better else -1
    return {
        "task": task.identity,
        "stream": task.stream.name,
        "objective": task.objective.definition.name,
        "wrapper": task.wrapper.definition.name if task.wrapper else None,
        "head": task.head.definition.name,
        "primary": score.metric,
        "higher_is_better": score.higher_is_better,
        "scores": {name: rounded(v.value, v.low, v.high) for name, v in score.scores.items()},
        "baselines": {
            name: {
                "score": interval(other, others_R),
                "lead": interval(sign * (value - other), sign * (resamples_R - others_R)),
            }
            for name, (other, others_R) in methods.items()
        },
        "num_train": len(splits["train"]),
        "num_test": score.num_test,
    }


def interval(value: float, resamples_R: np.ndarray) -> list[float]:
    return rounded(value, *percentile_interval(resamples_R))


def rounded(*numbers: float) -> list[float]:
    return [round(float(number), 4) for number in numbers]


def kept(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def keep(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Write a spec's entry beside those of the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = dict(sorted({**kept(path), name: entry}.items()))
    text = "{\n" + ",\n".join(f'"{spec}": {_lines(one)}' for spec, one in found.items()) + "\n}\n"
    path.write_text(text, encoding="utf-8")


def _lines(entry: dict[str, Any]) -> str:
    """Write an entry with a line for each of its rows."""
    rows = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in entry["rows"])
    head = json.dumps({k: v for k, v in entry.items() if k != "rows"}, ensure_ascii=False)
    return f'{head[:-1]},\n "rows": [\n{rows}\n ]}}'


if __name__ == "__main__":
    main()
