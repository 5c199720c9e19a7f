"""One small training run, executed on whatever engine the arguments name; run as a script.

usage: scenario.py OUTPUT CASE...

A case is VARIANT (a whole run), VARIANT:OTHER (go on from OTHER's half-way state), diverge:VARIANT or
close:VARIANT.
"""

import gc
import json
import logging
import math
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from sslm_platform.engine.course import phase_of
from sslm_platform.engine.factory import make_engine
from sslm_platform.model.layers import layer_depths
from sslm_platform.spec.optimizer import OptimizerSpec
from sslm_platform.spec.schema import EngineSpec

VOCABULARY, WIDTH, LENGTH = 97, 15, 8  # an odd width: no parameter divides evenly between two ranks
OPTIMIZER = OptimizerSpec(
    lr=1e-3, head_lr=3e-3, layer_decay=0.8, unfreeze=0.5, weight_decay=0.1, decay_to="start", clip=0.5
)
PARTITION_ALL = {"zero_optimization": {"stage3_param_persistence_threshold": 0}}
HOST = {"device": "cpu"}
OFFLOADED = {"offload_optimizer": HOST, "offload_param": HOST}
VARIANTS = {
    "local": EngineSpec(),
    **{f"zero{stage}": EngineSpec(name="deepspeed", zero_stage=stage) for stage in (0, 1, 2, 3)},
    "zero3-all": EngineSpec(name="deepspeed", zero_stage=3, config=PARTITION_ALL),
    "zero2-offload": EngineSpec(
        name="deepspeed", zero_stage=2, config={"zero_optimization": {"offload_optimizer": HOST}}
    ),
    "zero3-offload": EngineSpec(name="deepspeed", zero_stage=3, config={"zero_optimization": OFFLOADED}),
    **{
        f"zero{stage}-bf16": EngineSpec(name="deepspeed", zero_stage=stage, precision="bf16")
        for stage in (1, 3)
    },
}

# Each step's slots: (head, number of examples of each rank). A rank's share may be empty.
PLAN = [
    [("shared", (2, 3))],
    [("once", (4, 1)), ("decoder", (3, 2))],
    [("shared", (3, 0)), ("masked", (2, 2))],
    [("masked", (0, 3))],
    [("shared", (2, 1)), ("shared", (1, 4))],
    [("masked", (1, 1)), ("once", (2, 2)), ("shared", (0, 2))],
    [("masked", (3, 1)), ("decoder", (2, 1)), ("decoder", (1, 0))],
    [("shared", (2, 2)), ("masked", (2, 1))],
]
HALF = 4


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        config = transformers.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=31,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.backbone = transformers.BertModel(config)  # its pooler never gets a gradient
        self.backbone.embeddings.token_type_embeddings.requires_grad_(False)

    def layer_depths(self):
        return {f"backbone.{name}": depth for name, depth in layer_depths(self.backbone).items()}

    def forward(self, input_ids_BL, mask_BL, segment_BL=None, transform=None, shift_BLE=None):
        hidden_BLD = self.backbone(input_ids_BL, mask_BL, segment_BL).last_hidden_state
        if transform is None:
            return hidden_BLD, None
        return hidden_BLD, nn.functional.linear(
            transform(hidden_BLD), self.backbone.get_input_embeddings().weight
        )


class Classifier(nn.Linear):
    transform = None

    def features(self, hidden_BLD):
        return hidden_BLD[:, 0]


class Masked(nn.Module):
    """A head whose logits are the encoder's."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(WIDTH, WIDTH)
        self.bias = nn.Parameter(torch.zeros(VOCABULARY))

    def transform(self, hidden_BLD):
        return torch.tanh(self.dense(hidden_BLD[:, 1]))

    def forward(self, logits_BV):
        return logits_BV + self.bias


class Decoder(nn.Module):
    """Self-attention over learned queries, cross-attention to the encoder's states; on ZeRO it is sharded."""

    transform = None

    def __init__(self):
        super().__init__()
        self.queries = nn.Embedding(2, WIDTH)
        self.layer = nn.TransformerDecoderLayer(WIDTH, 3, 31, dropout=0.0, batch_first=True)
        self.output = nn.Linear(WIDTH, VOCABULARY)

    def features(self, hidden_BLD):
        return hidden_BLD

    def forward(self, hidden_BLD):
        queries_BQD = self.queries(torch.arange(2).expand(len(hidden_BLD), -1))
        return self.output(self.layer(queries_BQD, hidden_BLD)[:, -1])


def build(variant, seed):
    torch.manual_seed(1)
    encoder = Encoder()  # weights decay to where it starts, so a resumed training starts there too
    torch.manual_seed(seed)
    heads = {"shared": Classifier(WIDTH, 3), "once": Classifier(WIDTH, 3), "masked": Masked()}
    heads["decoder"] = Decoder()
    return make_engine(VARIANTS[variant], OPTIMIZER, encoder, heads, sharded_heads={"decoder"})


def slot_loss(engine, key, head, counts, spoil=""):
    """This rank's summand of one slot's loss, a weighted mean over all ranks' examples."""
    generator = torch.Generator().manual_seed(key)
    total = sum(counts)
    ids_BL = torch.randint(1, VOCABULARY, (total, LENGTH), generator=generator)
    labels_B = torch.randint(0, VOCABULARY, (total,), generator=generator)
    weight_B = torch.rand(total, generator=generator) + 0.1
    if engine.world_size == 1:
        rows = slice(0, total)
    else:
        rows = slice(sum(counts[: engine.rank]), sum(counts[: engine.rank + 1]))
    share_B = (weight_B / weight_B.sum())[rows]
    ids_BL, labels_B = ids_BL[rows], labels_B[rows]
    if len(ids_BL) == 0:
        ids_BL, labels_B, share_B = torch.ones(1, LENGTH).long(), torch.zeros(1).long(), torch.zeros(1)
    module = engine.heads[head]
    hidden_BLD, logits_BV = engine.encoder(ids_BL, torch.ones_like(ids_BL), None, module.transform)
    if spoil == "encoder":
        hidden_BLD = Spoiled.apply(hidden_BLD)
    if spoil == "head":
        hidden_BLD = Cleaned.apply(hidden_BLD)
    outputs_BC = module(module.features(hidden_BLD) if logits_BV is None else logits_BV)
    if spoil == "head":
        outputs_BC = Spoiled.apply(outputs_BC)
    losses_B = nn.functional.cross_entropy(outputs_BC, labels_B % outputs_BC.shape[1], reduction="none")
    return (losses_B * share_B).sum()


def train(engine, first, last):
    """Run steps; return their losses and norms, and which idle parts moved."""
    losses, norms, moved = [], [], []
    for step in range(first, last):
        active = {head for head, _ in PLAN[step]}
        idle = set(engine.heads) - active
        before = snapshot(engine, idle)
        total = torch.zeros(())
        engine.start_step(len(PLAN[step]), phase_of(step, len(PLAN), OPTIMIZER))
        for index, (head, counts) in enumerate(PLAN[step]):
            loss = slot_loss(engine, 100 * step + index, head, counts) / len(PLAN[step])
            engine.backward(loss)
            total += loss.detach()
        losses.append(engine.all_reduce(total).item())
        norms.append(engine.step(active, 1.0 - step / 10))
        after = snapshot(engine, idle)
        moved += [f"step {step}: {name}" for name in after if differs(before.get(name), after[name])]
    return {"losses": losses, "norms": norms, "moved": moved}


def snapshot(engine, heads):
    """Weights and moments of some heads; empty but on rank 0."""
    states = engine.head_states()
    result = {f"{head}/{name}": t for head in heads for name, t in states.get(head, {}).items()}
    moments = engine.optimizer_state()
    return result | {k: t for k, t in moments.items() if k.split("/")[1] in heads and k.startswith("heads/")}


def differs(left, right):
    return left is None or not torch.equal(left, right)


def differing(left, right):
    return sorted(name for name in left.keys() | right.keys() if differs(left.get(name), right[name]))


def everything(engine):
    heads = {f"{h}/{n}": t for h, state in engine.head_states().items() for n, t in state.items()}
    return engine.encoder_state(), heads, engine.optimizer_state()


def shared(engine, tensors):
    """Rank 0's tensors on every rank: what reading a checkpoint from a common disk gives."""
    rows = engine.all_gather_objects({n: [t.tolist(), str(t.dtype)] for n, t in tensors.items()})[0]
    return {n: torch.tensor(v, dtype=getattr(torch, d.removeprefix("torch."))) for n, (v, d) in rows.items()}


def nest(flat, names):
    return {
        name: {k.removeprefix(f"{name}/"): t for k, t in flat.items() if k.startswith(f"{name}/")}
        for name in names
    }


def run(variant, output):
    engine = build(variant, seed=1)
    torch.manual_seed(1)
    started = differing(Encoder().state_dict(), engine.encoder_state() or Encoder().state_dict())
    half = train(engine, 0, HALF)
    encoder, heads, moments = everything(engine)
    num_kept = engine.all_gather_objects([len(encoder), len(heads), len(moments)])
    probe_BL = torch.arange(1, 1 + LENGTH)[None]
    with torch.no_grad():
        hidden_half = engine.encoder(probe_BL, torch.ones_like(probe_BL), None, None)[0]
    rest = train(engine, HALF, len(PLAN))
    final = everything(engine)
    result = {name: half[name] + rest[name] for name in half}
    result["num_kept"] = num_kept
    result["started_differs"] = started

    # Back to the half-way weights in the engine that went on, as early stopping does.
    weights = shared(engine, encoder)
    nested = nest(shared(engine, heads), engine.heads)
    engine.load_weights(weights, nested)
    with torch.no_grad():
        again = engine.encoder(probe_BL, torch.ones_like(probe_BL), None, None)[0]
    result["back_hidden_equal"] = torch.equal(hidden_half, again)
    result["back_differs"] = differing(encoder, engine.encoder_state())  # empty but on rank 0
    moments = shared(engine, moments)
    engine.close()

    # A new process would start from other weights.
    resumed = build(variant, seed=2)
    resumed.load_weights(weights, nested)
    resumed.load_optimizer_state(moments)
    loaded = resumed.optimizer_state()
    result["loaded_differs"] = differing(moments, loaded) if resumed.rank == 0 else []
    result["resumed_losses"] = train(resumed, HALF, len(PLAN))["losses"]
    result["resumed_differs"] = [
        n for a, b in zip(final, everything(resumed), strict=True) for n in differing(a, b)
    ]
    result["world_size"] = resumed.world_size
    resumed.close()
    if resumed.rank == 0:
        save_file(encoder, output / f"{variant}.half.encoder.safetensors")
        save_file(heads, output / f"{variant}.half.heads.safetensors")
        save_file(moments, output / f"{variant}.half.optimizer.safetensors")
        (output / f"{variant}.json").write_text(json.dumps(result))
        save_file(final[0] | final[1], output / f"{variant}.safetensors")
        save_file(final[2], output / f"{variant}.optimizer.safetensors")


def run_from(variant, other, output):
    """Go on in this variant from what another has saved half-way."""
    encoder, heads, moments = (
        load_file(output / f"{other}.half.{part}.safetensors") for part in ("encoder", "heads", "optimizer")
    )
    engine = build(variant, seed=3)
    engine.load_weights(encoder, nest(heads, engine.heads))
    engine.load_optimizer_state(moments)
    result = train(engine, HALF, len(PLAN))
    engine.close()
    if engine.rank == 0:
        (output / f"{variant}-from-{other}.json").write_text(json.dumps(result))


def live_bytes():
    gc.collect()
    found = [o for o in gc.get_objects() if issubclass(type(o), torch.Tensor)]
    return sum({s.data_ptr(): s.nbytes() for s in (o.untyped_storage() for o in found)}.values())


def close_many(variant, output):
    """Note the bytes of all tensors after each of some engines."""
    sizes = []
    for _ in range(4):
        engine = build(variant, seed=1)
        train(engine, 0, 2)
        rank = engine.rank
        engine.close()
        del engine
        sizes.append(live_bytes())
    if rank == 0:
        (output / f"{variant}-closed.json").write_text(json.dumps(sizes))


class Spoiled(torch.autograd.Function):
    """Its value is finite, and its gradient is not."""

    @staticmethod
    def forward(context, value):
        return value.clone()

    @staticmethod
    def backward(context, gradient):
        return gradient * float("nan")


class Cleaned(Spoiled):
    """Lets no gradient through that is not a number."""

    @staticmethod
    def backward(context, gradient):
        return torch.nan_to_num(gradient)


# Head of the step, what of one rank is not a number, and the steps before.
DIVERGENCES = [
    ("shared", "loss", 1),
    ("shared", "encoder", 1),
    ("shared", "head", 1),
    ("shared", "head", 0),
    ("decoder", "encoder", 1),
    ("decoder", "head", 2),
]


def diverge(variant, output):
    """Say what a gradient that is not a number moves, and the norms that all ranks are told."""
    result = {}
    for head, where, start in DIVERGENCES:
        engine = build(variant, seed=1)
        first = train(engine, 0, start)["losses"]
        before = everything(engine)
        spoil = where if engine.rank == 0 else ""
        engine.start_step(1)
        loss = slot_loss(engine, 0, head, (2, 2), spoil)
        engine.backward(loss * float("nan") if spoil == "loss" else loss)
        norms = engine.step({head}, 1.0)
        moved = [n for a, b in zip(before, everything(engine), strict=True) for n in differing(a, b)]
        finite = {name: math.isfinite(norm) for name, norm in norms.items()}
        rest = train(engine, start, HALF)["losses"]
        result[f"{head}, {where}, {start}"] = {
            "finite": engine.all_gather_objects(finite),
            "moved": moved,
            "losses": first + rest,
        }
        engine.close()
    if engine.rank == 0:
        (output / f"{variant}-diverges.json").write_text(json.dumps(result))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    torch.set_num_threads(1)
    gc.freeze()  # DeepSpeed collects garbage many times for each bf16 engine; modules are none
    folder = Path(sys.argv[1])
    for case in sys.argv[2:]:
        match case.split(":"):
            case [name]:
                run(name, folder)
            case ["close", name]:
                close_many(name, folder)
            case ["diverge", name]:
                diverge(name, folder)
            case [name, other]:
                run_from(name, other, folder)
