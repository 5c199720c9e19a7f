"""One matrix by the axes that a reader asks for, from the command line."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

from sslm_platform.report.records import CellKey, PlannedCell, TransferPlan


@pytest.fixture
def shown(cli, folder):
    """Return a function from options to what `sslm report` printed; it must not fail."""

    def shown(*options):
        status, out, err = cli("report", folder, *options)
        assert status == 0, err
        return out

    return shown


def places(text):
    return {(cell["row"], cell["col"]): cell for cell in json.loads(text)["cells"]}


ZERO_SHOT = ("--protocol", "full/zero_shot")


def test_domains_by_domains_of_one_task(shown, run):
    options = ("--rows", "domain", "--cols", "domain", "--where", "task=sentiment", *ZERO_SHOT, "--json")
    found = places(shown(*options))
    assert {row for row, _ in found} == {"tweets", "movies", "products", "news"}
    scores = [
        record.scores[record.metric].value
        for record in run.cells.values()
        if (record.key.protocol, record.key.source, record.key.target)
        == ("full/zero_shot", "sentiment@movies", "sentiment@news")
    ]
    assert found["movies", "news"]["value"] == pytest.approx(np.mean(scores))
    assert found["news", "tweets"]["state"] == "missing"
    assert "value" not in found["news", "tweets"]


def test_conditions_of_one_side(shown):
    options = (
        "--where",
        "source.domain=tweets,movies",
        "--where",
        "target.domain=news",
        *ZERO_SHOT,
        "--json",
    )
    assert set(places(shown(*options))) == {
        (f"sentiment@{d}", "sentiment@news") for d in ("tweets", "movies")
    }
    one_seed = places(shown(*ZERO_SHOT, "--where", "seed=1", "--json"))
    assert {tuple(cell["seeds"]) for cell in one_seed.values() if cell["state"] == "ok"} == {(1,)}


def test_gains_take_the_most_telling_baseline_and_csv_has_their_values(shown):
    gains = json.loads(shown(*ZERO_SHOT, "--value", "gain", "--json"))
    assert gains["baseline"] == "head"
    other = json.loads(shown(*ZERO_SHOT, "--baseline", "majority", "--value", "gain", "--json"))
    assert other["baseline"] == "majority"
    table = list(csv.reader(io.StringIO(shown(*ZERO_SHOT, "--value", "gain", "--csv"))))
    cell = next(c for c in gains["cells"] if (c["row"], c["col"]) == (table[1][0], table[0][1]))
    assert float(table[1][1]) == cell["value"]


def test_the_terminal_shows_the_slice_alone(shown, folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "report").rglob("*")}
    out = shown("--rows", "domain", "--cols", "domain", *ZERO_SHOT)
    assert "Score, full/zero_shot" in out
    assert "probe" not in out
    assert {path: path.stat().st_mtime_ns for path in (folder / "report").rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--protocol", "full/zeroshot"),
            "--protocol: unknown: 'full/zeroshot'; did you mean full/zero_shot?",
        ),
        ((), "--protocol: name one of full/zero_shot, full/probe"),
        ((*ZERO_SHOT, "--rows", "domian"), "--rows: unknown: 'domian'; did you mean domain?"),
        ((*ZERO_SHOT, "--cols", "source"), "--cols: unknown: 'source'"),
        ((*ZERO_SHOT, "--where", "tsak=x"), "--where tsak=x: unknown: 'tsak'; did you mean task?"),
        ((*ZERO_SHOT, "--where", "task=sentimnt"), "unknown: 'sentimnt'; did you mean sentiment?"),
        ((*ZERO_SHOT, "--where", "sorce.task=sentiment"), "unknown: 'sorce'; did you mean source?"),
        ((*ZERO_SHOT, "--where", "task"), "--where task: expected axis=value"),
        ((*ZERO_SHOT, "--where", "task=mlm"), "--where: no cell of full/zero_shot is left"),
        ((*ZERO_SHOT, "--value", "gian"), "--value: unknown: 'gian'; did you mean gain?"),
        ((*ZERO_SHOT, "--value", "gain", "--baseline", "hed"), "unknown: 'hed'; did you mean head?"),
        ((*ZERO_SHOT, "--baseline", "head"), "--baseline: a score has none; give --value gain"),
        ((*ZERO_SHOT, "--json", "--csv"), "give --json or --csv, not both"),
    ],
)
def test_misspelt_names_get_a_suggestion(cli, folder, options, message):
    status, _, err = cli("report", folder, *(options or ("--json",)))
    assert (status, message in err) == (2, True), err


def test_rows_of_designs_are_named_by_what_they_stand_for(sample, tmp_path, cli):
    """Which partner, what was left out, in which order: not by all that was trained on."""
    tweets, movies, news = (f"sentiment@{domain}" for domain in ("tweets", "movies", "news"))
    rows = {
        "pairwise": ((tweets,),),
        "leave_one_out": ((movies,),),
        "sequential": ((tweets,), (movies,)),
    }
    cells = [
        PlannedCell(
            id=stage,
            key=CellKey(
                source_stage=stage,
                target_stage="zero_shot",
                source="as named",
                source_tasks=(tweets, movies, news),
                row=row,
                target=news,
                seed=1,
            ),
        )
        for stage, row in rows.items()
    ]
    sample.write_sample(tmp_path, TransferPlan(cells=tuple(cells), tasks=sample.make_tasks()), {})
    expected = {
        "pairwise": "tweets",
        "leave_one_out": "all but movies",
        "sequential": "tweets → movies",
    }
    for stage, row in expected.items():
        options = ("--protocol", f"{stage}/zero_shot", "--rows", "domain", "--json")
        status, out, err = cli("report", tmp_path, *options)
        assert status == 0, err
        assert json.loads(out)["rows"] == [row]
