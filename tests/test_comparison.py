"""Real trainings with each balancer, chosen on dev and reported on test."""

from __future__ import annotations

import json
import shutil

import pytest

from sslm_platform.comparison import weight_grid
from sslm_platform.runs import read_scores


@pytest.fixture
def spec(specs):
    return specs.write(
        specs.content(
            "films",
            "names",
            tasks={"task": ["sentiment", "names"]},
            schedule={"tokens_per_batch": 256, "slots_per_step": 2, "max_steps": 8},
            evaluation={"every": 4},
            balancer={"name": "famo", "options": {"lr": 0.5}},
        )
    )


def test_balancers_are_compared_beside_equal_and_weights_that_dev_has_chosen(cli, spec, specs, tmp_path):
    out, cache = tmp_path / "out", specs.texts / "cache"
    argv = ("compare-balancers", spec, "--seeds", "1,2", "--out", out, "--cache", cache)
    status, printed, err = cli(*argv)
    assert status == 0, err
    found = json.loads((out / "comparison.json").read_text())
    assert found["seeds"] == [1, 2]
    by_name = {c["name"]: c for c in found["candidates"]}
    assert list(by_name) == ["equal", "famo", "tuned"]
    assert by_name["famo"]["balancer"]["options"] == {"lr": 0.5}
    # the weights are those of the best dev value of the first seed, among all that were tried
    assert [c["name"] for c in found["tuning"]] == list(weight_grid(["names@news", "sentiment@film"]))
    settings = [by_name["equal"], *found["tuning"]]  # of two as good the simpler one
    tried = {c["name"]: (c["trainings"][0]["dev"], c["balancer"]) for c in settings}
    best = max(tried, key=lambda name: tried[name][0])
    assert by_name["tuned"]["balancer"] == tried[best][1]
    assert all(len(c["trainings"]) == 1 for c in found["tuning"])
    for name, folder in (("equal", "equal"), ("famo", "famo"), ("tuned", best)):
        for training in by_name[name]["trainings"]:
            run = out / folder / f"seed-{training['seed']}"
            scores = json.loads((run / "scores.json").read_text())["scores"]
            assert training["scores"] == scores
            records = map(json.loads, (run / "train" / "metrics.jsonl").read_text().splitlines())
            values = [r["selection"] for r in records if r["kind"] == "evaluation"]
            assert training["dev"] == max(values)
            assert len(values) == 2
    assert "mean gain over majority" in printed
    assert "tuned, on dev among 5 settings" in printed
    assert f"{by_name['famo']['trainings'][0]['scores'][0]['task']}" in printed

    shutil.rmtree(out / "famo" / "seed-2")  # the others are not trained again
    kept = (out / "equal" / "seed-1" / "scores.json").stat().st_mtime_ns
    assert cli(*argv)[0] == 0
    assert json.loads((out / "comparison.json").read_text()) == found
    assert (out / "equal" / "seed-1" / "scores.json").stat().st_mtime_ns == kept
    assert read_scores(out / "famo" / "seed-2")


def test_mistakes_are_said_before_the_first_training(cli, spec, specs, tmp_path):
    out = tmp_path / "out"
    status, _, err = cli("compare-balancers", spec, "--balancers", "fmo", "--out", out)
    assert status == 2
    assert "did you mean famo?" in err
    assert not out.exists()
    status, _, err = cli("compare-balancers", spec, "--seeds", "1,b", "--out", out)
    assert (status, "expected whole numbers" in err) == (2, True)
    alone = specs.write(specs.content("names"), "alone.yaml")
    status, _, err = cli("compare-balancers", alone, "--out", out)
    assert (status, "there is nothing to balance" in err) == (2, True)
