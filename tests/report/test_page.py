"""The page in a real browser: no error, no network, and what a reader does works."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sslm_platform.report.grouping import GroupPlan
from sslm_platform.report.matrix import State
from sslm_platform.report.order import clustered
from sslm_platform.report.page import render_page
from sslm_platform.report.predictions import Prediction
from sslm_platform.report.run import Run
from sslm_platform.report.views import families

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=5000",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

# A window of headless Chromium is at least 500 wide; a frame can be as narrow as a telephone.
FRAME = """<body>
<iframe src="page.html" style="width:{width}px;height:1200px;border:0"></iframe>
<pre id="result"></pre>
<script>onmessage = (event) => {{ document.getElementById("result").textContent = event.data; }}</script>
</body>"""


def browse(text: str, tmp_path: Path, width: int = 1280) -> dict[str, Any]:
    """Open a page with ``probe.js`` in it, which acts like a reader, and return what it saw."""
    probe = Path(__file__).with_name("probe.js").read_text(encoding="utf-8")
    probed = text.replace("<head>", f"<head><script>{{{probe}}}</script>", 1)
    (tmp_path / "page.html").write_text(probed, encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width), encoding="utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [str(CHROMIUM), *FLAGS, profile, f"--window-size={width},1200", "--dump-dom", frame.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="result">(.+?)</pre>', dom, re.DOTALL)
    assert found is not None, "the page's script never finished"
    return json.loads(html.unescape(found[1]))


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


@needs_chromium
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_loads_without_error_or_network_and_fits(page: str, tmp_path: Path, width: int):
    seen = browse(page, tmp_path, width)
    assert seen["errors"] == []
    assert seen["blocked"] == []
    assert seen["requests"] == []
    assert seen["ready"] == "yes"
    assert seen["answers"]["width"] == width
    assert seen["answers"]["wide"] == []
    assert seen["answers"]["charts"] == [10, 8, 1, 2]
    assert seen["answers"]["legends"] == [10, 8, 0, 2]


@needs_chromium
def test_what_a_reader_does_works(page: str, run: Run, tmp_path: Path):
    answers = browse(page, tmp_path)["answers"]
    assert answers["tipShown"]
    for words in (
        "sentiment@movies",
        "sentiment@products",
        "gain over head",
        "95 % interval",
        "tfidf scores",
    ):
        assert words in answers["tip"]
    assert answers["focus"].split()[:4] == ["source", "sentiment@tweets", "target", "sentiment@movies"]
    assert "sentiment@movies → sentiment@products, full/zero_shot" in answers["details"]
    assert "q among all cells" in answers["details"]
    chosen = next(
        c.id
        for c in run.plan.cells
        if (c.key.protocol, c.key.source, c.key.target)
        == ("full/zero_shot", "sentiment@movies", "sentiment@products")
    )
    assert answers["links"][0] == f"../transfer/cells/{chosen}/record.json"
    assert len(answers["links"]) == 4  # with its three baselines
    assert answers["baselines"] == ["majority"]
    for order, reverse in (("up", False), ("down", True)):
        numbers = [float(text) for text in answers[order] if text]
        assert numbers == sorted(numbers, reverse=reverse)
        assert answers[order][len(numbers) :] == [""] * (len(answers[order]) - len(numbers))
    assert answers["filtered"]
    assert all("tfidf" in row and "movies" in row for row in answers["filtered"])
    assert answers["shown"].startswith(f"{len(answers['filtered'])} of ")


@needs_chromium
def test_rows_and_columns_are_ordered_and_filtered_with_their_values(page: str, run: Run, tmp_path: Path):
    answers = browse(page, tmp_path)["answers"]
    gains = families(run.plan, run.cells)[0].gains[0]
    planned, like = answers["planned"], answers["like"]
    assert (tuple(planned["rows"]), tuple(planned["cols"])) == (gains.rows, gains.cols)
    assert (tuple(like["rows"]), tuple(like["cols"])) == clustered(gains)
    assert like["rows"] != planned["rows"]
    by_name = {
        (row, col): planned["values"][i][j]
        for i, row in enumerate(planned["rows"])
        for j, col in enumerate(planned["cols"])
    }
    for shown in (like, answers["matching"]):
        expected = [[by_name[row, col] for col in shown["cols"]] for row in shown["rows"]]
        assert shown["values"] == expected
    assert set(answers["matching"]["rows"]) == {"sentiment@movies", "sentiment@news"}
    assert answers["matching"]["cols"] == ["sentiment@tweets"]
    assert answers["matched"] == "2 sources, 1 target"
    assert answers["again"] == planned


@needs_chromium
def test_predictions_and_groups_are_shown_beside_what_was_measured(run: Run, tmp_path: Path):
    """Two estimators of the measured zero-shot pairs; the second knows nothing of one target."""
    pairs = [
        (cell.key.source, cell.key.target)
        for cell in run.plan.cells
        if cell.key.protocol == "full/zero_shot" and cell.key.source != cell.key.target
    ]
    predictions = tuple(
        Prediction(
            id=f"{estimator}-{number}",
            estimator=estimator,
            signed=False,
            source=source,
            source_tasks=(source,),
            target=target,
            seed=1,
            status="done",
            value=float(number),
        )
        for estimator in ("alike", "logme")
        for number, (source, target) in enumerate(pairs)
        if (estimator, target) != ("logme", "sentiment@news")
    )
    groups = GroupPlan(
        by="alike",
        signed=True,
        method="exact",
        budget=2,
        groups=(("sentiment@movies", "sentiment@news"), ("sentiment@tweets",)),
        serves={"sentiment@movies": 0, "sentiment@news": 0, "sentiment@tweets": 1},
        predicted={"sentiment@movies": 0.25, "sentiment@news": -0.5, "sentiment@tweets": 0.0},
    )
    predicted = replace(run, predictions=predictions, groups=groups)
    page = render_page(predicted, families(run.plan, run.cells))
    seen = browse(page, tmp_path, 400)
    assert (seen["errors"], seen["blocked"], seen["requests"]) == ([], [], [])
    assert seen["answers"]["wide"] == []
    drawn = sorted((seen["answers"]["points"], seen["answers"]["otherPoints"]), key=len)
    measured = Counter(
        cell.key.target
        for cell in run.plan.cells
        if (cell.key.source, cell.key.target) in pairs
        and cell.key.protocol == "full/zero_shot"
        and cell.id in run.cells
        and run.cells[cell.id].status == "done"
    )
    known = {target: count for target, count in measured.items() if target != "sentiment@news"}
    assert len(known) < len(measured)
    assert [sorted(counts) for counts in drawn] == [sorted(known.values()), sorted(measured.values())]
    for words in ("Kendall τ", "at most 2 groups", "sentiment@movies + sentiment@news", "+0.25, -0.5"):
        assert words in html.unescape(page)


@needs_chromium
def test_the_browser_would_tell(page: str, tmp_path: Path):
    """A page that breaks the rules is seen to break them, so the empty lists above mean something."""
    broken = page.replace(
        "</main>", '<img src="http://example.com/x.png"><script>nothing()</script></main>', 1
    )
    seen = browse(broken, tmp_path)
    assert any("nothing is not defined" in error for error in seen["errors"])
    assert seen["blocked"] == ["http://example.com/x.png"]


def test_insignificant_gains_are_pale(page: str, run: Run):
    kinds = re.findall(r'<td tabindex="-1" class="((?:pos|neg)[^"]*)"', page)
    cells = [c for f in families(run.plan, run.cells) for m in f.gains for c in m.all_cells if c.estimate]
    assert ["weak" not in kind.split() for kind in kinds] == [cell.discovery for cell in cells]


def test_every_cell_carries_its_hover_text_and_its_word(page: str, run: Run):
    tips = re.findall(
        r'<td tabindex="-1" class="([^"]*)" style="[^"]*" data-tip="([^"]*)">(.*?)</td>', page, re.DOTALL
    )
    matrices = [matrix for family in families(run.plan, run.cells) for _, matrix in family.matrices]
    floors = [m for family in families(run.plan, run.cells) for m in family.floor.values()]
    assert len(tips) == sum(len(matrix.all_cells) for matrix in (*matrices, *floors))
    gaps = [html.unescape(body) for kind, _, body in tips if "gap" in kind]
    states = [c.state for matrix in (*matrices, *floors) for c in matrix.all_cells if c.state is not State.OK]
    for state in (State.MISSING, State.FAILED, State.NO_BASELINE):
        assert sum(f">{state}<" in body for body in gaps) == states.count(state) > 0
    assert len(gaps) == len(states)
    assert any("RuntimeError: loss is nan at step 12" in html.unescape(tip) for _, tip, _ in tips)
