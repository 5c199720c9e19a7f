"""The streams that come with the platform: their specs, and with the network their rows."""

from pathlib import Path

import pytest
import yaml

from sslm_platform.data.load import load_stream
from sslm_platform.spec.schema import StreamSpec

FOLDER = Path(__file__).parents[2] / "task_specs" / "streams"
STREAMS = {
    stream["name"]: StreamSpec.model_validate(stream)
    for path in sorted(FOLDER.glob("*.yaml"))
    for stream in yaml.safe_load(path.read_text(encoding="utf-8"))["streams"]
}

# As the archives' authors count them (Hutto & Gilbert 2014; the README files of the parsers).
NUM_ROWS = {
    "vader-tweets": 4200,
    "vader-movies": 10605,
    "vader-products": 3708,
    "vader-news": 5190,
    "addresses": 1513,
    "persons": 2898,
    "companies": 1383,
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def load(name: str, cache: Path):
    return load_stream(STREAMS[name], base=FOLDER, cache=cache)


@pytest.mark.network
@pytest.mark.parametrize("name", NUM_ROWS)
def test_the_archives_hold_the_rows_that_they_should(name, cache):
    rows = load(name, cache)
    assert sum(map(len, rows.splits.values())) == NUM_ROWS[name]
    assert min(map(len, rows.splits.values())) > 0.05 * NUM_ROWS[name]


@pytest.mark.network
def test_vaders_ratings_and_texts_are_whole(cache):
    rows = [row for split in load("vader-movies", cache).splits.values() for row in split.to_list()]
    (first,) = (row for row in rows if row["id"] == "1")
    assert first["rating"] == "2.26666666667"
    assert first["text"].startswith("The Rock is destined to be the 21st Century's new ''Conan''")
    assert first["text"].endswith("Steven Segal.")
    assert all(-4 <= float(row["rating"]) <= 4 and row["text"].strip() for row in rows)
    assert sum("é" in row["text"] for row in rows) > 50  # the files are UTF-8, not the cp1252 of their time
    assert not any("Ã" in row["text"] for row in rows)


@pytest.mark.network
def test_articles_stay_in_one_split(cache):
    articles = [
        {row["id"].split("_")[0] for row in split} for split in load("vader-news", cache).splits.values()
    ]
    assert sum(map(len, articles)) == len(set.union(*articles)) == 498


def test_docstrings_of_an_installed_library_need_nothing_but_the_library(tmp_path):
    rows = load("docstrings-numpy", tmp_path)
    texts = [text for split in rows.splits.values() for text in split["text"]]
    assert len(texts) == len(set(texts)) > 800
    assert not any(">>>" in text or "----" in text for text in texts)
    assert sum(map(len, texts)) / len(texts) > 100
