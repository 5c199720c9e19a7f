"""Small texts with a signal that can be learned, in two languages, and one finished run on them."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import runpy
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

GOOD = ("great", "lovely", "clever", "moving", "funny")
BAD = ("dull", "awful", "clumsy", "boring", "weak")
NOUNS = ("film", "plot", "acting", "music", "ending", "cast")
GOOD_ZH = ("好吃", "便宜", "干净", "满意")
BAD_ZH = ("难吃", "太贵", "很脏", "失望")
NOUNS_ZH = ("菜", "店", "服务", "环境", "汤")
PEOPLE = ("Ada", "Grace", "Alan", "Edsger", "Barbara")
PLACES = ("Zurich", "Austin", "Kyoto", "Bath", "Nantes")

APART = 6  # files from one that starts ranks to the next
FORKED = Path(__file__).with_name("forked.py")
PRELOADED = [
    "sslm_platform.cli",
    "sslm_platform.transfer.runner",
    "sslm_platform.engine.local",
    *(["deepspeed", "sslm_platform.engine.deepspeed"] if find_spec("deepspeed") else []),
    "transformers.models.bert.modeling_bert",
    "scipy.stats",
]
ENCODER = {
    "config": {
        "model_type": "bert",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    },
    "tokenizer": {"train": {"vocabulary_size": 300}},
    "max_length": 32,
}


@pytest.fixture(autouse=True, scope="session")
def _data_folder() -> Any:
    """Some shipped specs read data that users have in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA", "/data")
        yield


def _films(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for number in range(160):
        good = number % 2 == 0
        words = rng.sample(GOOD if good else BAD, 2)
        nouns = rng.sample(NOUNS, 2)
        text = f"the {nouns[0]} was {words[0]} and the {nouns[1]} felt {words[1]}, take {number}"
        rating = (1 if good else -1) * (2.0 + (words[0] in ("great", "awful")))
        rows.append({"text": text, "label": "positive" if good else "negative", "rating": rating})
    return rows


def _shops(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for number in range(120):
        good = number % 2 == 0
        first, second = rng.sample(NOUNS_ZH, 2)
        words = rng.sample(GOOD_ZH if good else BAD_ZH, 2)
        text = f"这家的{first}{words[0]}、{second}{words[1]}、{number}号桌。"
        rows.append({"text": text, "label": "positive" if good else "negative"})
    return rows


def _pairs(rng: random.Random) -> list[dict[str, Any]]:
    rows = []
    for number in range(100):
        noun, other = rng.sample(NOUNS, 2)
        same = number % 2 == 0
        question = f"how was the {noun} of number {number}?"
        answer = f"the {noun if same else other} was {rng.choice(GOOD + BAD)}"
        rows.append({"question": question, "answer": answer, "fits": "yes" if same else "no"})
    return rows


def _names(rng: random.Random) -> str:
    sentences = []
    for number in range(120):
        person, place = rng.choice(PEOPLE), rng.choice(PLACES)
        words = ["yesterday", person, "Smith", "came", "to", place, str(number)]
        tags = ["O", "B-PER", "I-PER", "O", "O", "B-LOC", "O"]
        sentences.append("".join(f"{w} {t}\n" for w, t in zip(words, tags, strict=True)))
    return "\n".join(sentences)


def _task(name: str, fields: dict[str, Any], head: str, metrics: list[Any], **more: Any) -> dict[str, Any]:
    objective = {"sequence_regressor": "mse", "lm": "mlm"}.get(head, "cross_entropy")
    return {
        "name": name,
        "fields": fields,
        "objective": {"name": objective},
        "head": {"name": head, **more},
        "metrics": metrics,
    }


def _stream(name: str, domain: str, file: str, tasks: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    form = {"conll": "conll"}.get(file.rpartition(".")[2], "jsonl")
    data = {"source": "files", "path": file, "format": {"name": form}}
    return {"name": name, "domain": domain, "data": data, "split": {"by": "hash"}, "tasks": tasks, **more}


SENTIMENT = _task(
    "sentiment",
    {"text": "text", "label": "label"},
    "sequence_classifier",
    ["macro_f1", "accuracy"],
    shared_as="sentiment",
)
RATING = _task("rating", {"text": "text", "value": "rating"}, "sequence_regressor", ["spearman"])
MLM = _task("mlm", {"text": "text"}, "lm", ["bits_per_token"])
NAMES = _task("names", {"tokens": "tokens", "tags": "tags"}, "token_classifier", ["entity_f1"])
FITS = _task(
    "fits",
    {"text": "question", "text_pair": "answer", "label": "fits"},
    "sequence_classifier",
    ["accuracy"],
)

STREAMS = {
    "films": _stream("films", "film", "films.jsonl", [SENTIMENT, RATING, MLM], tags={"language": "en"}),
    "shops": _stream("shops", "shop", "shops.jsonl", [SENTIMENT], tags={"language": "zh"}),
    "names": _stream("names", "news", "names.conll", [NAMES]),
    "pairs": _stream("pairs", "quiz", "pairs.jsonl", [FITS]),
}


@dataclass(frozen=True, slots=True)
class Specs:
    """Writes specs next to the texts that they name, and opens what they describe."""

    folder: Path
    texts: Path

    def content(self, *streams: str, **sections: Any) -> dict[str, Any]:
        """Return a spec's content with these streams (default: all); ``sections`` replace top-level keys."""
        content: dict[str, Any] = {
            "name": "tiny",
            "seed": 3,
            "encoder": ENCODER,
            "streams": [STREAMS[name] for name in streams or STREAMS],
            "schedule": {"tokens_per_batch": 256, "max_steps": 6},
            "optimizer": {"lr": 5.0e-3},
            "engine": {"threads": 1},
        }
        content = json.loads(json.dumps(content | sections))  # unlike deepcopy, it shares nothing
        for stream in content["streams"]:
            path = stream["data"].get("path")
            if isinstance(path, str):
                stream["data"]["path"] = str(self.texts / path)
        return content

    def write(self, content: dict[str, Any], name: str = "spec.yaml") -> Path:
        """Write a spec and return its path."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    def resolve(self, content: dict[str, Any], *overrides: str) -> Any:
        """Return the resolved run of a spec."""
        from sslm_platform.spec.load import load_run_spec
        from sslm_platform.spec.resolve import resolve

        return resolve(load_run_spec(self.write(content), overrides))

    def corpus(self, content: dict[str, Any], *overrides: str) -> Any:
        """Return the data of a spec; all tests share one cache, which is keyed by content."""
        from sslm_platform.corpus import Corpus

        return Corpus(self.resolve(content, *overrides), self.texts / "cache")


class Ranks:
    """A command or script in some processes, each forked from one that has imported what takes seconds."""

    def __init__(self, context: Any, argv: list[str], num: int, logs: list[str], inherited: dict[str, str]):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
        self.processes = []
        for rank in range(num):
            group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num, "LOCAL_WORLD_SIZE": num}
            group = {key: str(value) for key, value in group.items()} | address if num > 1 else {}
            out, err = (f"{log}.{rank}" for log in logs)
            given = {"ARGV": argv, "ENVIRONMENT": inherited | group, "OUT": out, "ERR": err}
            run = partial(runpy.run_path, str(FORKED), init_globals=given, run_name="__main__")
            self.processes.append(context.Process(target=run))
            self.processes[-1].start()

    @property
    def are_alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def wait(self, patience: float) -> list[int]:
        """Return the exit codes; when a rank fails, the others are ended, as a launcher would."""
        deadline = time.monotonic() + patience
        while any(process.is_alive() for process in self.processes):
            failed = any(process.exitcode for process in self.processes)
            if failed or time.monotonic() > deadline:
                time.sleep(2.0 if failed else 0.0)
                for process in self.processes:
                    process.kill()
            for process in self.processes:
                process.join(0.05)
            assert failed or time.monotonic() <= deadline, "it hangs"
        return [process.exitcode for process in self.processes]


@pytest.fixture(scope="session")
def start_ranks() -> Callable[..., Ranks]:
    """Return a function that starts ``argv`` (of ``sslm``, or a script's) in some processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def start(argv: list[Any], num: int, out: Path, err: Path, **environment: str) -> Ranks:
        """What a rank says is in the files with its number behind their names."""
        unwanted = ("PYTEST", "DS_", "CC", "CXX")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
        inherited |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "HF_HUB_OFFLINE": "1"}
        return Ranks(context, [str(a) for a in argv], num, [str(out), str(err)], inherited | environment)

    return start


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long first, so that no worker begins one when the others have nothing left.

    Those that start ranks stand apart: two pairs of ranks on two cores wait for each other.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    ranks = [path for path in files if path.parent.name == "distributed"]
    long = {item.path for item in items for mark in ("slow", "distributed") if item.get_closest_marker(mark)}
    others = sorted((path for path in files if path not in ranks), key=lambda path: path not in long)
    for place, path in enumerate(ranks):
        others.insert(place * APART, path)
    items[:] = [item for path in others for item in files[path]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=3, help="how often test_kills.py kills each training")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with films.jsonl, shops.jsonl (Chinese), names.conll and pairs.jsonl."""
    folder = tmp_path_factory.mktemp("texts")
    rng = random.Random(7)
    for name, rows in (("films", _films(rng)), ("shops", _shops(rng)), ("pairs", _pairs(rng))):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "names.conll").write_text(_names(rng), encoding="utf-8")
    return folder


@pytest.fixture
def specs(tmp_path: Path, texts: Path) -> Specs:
    return Specs(tmp_path, texts)


@pytest.fixture(scope="session")
def make_specs(texts: Path) -> Callable[[Path], Specs]:
    """For fixtures that outlive a test: specs in a folder of theirs."""
    return lambda folder: Specs(folder, texts)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Any:
    """All streams, read once."""
    made = Specs(tmp_path_factory.mktemp("corpus"), texts)
    return made.corpus(made.content())


@pytest.fixture(scope="session")
def encoder_folder(corpus: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The section `encoder` of a saved encoder, whose tokenizer does not depend on a spec's streams."""
    from sslm_platform.model.backbone import load_backbone
    from sslm_platform.model.encoder import SharedEncoder
    from sslm_platform.model.store import save_model

    folder = tmp_path_factory.mktemp("encoder") / "model"
    backbone = load_backbone(corpus.run.spec.encoder, corpus.tokenizer, seed=11)
    save_model(folder, backbone, corpus.tokenizer, SharedEncoder(backbone).state_dict(), {})
    return {"path": str(folder / "encoder"), "max_length": 32}


@pytest.fixture
def model(corpus: Any) -> Any:
    """An untrained model of all tasks in evaluation mode, the same in every test."""
    from sslm_platform.train.model import build_model

    built = build_model(corpus, list(corpus.run.tasks.values()), seed=1)
    for module in (built.encoder, *built.heads.values()):
        module.eval()
    return built


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ``sslm run`` has done from end to end; tests must not change it."""

    path: Path
    spec: Path
    cache: Path
    printed: str


TRANSFER = [
    {
        "source_stage": "full",
        "target_stage": "zero_shot",
        "sources": [{"task": "sentiment"}, {"task": "sentiment", "by": "task"}],
        "targets": {"task": "sentiment"},
    },
    {
        "source_stage": "full",
        "target_stage": "probe",
        "sources": ["joint", {"task": "mlm"}],
        "targets": {"task": ["names", "rating"]},
    },
    {
        "source_stage": "full",
        "target_stage": "finetune",
        "sources": {"task": "mlm"},
        "targets": {"task": "fits"},
        "finetune_max_steps": 3,
    },
]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, texts: Path) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    made = Specs(folder, texts)
    content = made.content(
        schedule={"tokens_per_batch": 256, "slots_per_step": 2, "max_steps": 40},
        evaluation={"every": 20},
        checkpoint={"every": 20},
        transfer=TRANSFER,
    )
    spec, path, cache = made.write(content), folder / "run", texts / "cache"
    status, out, err = run_cli("run", spec, "--out", path, "--cache", cache)
    assert status == 0, err
    return Finished(path, spec, cache, out)


def run_cli(*argv: object, stdin: str = "") -> tuple[int, str, str]:
    """Run the command line in this process; return its exit code and what it printed."""
    import contextlib
    import io
    import sys
    from unittest import mock

    from sslm_platform.cli import main

    out, err = io.StringIO(), io.StringIO()
    words = ["sslm", *map(str, argv)]
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        mock.patch.dict("os.environ", {"COLUMNS": "160"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


@pytest.fixture
def cli() -> Callable[..., tuple[int, str, str]]:
    """The command line: ``status, out, err = cli("check", spec)``."""
    return run_cli
