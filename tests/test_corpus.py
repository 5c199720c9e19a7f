"""What a run reads: label sets, feeds, the tokenizer's unknown tokens, all problems at once."""

from __future__ import annotations

import json

import pytest

from sslm_platform.errors import DataError, SpecError


def test_a_shared_head_has_the_labels_of_the_tasks_it_is_built_for(specs):
    content = specs.content("films", "shops")
    content["streams"][1]["tasks"][0]["fields"]["label"] = {
        "column": "label",
        "map": {"positive": "positive", "negative": "bad"},
    }
    corpus = specs.corpus(content)
    film, shop = (corpus.run.tasks[f"sentiment@{domain}"] for domain in ("film", "shop"))
    assert corpus.labels([film]) == ("negative", "positive")
    assert corpus.labels([shop]) == ("bad", "positive")
    assert corpus.labels([film, shop]) == ("bad", "negative", "positive")
    assert corpus.labels([corpus.run.tasks["mlm@film"]]) == ()


def test_the_training_subsample_depends_on_the_seed_and_the_test_split_does_not(specs):
    content = specs.content("films", limit={"train": 20, "test": 10})
    corpus = specs.corpus(content)
    task = corpus.run.tasks["sentiment@film"]
    first, again, other = (corpus.task_feed(task, seed) for seed in (1, 1, 2))
    assert first is again
    assert set(first.splits["train"].keys_N) != set(other.splits["train"].keys_N)
    assert first.splits["test"].keys_N.tolist() == other.splits["test"].keys_N.tolist()
    info = corpus.task_info(task, 1)
    assert (info.num_train, info.num_test, info.num_available) == (20, 10, 160)


def test_without_a_limit_all_seeds_share_one_feed(corpus):
    task = corpus.run.tasks["sentiment@film"]
    assert corpus.task_feed(task, 1) is corpus.task_feed(task, 2)


def test_problems_of_all_streams_come_at_once_with_their_places(specs):
    content = specs.content("films", "shops", "names")
    content["streams"][0]["tasks"][1]["fields"]["value"] = "ratng"
    content["streams"][1]["data"]["path"] = "none.jsonl"
    content["streams"][2]["tasks"][0]["fields"]["tokens"] = "words"
    with pytest.raises(DataError) as caught:
        specs.corpus(content)
    messages = [str(p).rpartition("spec.yaml: ")[2] for p in caught.value.problems]
    assert len(messages) == 3
    assert messages[0].startswith("streams[0].tasks[1].fields.value: no column 'ratng'")
    assert messages[0].endswith("did you mean rating?")
    assert messages[1].startswith("streams[1].data")
    assert "none.jsonl" in messages[1]
    assert messages[2].startswith("streams[2].tasks[0].fields.tokens: no column 'words'")


@pytest.fixture
def english_encoder(specs):
    """A folder whose tokenizer knows the English texts' characters only."""
    from sslm_platform.model.backbone import load_backbone
    from sslm_platform.model.encoder import SharedEncoder
    from sslm_platform.model.store import save_model

    corpus = specs.corpus(specs.content("films"))
    spec = corpus.run.spec.encoder
    backbone = load_backbone(spec, corpus.tokenizer, 1)
    save_model(specs.folder / "english", backbone, corpus.tokenizer, SharedEncoder(backbone).state_dict(), {})
    return {"path": str(specs.folder / "english" / "encoder"), "max_length": 32}


def test_a_tokenizer_that_does_not_know_a_language_is_refused(specs, english_encoder):
    corpus = specs.corpus(specs.content("films", "shops", encoder=english_encoder))
    with pytest.raises(DataError) as caught:
        corpus.check_unknown()
    (problem,) = caught.value.problems
    assert problem.where.endswith("spec.yaml: streams[1].tasks[0]")
    assert "% of the tokens into unknown ones (limit 20%)" in problem.what
    assert "encoder.max_unknown" in problem.what


def test_fewer_unknown_tokens_than_the_limit_are_a_warning(specs, english_encoder):
    corpus = specs.corpus(specs.content("shops", encoder=english_encoder | {"max_unknown": 1.0}))
    corpus.check_unknown()
    assert any("of the tokens are unknown to the tokenizer" in warning for warning in corpus.warnings)


def test_a_trained_tokenizer_sees_the_training_split_alone(specs):
    rows = [{"text": f"word{'x' * (i % 5)} number {i}", "label": "ab"[i % 2]} for i in range(40)]
    files = {}
    for split, marks in (("train", ""), ("dev", " Ω"), ("test", " Ψ")):
        path = specs.folder / f"{split}.jsonl"
        path.write_text("".join(json.dumps(r | {"text": r["text"] + marks}) + "\n" for r in rows))
        files[split] = str(path)
    content = specs.content("shops")
    content["streams"][0] |= {"split": {"by": "given"}}
    content["streams"][0]["data"]["path"] = files
    vocabulary = specs.corpus(content).tokenizer.get_vocab()
    assert "x" in "".join(vocabulary)
    assert not {"Ω", "Ψ"} & set("".join(vocabulary))


def test_a_stream_whose_tasks_take_no_part_is_not_read(specs):
    content = specs.content("films", "shops", tasks={"domain": "film"})
    content["streams"][1]["data"]["path"] = "none.jsonl"
    assert list(specs.corpus(content).rows) == ["films"]


def test_a_tied_head_is_refused_on_embeddings_of_another_width(specs):
    content = specs.content("films")
    content["encoder"]["config"] |= {"model_type": "electra", "embedding_size": 16}
    corpus = specs.corpus(content)
    with pytest.raises(SpecError) as caught:
        corpus.check_heads()
    (problem,) = caught.value.problems
    assert problem.where.endswith(".head.name")
    assert "16 wide in this electra" in problem.what
