"""Classification by a template and words, on a small language model, from the spec to the answer."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from sslm_platform.errors import SpecError
from sslm_platform.runs import open_run

TEMPLATE = "{text} It was {mask}."
WORDS = {"negative": "dull", "positive": ["great", "lovely"]}


def prompted(words=WORDS, template=TEMPLATE, name="sentiment"):
    return {
        "name": name,
        "fields": {"text": "text", "label": "label"},
        "template": template,
        "objective": {"name": "cross_entropy"},
        "head": {"name": "verbalizer", "options": {"words": words}},
        "metrics": ["accuracy"],
    }


@pytest.fixture(scope="module")
def language_model(corpus, tmp_path_factory):
    """A folder with a masked language model, of random weights, and its tokenizer."""
    folder = tmp_path_factory.mktemp("lm")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(5)
    model = BertForMaskedLM(BertConfig(vocab_size=len(corpus.tokenizer), **sizes)).eval()
    torch.nn.init.normal_(model.cls.predictions.bias)
    model.save_pretrained(folder)
    file = folder / "model.safetensors"  # under the names that BERT's first checkpoints have
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = {re.sub("|".join(old), lambda m: old[m[0]], n): v for n, v in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    corpus.tokenizer.save_pretrained(folder)
    return folder, model


@pytest.fixture
def content(specs, language_model):
    made = specs.content("films", encoder={"path": str(language_model[0]), "max_length": 32})
    made["streams"][0]["tasks"] = [prompted()]
    made["schedule"] = {"tokens_per_batch": 256, "max_steps": 0}
    return made


def opened(specs, content, tmp_path, texts):
    return open_run(specs.write(content), out=tmp_path / "run", cache=texts / "cache")


def test_zero_shot_answers_are_the_language_models_own(
    specs, content, language_model, tmp_path, texts, corpus
):
    run = opened(specs, content, tmp_path, texts)
    run.train()
    (score,) = run.evaluate("test")
    assert 0 <= score.scores["accuracy"].value <= 1
    tokenizer, (_, model) = corpus.tokenizer, language_model
    given = ["the film was dull", "the plot was great and the cast felt moving"]
    answers = run.predict(given, "sentiment@film")
    for text, answer in zip(given, answers, strict=True):
        ids = tokenizer(f"{text} It was {tokenizer.mask_token}.", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(ids).logits[ids == tokenizer.mask_token_id]
        log_p = torch.log_softmax(logits[0], dim=-1)
        ids_of = {w: tokenizer(w, add_special_tokens=False)["input_ids"] for w in ("dull", "great", "lovely")}
        assert all(len(found) == 1 for found in ids_of.values())
        one = {word: log_p[found[0]].item() for word, found in ids_of.items()}
        scores = np.array([one["dull"], (one["great"] + one["lovely"]) / 2])
        expected = np.exp(scores) / np.exp(scores).sum()
        assert list(answer["probabilities"].values()) == pytest.approx(expected, abs=2e-4)


def test_words_need_enough_masks_and_all_labels(specs, content, tmp_path, texts):
    content["streams"][0]["tasks"] = [prompted({"negative": "dull and weak", "positve": "great"})]
    with pytest.raises(SpecError, match=r"words.positve: no such label; did you mean positive\?"):
        opened(specs, content, tmp_path, texts).train()
    content["streams"][0]["tasks"] = [prompted({"negative": "dull and weak", "positive": "great"})]
    with pytest.raises(SpecError, match="'dull and weak' is 3 tokens, and the template has 1 masks"):
        opened(specs, content, tmp_path, texts).train()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, r"tasks\[0\].template: its head reads mask tokens: give one"),
        ("{text}. Great?", r"template: lacks \{mask\}, which the head reads"),
        ("{txt} {mask}", r"template: \{txt\} is no field of the task; did you mean text\?"),
        ("{mask}", r"template: lacks \{text\}, which the task reads"),
        ("{text} {mask", "template: .*brace of the text itself is written twice"),
    ],
)
def test_templates_are_checked(specs, content, template, message):
    content["streams"][0]["tasks"] = [prompted(template=template)]
    with pytest.raises(SpecError, match=message):
        specs.resolve(content)


def test_a_language_model_reads_plain_texts(specs, content):
    """With a template there would be no bytes to count, and 0 bits for each."""
    content["streams"][0]["tasks"] = [
        {
            "name": "language",
            "fields": {"text": "text"},
            "template": "Review: {text}",
            "objective": {"name": "clm"},
            "head": {"name": "lm"},
            "metrics": ["bits_per_byte"],
        }
    ]
    with pytest.raises(SpecError, match="template: its objective learns to say the tokens of a plain text"):
        specs.resolve(content)


def test_training_beats_random_words_and_few_shots_are_measured(specs, content, tmp_path, texts):
    """Two tasks with one template are encoded once; the words are fine-tuned with the rest."""
    content["streams"][0]["tasks"] = [prompted(), prompted("random", name="random")]
    content["schedule"]["max_steps"] = 60
    content["transfer"] = [
        {
            "source_stage": "none",
            "target_stage": "few_shot",
            "few_shot": {"k": 4, "draws": 1, "by": "finetune"},
            "finetune_max_steps": 3,
            "targets": {"task": "sentiment"},
        }
    ]
    run = opened(specs, content, tmp_path, texts)
    run.train()
    run.transfer()
    scores = {score.task: score for score in run.evaluate("test")}
    assert len(run.resolved.feeds) == 1
    trained = scores["sentiment@film"]
    assert trained.scores["accuracy"].value > trained.majority["accuracy"].value + 0.2
    records = [json.loads(p.read_text()) for p in (run.path / "transfer" / "cells").rglob("record.json")]
    assert ("done", "few_shot") in {(r["status"], r["key"]["target_stage"]) for r in records}
