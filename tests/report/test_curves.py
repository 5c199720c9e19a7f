from __future__ import annotations

import json
from pathlib import Path

import pytest

from sslm_platform.errors import RunError
from sslm_platform.report.charts import trailing_mean, training_panels
from sslm_platform.report.curves import Curves, read_curves
from sslm_platform.report.records import TaskScore


def step(number: int, **changes: object) -> dict[str, object]:
    facts = {"kind": "step", "step": number, "losses": {"a@x": 1.0}, "learning_rate": 0.1, "seconds": 2.0}
    return facts | {"num_tokens": 100, "num_padded_tokens": 120} | changes


def write(path: Path, lines: list[dict[str, object]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + tail, encoding="utf-8")
    return path


@pytest.mark.parametrize("tail", ["", '{"kind": "st', '{"kind": "step", "step"', "{}\n", "\n\n"])
def test_a_torn_last_line_is_left_out(tmp_path: Path, tail: str):
    curves = read_curves(write(tmp_path / "metrics.jsonl", [step(1), step(2)], tail))
    assert [line["step"] for line in curves.steps] == [1, 2]
    assert (curves.seconds, curves.num_tokens, curves.num_padded_tokens) == (4.0, 200, 240)


def test_a_line_torn_inside_a_character_is_left_out(tmp_path: Path):
    path = write(tmp_path / "metrics.jsonl", [step(1)])
    with path.open("ab") as stream:
        stream.write('{"kind": "step", "phase": "ü'.encode()[:-1])
    assert len(read_curves(path).steps) == 1


def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(step(1)) + "\nrubbish\n" + json.dumps(step(2)) + "\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: not a metrics line"):
        read_curves(path)


def test_steps_repeated_after_a_resume_count_once(tmp_path: Path):
    lines = [step(1), step(2, seconds=9.0), step(3, seconds=9.0), step(2), step(3)]
    curves = read_curves(write(tmp_path / "metrics.jsonl", lines))
    assert [(line["step"], line["seconds"]) for line in curves.steps] == [(1, 2.0), (2, 2.0), (3, 2.0)]


def test_no_metrics_no_panels(tmp_path: Path):
    curves = read_curves(tmp_path / "metrics.jsonl")
    assert curves == Curves()
    assert training_panels(curves, ()) == []


def test_panels_follow_each_tasks_own_steps(tmp_path: Path):
    evaluation = {"kind": "evaluation", "step": 2, "scores": {"a@x": {"f1": 0.5}, "b@x": {"f1": 0.6}}}
    lines = [step(1), step(2, losses={"b@x": 90.0}), evaluation, step(3)]
    curves = read_curves(write(tmp_path / "metrics.jsonl", lines))
    panels = {p["id"]: p for p in training_panels(curves, ())}
    losses = {trace["name"]: (trace["x"], trace["y"]) for trace in panels["chart-loss"]["traces"]}
    assert losses == {"a@x": ([1, 3], [1.0, 1.0]), "b@x": ([2], [90.0])}
    assert panels["chart-loss"]["log"]
    assert panels["chart-speed"]["traces"][0]["y"] == [50.0, 50.0, 50.0]


def test_a_skipped_steps_loss_is_no_point(tmp_path: Path):
    """JSON has no word for it, and the page would draw nothing at all."""
    nan = float("nan")
    lines = [step(1), step(2, losses={"a@x": nan, "b@x": nan}), step(3)]
    panels = training_panels(read_curves(write(tmp_path / "metrics.jsonl", lines)), ())
    assert [(t["name"], t["x"], t["y"]) for t in panels[0]["traces"]] == [("a@x", [1, 3], [1.0, 1.0])]
    json.dumps(panels, allow_nan=False)


def score(task: str, metric: str, *, best: float) -> TaskScore:
    return TaskScore(
        task=task, metric=metric, higher_is_better=best > 0, best=best, scores={}, majority={}, num_test=9
    )


def test_dev_scores_of_different_metrics_share_an_axis(tmp_path: Path):
    """A third of the way up in F1, half of the way down in bits; metrics that are not primary stay out."""
    evaluation = {
        "kind": "evaluation",
        "step": 2,
        "scores": {"a@x": {"f1": 0.6, "accuracy": 0.9}, "b@x": {"bits": 4.0, "perplexity": 16.0}},
        "majority": {"a@x": {"f1": 0.4, "accuracy": 0.8}, "b@x": {"bits": 8.0, "perplexity": 256.0}},
        "selection": 0.4,
    }
    lines = [step(1), step(2, losses={"b@x": 90.0}), evaluation]
    curves = read_curves(write(tmp_path / "metrics.jsonl", lines))
    scores = (score("b@x", "bits", best=0.0), score("a@x", "f1", best=1.0))
    panels = {p["id"]: p for p in training_panels(curves, scores)}
    *tasks, selection = panels["chart-dev"]["traces"]
    assert [(trace["name"], trace["x"]) for trace in tasks] == [("a@x", [2]), ("b@x", [2])]
    assert [trace["y"][0] for trace in tasks] == pytest.approx([1 / 3, 1 / 2])
    assert selection["y"] == [0.4]
    colors = {trace["name"]: trace["color"] for trace in panels["chart-loss"]["traces"]}
    assert colors == {trace["name"]: trace["color"] for trace in tasks}


def test_trailing_mean_never_looks_ahead():
    assert trailing_mean([1.0, 3.0, 5.0, 100.0], 2) == [1.0, 2.0, 4.0, 52.5]
