"""Joint training on two ranks under ZeRO against plain torch in one process, case by case; run as a script.

usage: parity.py FOLDER OUTPUT STEPS CASE...      (a case as Case.name gives it)

Real training steps on a tiny random encoder, dropout off. The reference is trained in the same process.
"""

import itertools
import json
import random
import sys
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import torch
import yaml

STEPS = 30
WORLD_SIZE = 2
PARTITION_ALL = {"stage3_param_persistence_threshold": 0}  # else none as small as here is given back
LOSSES, NORMS = 1e-5, 1e-4  # tolerances: absolute, relative

# Softmax does not see a bias of its keys: the gradient is zero but for rounding, which Adam magnifies.
NO_GRADIENT = "attention.self.key.bias"


@dataclass(frozen=True)
class Case:
    """One combination; the names of its values make its own."""

    stage: str
    slots: str
    weights: str
    heads: str
    tasks: str
    tied: str
    decoder: str
    objective: str

    @property
    def name(self):
        return "/".join(getattr(self, field.name) for field in fields(self))


VALUES = {
    "stage": ("zero0", "zero1", "zero2", "zero3"),
    "slots": ("1-alternating", "4-alternating", "4-mixed"),
    "weights": ("even", "uneven"),
    "heads": ("own", "shared"),
    "tasks": ("one", "two"),  # on the first stream
    "tied": ("no-lm", "lm"),
    "decoder": ("no-decoder", "decoder"),
    "objective": ("additive", "contrast"),
}


def all_cases():
    """Return the full product; cases that differ by the stage alone follow each other."""
    stages, *others = VALUES.values()
    return [Case(stage, *values) for values in itertools.product(*others) for stage in stages]


def pairwise_cases():
    """Return few cases that have every pair of values of two factors: greedy, always the same."""
    cases = all_cases()
    pairs_of = {case: set(itertools.combinations(case.name.split("/"), 2)) for case in cases}
    missing, chosen = set().union(*pairs_of.values()), []
    while missing:
        best = max(cases, key=lambda case: len(pairs_of[case] & missing))
        chosen.append(best)
        missing -= pairs_of[best]
    return chosen


def content(case, folder, steps):
    """Return the spec of a case; ``folder`` has the texts."""
    shared = {"shared_as": "tone"} if case.heads == "shared" else {}
    label = {"text": "text", "label": "label"}
    films = [task("tone", label, "cross_entropy", "sequence_classifier", "accuracy", **shared)]
    shops = [task("tone", label, "cross_entropy", "sequence_classifier", "accuracy", **shared)]
    streams = [stream("films", films, folder), stream("shops", shops, folder)]
    if case.tasks == "two":
        films.append(
            task("rating", {"text": "text", "value": "rating"}, "mse", "sequence_regressor", "spearman")
        )
    if case.tied == "lm":
        films.append(task("mlm", {"text": "text"}, "mlm", "lm", "bits_per_token", wrapper="r_drop"))
        pair = {"text": "text", "target_text": "reply"}
        shops.append(task("clm", {"text": "text"}, "clm", "lm", "bits_per_token", wrapper="fgm"))
        shops.append(task("reply", pair, "prefix_lm", "lm", "bits_per_token", wrapper="freelb"))
    if case.decoder == "decoder":
        shops.append(task("cloze", {"text": "text"}, "mlm", "small_decoder", "bits_per_token", sharded=True))
    if case.objective == "contrast":
        contrast = task("contrast", label, "contrast", "sequence_classifier", "accuracy")
        streams.append(stream("pairs", [contrast], folder))
    slots, _, order = case.slots.partition("-")
    weights = {"tone@films": 3.0, "*@shops": 0.4} if case.weights == "uneven" else {}
    return {
        "name": "parity",
        "encoder": {
            "config": {
                "model_type": "bert",
                "hidden_size": 30,  # no weight divides evenly into slices
                "num_hidden_layers": 2,
                "num_attention_heads": 3,
                "intermediate_size": 61,
            },
            "tokenizer": {"train": {"vocabulary_size": 150}},
            "max_length": 24,
            "dropout": 0.0,
        },
        "streams": streams,
        "schedule": {
            "sampler": {"name": "alternating" if order == "alternating" else "round_robin"},
            "tokens_per_batch": 120,
            "slots_per_step": int(slots),
            "max_steps": steps,
        },
        "balancer": {"name": "static", "options": {"weights": weights}},
        "optimizer": {"lr": 1e-3, "head_lr": 3e-3, "clip": 0.5},
        "engine": {"threads": 1},
    }


def task(name, given, objective, head, metric, wrapper=None, **head_keys):
    options = {"dropout": 0.0} if head.startswith("sequence") else {}
    return {
        "name": name,
        "fields": given,
        "objective": {"name": objective, **({"wrapper": {"name": wrapper}} if wrapper else {})},
        "head": {"name": head, "options": options, **head_keys},
        "metrics": [metric],
    }


def stream(name, tasks, folder):
    data = {"source": "files", "path": str(folder / f"{name}.jsonl"), "format": {"name": "jsonl"}}
    return {"name": name, "domain": name, "data": data, "split": {"by": "hash"}, "tasks": tasks}


def write_texts(folder):
    """Write the streams' files."""
    rng = random.Random(5)
    replies = random.Random(2)  # of their own: the texts, and so the batches, are those without them
    words = ["great", "dull", "film", "shop", "plot", "soup", "music", "chair", "fast", "slow", "new", "old"]
    for name in ("films", "shops", "pairs"):
        rows = []
        for number in range(88):
            text = f"{' '.join(rng.choices(words, k=rng.randint(3, 12)))} {name} {number}"
            reply = " ".join(replies.choices(words, k=replies.randint(1, 6)))
            rating = round(rng.gauss(0, 1), 3)
            rows.append({"text": text, "label": rng.choice("abc"), "rating": rating, "reply": reply})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class Shares:
    """A planner whose slots are the ranks' shares of another's, one after the other.

    What one process must do to compute a loss over a rank's examples; for other losses it changes nothing.
    """

    def __init__(self, planner):
        self._planner = planner

    def __getattr__(self, name):
        return getattr(self._planner, name)

    def plan(self, *args):
        from sslm_platform.schedule.plan import rank_rows

        plan = self._planner.plan(*args)
        shares = [
            replace(slot, rows=rank_rows(slot.rows, rank, WORLD_SIZE))
            for slot in plan.slots
            for rank in range(WORLD_SIZE)
        ]
        assert all(len(share.rows) for share in shares)
        return replace(plan, slots=tuple(shares))


def compare(case, folder, steps):
    """Train a case under ZeRO and, on rank 0, in plain torch.

    Return by how much they differ, and what idle parts did; None on other ranks.
    """
    from sslm_platform.engine.factory import make_engine
    from sslm_platform.spec.schema import EngineSpec

    corpus = read(replace(case, stage=""), folder, steps)
    run = corpus.run.spec
    model = built(corpus)
    stage = int(case.stage[-1])
    config = {"zero_optimization": PARTITION_ALL} if stage == 3 else {}
    spec = EngineSpec(name="deepspeed", zero_stage=stage, config=config, threads=1)
    engine = make_engine(
        spec, run.optimizer, model.encoder, model.heads, sharded_heads=corpus.run.sharded_heads
    )
    found, moved, looked = train(corpus, model.with_heads(engine.heads), engine)
    weights = norms(engine)
    engine.close()
    if engine.rank:
        return None
    expected, expected_norms = reference(replace(case, stage=""), folder, steps)
    result = {"case": case.name, "idle": looked, "moved": moved, "losses": 0.0, "gradient_norms": 0.0}
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.losses.keys() == theirs.losses.keys()
        for name, loss in ours.losses.items():
            result["losses"] = max(result["losses"], abs(loss - theirs.losses[name]))
        result["gradient_norms"] = max(
            result["gradient_norms"], *relative(ours.gradient_norms, theirs.gradient_norms)
        )
    result["weights"] = max(relative(weights, expected_norms))
    return result


@lru_cache(maxsize=1)
def reference(case, folder, steps):
    """Train a case in plain torch; return the steps' records and the weights' norms."""
    from sslm_platform.engine.local import LocalEngine

    corpus = read(case, folder, steps)
    run, model = corpus.run.spec, built(corpus)
    engine = LocalEngine(run.engine, run.optimizer, model.encoder, model.heads, torch.device("cpu"))
    records, _, _ = train(corpus, model, engine, shares=case.objective == "contrast")
    return records, norms(engine)


def read(case, folder, steps):
    from parity_plugin import host

    from sslm_platform.corpus import Corpus
    from sslm_platform.spec.load import load_run_spec
    from sslm_platform.spec.resolve import resolve

    path = folder / f"spec-{case.name.replace('/', '-')}-{torch.distributed.get_rank()}.yaml"
    path.write_text(yaml.safe_dump(content(case, folder, steps)))
    return Corpus(resolve(load_run_spec(path), host()), folder / "cache")


def built(corpus):
    from sslm_platform.train.model import build_model

    return build_model(corpus, list(corpus.run.tasks.values()), seed=1)


def train(corpus, model, engine, shares=False):
    """Return the steps' records, the idle tensors that moved, and how many were looked at: on rank 0."""
    from sslm_platform.train.loop import plan_training, train_step

    run = corpus.run.spec
    training = plan_training(corpus, model, run.schedule, run.optimizer, 1, "parity")
    training = replace(training, planner=Shares(training.planner)) if shares else training
    progress, records, moved, num_looked = training.start(), [], [], 0
    for step in range(run.schedule.max_steps):
        plan = training.planner.plan(step, progress.positions, progress.sampler)
        look = step % 3 == 2 and engine.world_size > 1  # gathering everything is dear
        before = parts(engine) if look else {}
        records.append(train_step(training, engine, plan, progress))
        progress.advance(plan)
        after = parts(engine) if look else {}
        active = records[-1].gradient_norms
        idle = [key for key in before if key.split("|")[0] not in active]
        num_looked += len(idle)
        moved += [f"step {step}: {key}" for key in idle if not torch.equal(before[key], after[key])]
    return records, moved, num_looked


def parts(engine):
    """Return heads' weights and moments as PART|NAME; empty but on rank 0."""
    found = {f"{head}|{name}": t for head, state in engine.head_states().items() for name, t in state.items()}
    for name, tensor in engine.optimizer_state().items():
        kind, _, rest = name.partition("/")
        if kind == "heads":
            for head in engine.heads:
                if rest.startswith(f"{head}/"):
                    found[f"{head}|{rest}"] = tensor
    return found


def norms(engine):
    """Return each weight's norm, without biases of keys; empty but on rank 0."""
    heads = {f"{h}/{n}": t for h, state in engine.head_states().items() for n, t in state.items()}
    weights = engine.encoder_state() | heads
    for name in weights:
        if name.endswith("in_proj_bias"):  # of queries, keys and values
            queries, _, values = weights[name].chunk(3)
            weights[name] = torch.cat([queries, values])
    return {name: t.norm().item() for name, t in weights.items() if NO_GRADIENT not in name}


def relative(ours, theirs):
    assert ours.keys() == theirs.keys()
    return [abs(ours[name] - theirs[name]) / max(theirs[name], 1e-3) for name in ours] or [0.0]


def main():
    folder, output, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    from sslm_platform.engine.group import join_group

    join_group()
    with (output if torch.distributed.get_rank() == 0 else Path("/dev/null")).open("a") as lines:
        for name in sys.argv[4:]:
            result = compare(Case(*name.split("/")), folder, steps)
            lines.write(json.dumps(result) + "\n")
            lines.flush()


if __name__ == "__main__":
    main()
