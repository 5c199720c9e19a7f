"""Balancers of gradients of the slice on two ranks under ZeRO do what they do in one process.

Real training steps: three tasks and a tied language-model head, several slots a step, some tasks absent from
some steps, norms above the limit of clipping. One pair of processes runs all cases.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytest.importorskip("deepspeed")
pytest.importorskip("torchjd")
pytestmark = pytest.mark.distributed

SCENARIO = Path(__file__).with_name("slice_scenario.py")
NO_GRADIENT = "attention.self.key.bias"  # but for rounding, which Adam magnifies
STAGES = ("zero0", "zero1", "zero2", "zero3-all")
LOCAL = ("local/upgrad", "local/equal", "local/plain")
SHARDED = (*(f"{stage}/upgrad" for stage in STAGES), "zero2/equal", "zero2-bf16/upgrad")
RESUMED = ("zero2/upgrad:zero2/upgrad", "zero3-all/upgrad:local/upgrad")
RESUMED_LOCALLY = ("local/upgrad:zero3-all/upgrad",)


@pytest.fixture(scope="module")
def results(tmp_path_factory, make_specs):
    folder = tmp_path_factory.mktemp("slices")
    specs = make_specs(folder)
    content = specs.content(
        "films",
        "names",
        encoder=specs.content()["encoder"] | {"dropout": 0.0},
        schedule={
            "tokens_per_batch": 150,
            "slots_per_step": 3,
            "max_steps": 22,
            "sampler": {"name": "uniform"},
        },
        optimizer={"lr": 1e-3, "clip": 0.5},
    )
    for stream in content["streams"]:
        for task in stream["tasks"]:
            if task["head"]["name"] != "lm":
                task["head"]["options"] = {"dropout": 0.0}
    script = [str(SCENARIO), str(specs.write(content)), str(specs.texts / "cache"), str(folder)]
    ranks = ["-m", "torch.distributed.run", "--standalone", "--local-addr=localhost", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    for command in (
        [*script, *LOCAL],
        [*ranks, *script, *SHARDED, *RESUMED],
        [*script, *RESUMED_LOCALLY],
    ):
        done = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, done.stderr[-4000:]
    return folder


def records(folder, case):
    name = case.replace("/", "-").replace(":", "-from-")
    return json.loads((folder / f"{name}.records").read_text())


def tensors(folder, case, kind):
    return load_file(folder / f"{case.replace('/', '-').replace(':', '-from-')}.{kind}")


@pytest.mark.parametrize("case", [c for c in SHARDED if "bf16" not in c])
def test_losses_weights_and_norms_are_those_of_one_process(results, case):
    ours, local = records(results, case), records(results, f"local/{case.partition('/')[2]}")
    assert len(ours) == len(local) == 22
    for mine, expected in zip(ours, local, strict=True):
        assert mine["losses"] == pytest.approx(expected["losses"], abs=1e-5)
        assert mine["weights"] == pytest.approx(expected["weights"], abs=1e-4)
        assert mine["gradient_norms"] == pytest.approx(expected["gradient_norms"], rel=1e-4)


def test_the_cases_are_what_they_are_meant_to_be(results):
    steps = records(results, "local/upgrad")
    assert {frozenset(r["losses"]) for r in steps} > {frozenset({"names@news"})}, "a step of one task"
    assert any("mlm@film" in r["losses"] and "names@news" in r["losses"] for r in steps)
    assert any(abs(w - 1.0 / len(r["weights"])) > 0.05 for r in steps for w in r["weights"].values())
    assert max(r["gradient_norms"]["encoder"] for r in steps) > 0.5
    equal, plain = records(results, "local/equal"), records(results, "local/plain")
    assert [r["losses"] for r in equal] != [r["losses"] for r in steps]
    for measured, ordinary in zip(equal, plain, strict=True):
        assert measured["losses"] == pytest.approx(ordinary["losses"], abs=1e-6)


@pytest.mark.parametrize("case", ["zero1/upgrad", "zero3-all/upgrad", "zero2/equal"])
def test_gradient_statistics_are_those_of_one_process(results, case):
    ours, local = records(results, case), records(results, f"local/{case.partition('/')[2]}")
    measured = [(m["gradients"], e["gradients"]) for m, e in zip(ours, local, strict=True) if e["gradients"]]
    assert len(measured) > 3
    for mine, expected in measured:
        assert mine["norms"] == pytest.approx(expected["norms"], rel=1e-4)
        for task, row in expected["cosines"].items():
            assert mine["cosines"][task] == pytest.approx(row, abs=1e-4)
    assert [m["gradients"] is None for m in ours] == [e["gradients"] is None for e in local]


@pytest.mark.parametrize("stage", STAGES)
def test_weights_and_moments_are_those_of_one_process(results, stage):
    for kind in ("encoder", "heads", "moments"):
        ours, local = tensors(results, f"{stage}/upgrad", kind), tensors(results, "local/upgrad", kind)
        assert ours.keys() == local.keys()
        for name, tensor in ours.items():
            if NO_GRADIENT not in name:
                assert tensor.shape == local[name].shape
                assert tensor.norm().item() == pytest.approx(local[name].norm().item(), rel=1e-4), name


def test_going_on_in_the_same_engine_gives_the_same_bits(results):
    case = "zero2/upgrad"
    whole, rest = records(results, case), records(results, f"{case}:{case}")
    assert [r["losses"] for r in rest] == [r["losses"] for r in whole[-len(rest) :]]
    for kind in ("encoder", "heads", "moments"):
        ours, expected = tensors(results, f"{case}:{case}", kind), tensors(results, case, kind)
        assert all((ours[name] == tensor).all() for name, tensor in expected.items())


@pytest.mark.parametrize("case", [*RESUMED[1:], *RESUMED_LOCALLY])
def test_any_engine_goes_on_from_any_other(results, case):
    whole, rest = records(results, "local/upgrad"), records(results, case)
    assert len(rest) == 11
    for mine, expected in zip(rest, whole[-len(rest) :], strict=True):
        assert mine["losses"] == pytest.approx(expected["losses"], abs=1e-5)


def test_bf16_follows_fp32_within_its_precision(results):
    ours, local = records(results, "zero2-bf16/upgrad"), records(results, "local/upgrad")
    for mine, expected in zip(ours, local, strict=True):
        assert mine["losses"] == pytest.approx(expected["losses"], rel=3e-2, abs=1e-2)
    assert ours[-1]["losses"] != local[-1]["losses"]
