"""Every pair of what may be combined trains on two ranks under ZeRO as in one process.

``make parity`` runs the full product.
"""

import importlib.util
import itertools
import json
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("parity.py")
found = importlib.util.spec_from_file_location("parity", SCRIPT)
parity = importlib.util.module_from_spec(found)
found.loader.exec_module(parity)
CASES = parity.pairwise_cases()
STEPS = 30


def test_the_cases_have_every_pair_of_values():
    for one, other in itertools.combinations(range(len(parity.VALUES)), 2):
        values = list(parity.VALUES.values())
        pairs = {(case.name.split("/")[one], case.name.split("/")[other]) for case in CASES}
        assert pairs == set(itertools.product(values[one], values[other]))
    assert len(CASES) <= 14


@pytest.fixture(scope="module")
def results(tmp_path_factory, start):
    folder = tmp_path_factory.mktemp("pairwise")
    parity.write_texts(folder)
    start(2, SCRIPT, folder, folder / "results.jsonl", STEPS, *(case.name for case in CASES))
    lines = (folder / "results.jsonl").read_text().splitlines()
    return {result["case"]: result for result in map(json.loads, lines)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace("/", " "))
def test_a_case_is_that_of_plain_torch(results, case):
    result = results[case.name]
    assert result["losses"] <= parity.LOSSES
    assert result["gradient_norms"] <= parity.NORMS
    assert result["weights"] <= parity.NORMS
    assert result["moved"] == []


def test_there_were_idle_parts_to_look_at(results):
    assert sum(result["idle"] > 0 for result in results.values()) >= len(CASES) // 2
