"""The tutorial's three parts in a real joint training, with a tiny encoder from scratch."""

import json
import random

from rich.console import Console

from sslm_platform.corpus import Corpus
from sslm_platform.spec.load import load_run_spec
from sslm_platform.spec.resolve import resolve
from sslm_platform.train.folder import RunFolder
from sslm_platform.train.joint import train_joint

SPEC = """
name: ratings
seed: 1
encoder:
  config: {model_type: bert, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2,
           intermediate_size: 32}
  tokenizer: {train: {vocabulary_size: 200}}
  dropout: 0.0
schedule: {tokens_per_batch: 512, max_steps: 60}
optimizer: {lr: 5.0e-3}
engine: {name: local, threads: 1}
streams:
  - name: reviews
    domain: reviews
    data: {source: files, path: reviews.jsonl, format: {name: jsonl}}
    split: {by: hash}
    tasks:
      - name: intensity
        fields: {text: text, value: rating}
        objective: {name: huber, options: {delta: 1.0}}
        head: {name: bounded_regressor, options: {low: -4, high: 4}}
        metrics: [mean_absolute_error, pearson]
"""
WORDS = {"awful": -2.0, "bad": -1.0, "fine": 0.5, "good": 1.0, "great": 2.0, "film": 0.0, "plot": 0.0}


def write_reviews(path):
    """Write texts whose rating is the sum of their words' ratings, within the scale."""
    rng = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(400):
            words = rng.choices(list(WORDS), k=rng.randint(2, 5))
            rating = max(-4.0, min(4.0, sum(WORDS[word] for word in words)))
            file.write(json.dumps({"text": f"{' '.join(words)} {number}", "rating": rating}) + "\n")


def test_training_beats_the_constant_predictor(tmp_path):
    write_reviews(tmp_path / "reviews.jsonl")
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    corpus = Corpus(resolve(load_run_spec(tmp_path / "spec.yaml")), tmp_path / "cache")
    folder = RunFolder(tmp_path / "run")
    spec = corpus.run.spec
    train_joint(corpus, folder, Console(quiet=True), seed=spec.seed, engine_spec=spec.engine)
    (score,) = json.loads(folder.scores.read_text(encoding="utf-8"))["scores"]
    ours, constant = (score[key]["mean_absolute_error"]["value"] for key in ("scores", "majority"))
    assert not score["higher_is_better"]
    assert ours < 0.6 * constant
    assert score["scores"]["pearson"]["value"] > 0.7
