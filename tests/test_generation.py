"""Texts as predictions, from a spec to a report: what is generated, scored, saved and answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sslm_platform.errors import DataError, RunError, SpecError
from sslm_platform.runs import load_run, read_scores

VERDICT = {
    "name": "verdict",
    "fields": {"text": "text", "target": "label"},
    "objective": {"name": "teacher_forcing", "options": {"label_smoothing": 0.0}},
    "head": {
        "name": "decoder",
        "tokenizer": {"vocabulary_size": 280},
        "options": {"layers": 1, "dropout": 0.0, "decoding": {"max_length": 16, "beams": 2}},
    },
    "metrics": ["same_text", "bleu", "distinct"],
}
TRANSFER = [
    {
        "source_stage": "full",
        "target_stage": stage,
        "sources": "joint",
        "targets": {"task": "verdict"},
        **more,
    }
    for stage, more in (("zero_shot", {}), ("finetune", {"finetune_max_steps": 2}))
]


def written(content, **head):
    content["streams"][0]["tasks"] = [json.loads(json.dumps(VERDICT))]
    content["streams"][0]["tasks"][0]["head"].update(head)
    return content


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_specs, texts):
    from tests.conftest import run_cli

    folder = tmp_path_factory.mktemp("generation")
    made = make_specs(folder)
    content = made.content(
        "films",
        schedule={"tokens_per_batch": 512, "max_steps": 60},
        evaluation={"every": 30, "max_generated": 5},
        limit={"test": 12},
        transfer=TRANSFER,
    )
    status, out, err = run_cli(
        "run", made.write(written(content)), "--out", folder / "run", "--cache", texts / "cache"
    )
    assert status == 0, err
    return folder / "run", out


def test_a_decoder_learns_what_the_constant_text_cannot_say(run):
    (scores,) = read_scores(run[0])
    assert scores.scores["same_text"].value == 1.0
    assert 0 < scores.majority["same_text"].value < 0.8


def test_the_run_notes_how_bleu_was_computed(run):
    notes = json.loads((run[0] / "run.json").read_text())["notes"]
    assert any(note.startswith("bleu (nrefs:1|case:mixed|") and "verdict@film" in note for note in notes)


def test_a_saved_head_answers_with_its_own_tokenizer(run):
    folder = run[0] / "train" / "model" / "heads" / "verdict@film"
    assert (folder / "tokenizer.json").exists()
    texts = [
        "the film was great and the plot felt moving, take 900",
        "the music was awful and the cast felt dull",
    ]
    answers = load_run(run[0]).predict(texts, "verdict@film")
    assert [answer["generated"] for answer in answers] == ["positive", "negative"]
    assert answers[0]["text"] == texts[0]


def test_cells_of_texts_have_scores_and_baselines(run):
    records = [json.loads(p.read_text()) for p in (run[0] / "transfer" / "cells").glob("*/record.json")]
    assert all(record["status"] == "done" for record in records), [r["error"] for r in records]
    found = {(r["key"]["source_stage"], r["key"]["target_stage"]): r["scores"] for r in records}
    assert found["full", "zero_shot"]["same_text"]["value"] == 1.0
    assert found["copy", "zero_shot"]["same_text"]["value"] == 0.0
    assert {("majority", "zero_shot"), ("lead", "zero_shot"), ("lead", "finetune")} <= set(found)
    assert ("none", "finetune") in found
    assert not any(stage == "head" for stage, _ in found)


def test_a_model_is_bound_to_its_tokenizer(run, texts):
    import shutil

    from sslm_platform.train.model import load_trained

    opened = load_run(run[0])
    copy = run[0].parent / "other"
    shutil.copytree(run[0] / "train" / "model", copy)
    file = copy / "heads" / "verdict@film" / "tokenizer.json"
    file.write_text(file.read_text().replace('"positive"', '"positivo"', 1) + " ")
    corpus = opened.corpus
    with pytest.raises(RunError, match="trained with another tokenizer"):
        load_trained(corpus, list(corpus.run.tasks.values()), copy)


@pytest.fixture
def problems(specs):
    def problems(content):
        with pytest.raises(SpecError) as caught:
            specs.resolve(content)
        return [str(problem).rpartition("spec.yaml: ")[2] for problem in caught.value.problems]

    return problems


T = "streams[0].tasks[0]"


def test_only_heads_that_write_own_a_tokenizer(specs, problems):
    content = specs.content("films")
    content["streams"][0]["tasks"][0]["head"]["tokenizer"] = {"vocabulary_size": 300}
    assert problems(content) == [
        f"{T}.head.tokenizer: sequence_classifier emits sequence_logits: only heads that generate text have a"
        " tokenizer"
    ]


def test_a_metric_that_describes_is_never_primary(specs, problems):
    content = written(specs.content("films"))
    task = content["streams"][0]["tasks"][0]
    task["metrics"] = ["distinct", "bleu"]
    assert problems(content)[0].startswith(f"{T}.metrics[0]: distinct describes predictions and ranks none")
    task["primary_metric"] = "bleu"
    assert specs.resolve(content).tasks["verdict@film"].primary_name == "bleu"
    content["evaluation"] = {"select_by": "verdict@film/distinct"}
    assert problems(content)[0].startswith("evaluation.select_by: distinct describes predictions")


def test_texts_have_no_probe(specs):
    from sslm_platform.transfer.cells import plan_cells

    block = {"source_stage": "full", "target_stage": "probe", "sources": "joint", "targets": "all"}
    corpus = specs.corpus(written(specs.content("films", transfer=[block])))
    with pytest.raises(
        SpecError, match="verdict@film: a head that generates text has no probe; use finetune"
    ):
        plan_cells(corpus)


def test_dev_texts_are_few_and_the_same_at_each_scoring(specs):
    from sslm_platform.engine.factory import make_engine
    from sslm_platform.train.loop import plan_training
    from sslm_platform.train.model import build_model
    from sslm_platform.train.selection import Evaluator

    content = specs.content("films", evaluation={"max_generated": 4})
    corpus = specs.corpus(written(content))
    spec, model = corpus.run.spec, build_model(corpus, list(corpus.run.tasks.values()), 1)
    engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads)
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "joint")
    evaluator = Evaluator(training, engine)
    first, second = (evaluator.scored("dev")["verdict@film"] for _ in range(2))
    assert len(first) == 4
    assert first.predictions == second.predictions
    assert evaluator.majority_scored("dev")["verdict@film"].references == first.references
    assert len(evaluator.scored("test")["verdict@film"]) > 4


def test_a_rare_target_has_its_own_few_dev_texts_and_leaves_others_theirs(specs, tmp_path):
    from sslm_platform.engine.factory import make_engine
    from sslm_platform.train.loop import plan_training
    from sslm_platform.train.model import build_model
    from sslm_platform.train.selection import Evaluator

    content = written(specs.content("films", evaluation={"max_generated": 2}))
    (stream,) = content["streams"]
    rows = [json.loads(line) for line in Path(stream["data"]["path"]).read_text().splitlines()]
    lines = [json.dumps(row | {"note": row["label"] if n % 4 == 0 else None}) for n, row in enumerate(rows)]
    stream["data"]["path"] = str(tmp_path / "films.jsonl")
    Path(stream["data"]["path"]).write_text("\n".join(lines))
    stream["split"] = {"by": "hash", "train": 0.5, "dev": 0.3, "test": 0.2}
    stream["tasks"][0]["fields"]["target"] = "note"
    stream["tasks"].append(specs.content("films")["streams"][0]["tasks"][0])
    corpus = specs.corpus(content)
    spec, model = corpus.run.spec, build_model(corpus, list(corpus.run.tasks.values()), 1)
    engine = make_engine(spec.engine, spec.optimizer, model.encoder, model.heads)
    training = plan_training(corpus, model, spec.schedule, spec.optimizer, spec.seed, "joint")
    scored = Evaluator(training, engine).scored("dev")
    available = {task: len(read.splits["dev"]) for task, read in corpus.task_rows.items()}
    assert available["verdict@film"] > 4
    assert len(scored["verdict@film"]) == 2
    others = available["sentiment@film"] - available["verdict@film"]
    assert others < len(scored["sentiment@film"]) <= others + 2
    assert all(scored["verdict@film"].references)


def test_tasks_with_one_decoder_share_its_tokenizer(specs):
    content = written(specs.content("films", "shops"), shared_as="writer")
    content["streams"][1]["tasks"] = content["streams"][0]["tasks"]
    corpus = specs.corpus(content)
    tasks = list(corpus.run.tasks.values())
    both, one = corpus.text_tokenizer(tasks), corpus.text_tokenizer(tasks[:1])
    assert both is corpus.text_tokenizer(tasks)
    assert both.decode(both.encode(["Straße 删除 🙂"])) == ["Straße 删除 🙂"]
    assert both.content != one.content


def test_a_tokenizer_that_cannot_write_the_targets_is_refused_or_noted(specs):
    """German targets behind a tokenizer of lower-case English."""
    content = written(specs.content("films", "shops"))
    english = {"train": {"vocabulary_size": 200, "lowercase": True}}
    content["encoder"] = content["encoder"] | {"tokenizer": english, "max_unknown": 0.3}
    first = content["streams"][0]["tasks"][0]
    del first["head"]["tokenizer"]
    content["streams"] = content["streams"][:1]
    path = specs.folder / "notes.jsonl"
    rows = [{"text": f"the film of {i}", "label": "Ärger Über ALLES"[i % 7 :]} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    content["streams"][0]["data"]["path"] = str(path)
    corpus = specs.corpus(content, "encoder.max_unknown=1.0")
    corpus.check_unknown()
    (note,) = [w for w in corpus.warnings if w.startswith("verdict@film:")]
    assert "of the target texts lose case, accents or characters in the encoder's tokenizer" in note
    with pytest.raises(
        DataError, match=r"tasks\[0\]\.head: the encoder's tokenizer turns .*model bpe has none"
    ):
        specs.corpus(content, "encoder.max_unknown=0.01").check_unknown()
    first["head"]["tokenizer"] = {"vocabulary_size": 300}
    corpus = specs.corpus(content)
    corpus.check_unknown()
    assert not [w for w in corpus.warnings if "target texts" in w]
