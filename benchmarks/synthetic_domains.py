"""Domains of synthetic sentiment, each with words of its own, and a tiny encoder: for counting work."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

ENCODER = {
    "config": {
        "model_type": "bert",
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    },
    "tokenizer": {"train": {"vocabulary_size": 400}},
    "max_length": 32,
}
SIZE = 120


def matrix_spec(folder: Path, num_domains: int) -> dict[str, Any]:
    """Write the domains' texts and an encoder; return the spec of their matrices, with absolute paths."""
    streams = [_stream(folder, number) for number in range(num_domains)]
    sentiment = {"task": "sentiment"}
    spec: dict[str, Any] = {
        "name": "domains",
        "seed": 1,
        "encoder": ENCODER,
        "streams": streams,
        "schedule": {"tokens_per_batch": 256, "max_steps": 4},
        "optimizer": {"lr": 5e-3},
        "engine": {"threads": 1},
        "transfer": [
            {"source_stage": "full", "target_stage": "zero_shot", "sources": sentiment, "targets": sentiment},
            {"source_stage": "none", "target_stage": "probe", "targets": sentiment},
        ],
    }
    return spec | {"encoder": {"path": str(_save_encoder(folder, spec)), "max_length": 32}}


def _stream(folder: Path, number: int) -> dict[str, Any]:
    rng = random.Random(number)
    nouns = [f"noun{number}x{index}" for index in range(5)]
    rows = []
    for row in range(SIZE):
        good = row % 2 == 0
        words = rng.sample(("great", "lovely", "clever") if good else ("dull", "awful", "weak"), 2)
        text = f"the {rng.choice(nouns)} was {words[0]} and {words[1]} on day {row}"
        rows.append({"text": text, "label": "positive" if good else "negative"})
    path = folder / f"domain{number}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {
        "name": "sentiment",
        "fields": {"text": "text", "label": "label"},
        "objective": {"name": "cross_entropy"},
        "head": {"name": "sequence_classifier", "shared_as": "sentiment"},
        "metrics": ["macro_f1"],
    }
    data = {"source": "files", "path": str(path), "format": {"name": "jsonl"}}
    names = {"name": f"domain{number}", "domain": f"domain{number}"}
    return {**names, "data": data, "split": {"by": "hash"}, "tasks": [task]}


def _save_encoder(folder: Path, spec: dict[str, Any]) -> Path:
    """Write the encoder, so that it and its tokenizer stay the same when a domain is added."""
    import yaml

    from sslm_platform.model.backbone import load_backbone
    from sslm_platform.model.encoder import SharedEncoder
    from sslm_platform.model.store import save_model
    from sslm_platform.runs import open_run

    path = folder / "encoder.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    corpus = open_run(path, out=folder / "none", cache=folder / "cache").corpus
    backbone = load_backbone(corpus.run.spec.encoder, corpus.tokenizer, seed=1)
    save_model(folder / "model", backbone, corpus.tokenizer, SharedEncoder(backbone).state_dict(), {})
    return folder / "model" / "encoder"
