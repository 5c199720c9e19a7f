"""Checkpoints that are damaged or cannot be written, and trainings that are not the one that began."""

from __future__ import annotations

import errno
import json
import resource
import shutil
from collections import namedtuple

import pytest

from sslm_platform.errors import RunError
from sslm_platform.hookspecs import hookimpl
from sslm_platform.plugins import host
from sslm_platform.train.observers import observing
from sslm_platform.train.resume import VERSION, differences


def content_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def flip(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def halve(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGE = {
    "a bit of the moments": ("optimizer.safetensors", flip),
    "half of the weights": ("encoder.safetensors", halve),
    "half of the state": ("state.json", halve),
    "no heads": ("heads.safetensors", lambda file: file.unlink()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(whole, tmp_path, trainings, damage):
    corpus, expected = whole
    trainings.kill(corpus, tmp_path, 8)
    name, spoil = DAMAGE[damage]
    spoil(tmp_path / "train" / "checkpoint" / name)
    said = trainings.train(corpus, tmp_path)
    assert f"checkpoint/{name}" in said
    assert "taking the checkpoint before it" in said
    assert "continuing after step 3 of 9" in said
    trainings.assert_same(tmp_path, expected)


@pytest.mark.parametrize("damage", DAMAGE)
def test_where_no_checkpoint_is_whole_the_error_names_the_file_and_a_way_out(
    whole, tmp_path, trainings, damage
):
    corpus, _ = whole
    trainings.kill(corpus, tmp_path, 5)
    name, spoil = DAMAGE[damage]
    spoil(tmp_path / "train" / "checkpoint" / name)
    before = content_of(tmp_path)
    with pytest.raises(RunError, match=rf"checkpoint/{name}.*(damaged|missing)(.|\n)*--restart"):
        trainings.train(corpus, tmp_path)
    assert content_of(tmp_path) == before


def test_killed_while_a_checkpoint_took_the_lasts_place_the_last_is_used(whole, tmp_path, trainings):
    corpus, expected = whole
    trainings.kill(corpus, tmp_path, 5)
    checkpoint = tmp_path / "train" / "checkpoint"
    checkpoint.rename(checkpoint.with_name("checkpoint.previous"))
    trainings.kill(corpus, tmp_path, 5)  # nothing is saved before the one that is left is there again
    assert "continuing after step 3" in trainings.train(corpus, tmp_path)
    trainings.assert_same(tmp_path, expected)


def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(whole, tmp_path, trainings):
    """The system lets no file grow: the optimizer's part of a checkpoint does not fit, the rest does."""
    corpus, expected = whole
    trainings.kill(corpus, tmp_path, 5)
    checkpoint = tmp_path / "train" / "checkpoint"
    before = content_of(checkpoint)
    size = (checkpoint / "optimizer.safetensors").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, limits[1]))
    try:
        with pytest.raises(RunError, match=r"checkpoint after step 6: not written: .*File too large.*as it"):
            trainings.train(corpus, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content_of(checkpoint) == before
    assert not list(tmp_path.rglob(".*.part"))
    assert "continuing after step 3" in trainings.train(corpus, tmp_path)
    trainings.assert_same(tmp_path, expected)


def test_a_full_disk_while_a_model_is_saved_is_the_systems_error_with_its_path(whole, tmp_path, trainings):
    """safetensors says it in words of its own."""
    corpus, _ = whole
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            trainings.train(corpus, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert str(caught.value.filename).endswith("train/models/step-2")
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.parametrize("content", ['{"job": ', "[]"])
def test_a_damaged_done_json_is_said(whole, tmp_path, trainings, content):
    corpus, _ = whole
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "done.json").write_text(content)
    with pytest.raises(RunError, match=r"done.json: is damaged: .*--restart"):
        trainings.train(corpus, tmp_path)


def test_a_disk_without_room_is_said_before_anything_is_written(whole, tmp_path, trainings, monkeypatch):
    corpus, _ = whole
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 5000, 5000))
    with pytest.raises(RunError, match=r"models/step-2: needs \d+ kB, and 5 kB of the disk are free"):
        trainings.train(corpus, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


class Stop(Exception):
    pass


class Stopper:
    @hookimpl
    def sslm_step_ended(self, record):
        if record.step == 5:
            raise Stop


@pytest.fixture
def begun(specs, tmp_path, cli, trainings):
    """A spec's content, the command that trains it, and its folder, where it was killed in step 5."""
    content = specs.content("films", "names", **trainings.sections)
    out = tmp_path / "run"

    def train(content, *options):
        argv = ("train", specs.write(content), "--out", out, "--cache", specs.texts / "cache", *options)
        return cli(*argv)

    with observing(host(), Stopper()), pytest.raises(Stop):
        train(content)
    return content, train, out


def test_another_spec_is_an_error_that_says_what_differs_and_nothing_is_touched(begun, whole, trainings):
    content, train, out = begun
    before = content_of(out)
    changed = json.loads(json.dumps(content))
    changed["optimizer"]["lr"] = 1e-3
    changed["schedule"]["sampler"] = {"name": "uniform"}
    changed["streams"][0]["tasks"][2]["objective"]["options"] = {"mask_prob": 0.3}
    status, _, said = train(changed)
    assert status == 2
    assert "optimizer.lr: 0.005 then, 0.001 now" in said
    assert 'schedule.sampler.name: "proportional" then, "uniform" now' in said
    assert "tasks.mlm@film.objective.options.mask_prob: 0.15 then, 0.3 now" in said
    assert "another --out, or train from the beginning in its place with --restart" in said
    assert content_of(out) == before
    status, _, said = train(content | {"name": "renamed", "checkpoint": {"every": 2, "keep_best": 9}})
    assert status == 0, said
    assert "continuing after step 3 of 9" in said
    trainings.assert_same(out, whole[1])
    before = content_of(out)
    status, _, said = train(changed)  # a finished training is kept too
    assert status == 2
    assert content_of(out) == before
    status, _, said = train(changed, "--restart")
    assert status == 0, said
    assert [line["step"] for line in trainings.lines(out, "step")] == list(range(1, 10))
    assert trainings.done(out)["content"]["optimizer"]["lr"] == 1e-3


def test_other_data_are_an_error(begun, texts, tmp_path):
    content, train, out = begun
    before = content_of(out)
    moved = tmp_path / "films.jsonl"
    shutil.copy(texts / "films.jsonl", moved)
    content["streams"][0]["data"]["path"] = str(moved)
    moved.write_text(moved.read_text().replace("take 7", "take 8"))
    status, _, said = train(content)
    assert status == 2
    assert "tasks.mlm@film.data: the data were others" in said
    assert "names@news" not in said
    assert content_of(out) == before


def test_another_version_of_a_plugin_is_an_error_that_names_both(begun):
    content, train, out = begun
    file = out / "train" / "checkpoint" / "state.json"
    state = json.loads(file.read_text())
    state["content"]["tasks"]["names@news"]["head"]["version"] = "0.0.9"
    file.write_text(json.dumps(state))
    status, _, said = train(content)
    assert status == 2
    assert "tasks.names@news.head: of sslm-heads 0.0.9 then, of sslm-heads " in said


def test_a_plugin_that_is_gone_is_named_with_its_version(begun):
    content, train, out = begun
    record = json.loads((out / "run.json").read_text())
    record["versions"]["sslm-adapters"] = "2.1"
    (out / "run.json").write_text(json.dumps(record))
    content["streams"][1]["tasks"][0]["head"]["name"] = "adapter"
    status, _, said = train(content)
    assert status == 2
    assert "unknown head 'adapter'" in said
    assert f"{out}: was begun with sslm-adapters 2.1, which is not installed" in said


def test_a_checkpoint_of_another_format_is_said(begun):
    content, train, out = begun
    file = out / "train" / "checkpoint" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 2}))
    status, _, said = train(content)
    assert status == 2
    assert f"of format 2, and this version of the platform reads {VERSION}" in said


def test_differences_are_found_where_keys_come_and_go():
    before = {"a": {"b": [1, 2]}, "gone": 1}
    now = {"a": {"b": [1, 3]}, "new": None}
    assert [str(problem) for problem in differences(before, now)] == [
        "a.b: [1, 2] then, [1, 3] now",
        "gone: 1 then, absent now",
        "new: absent then, null now",
    ]
