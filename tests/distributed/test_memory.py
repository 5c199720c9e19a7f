"""Each ZeRO stage keeps on a rank what the formulas say: 1/n of what it shards."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("deepspeed")
pytestmark = pytest.mark.distributed

HERE = Path(__file__)
SCRIPT = HERE.parents[2] / "benchmarks" / "zero_memory.py"
found = importlib.util.spec_from_file_location("zero_memory", SCRIPT)
sys.path.insert(0, str(SCRIPT.parent))
zero_memory = importlib.util.module_from_spec(found)
found.loader.exec_module(zero_memory)
RANKS = 2
BUCKET_BYTES = 4 * 20_000  # of gradients on their way, at stage 2


@pytest.fixture(scope="module")
def counted(tmp_path_factory, start):
    folder = tmp_path_factory.mktemp("memory")
    start(RANKS, HERE.with_name("memory.py"), folder)
    return {
        (stage, rank): json.loads((folder / str(stage) / f"{rank}.json").read_text())
        for stage in zero_memory.STAGES
        for rank in range(RANKS)
    }


@pytest.mark.parametrize("rank", range(RANKS))
@pytest.mark.parametrize("stage", zero_memory.STAGES)
def test_a_rank_keeps_its_share(counted, stage, rank):
    figures = counted[stage, rank]
    formula = zero_memory.expected(stage, RANKS, figures["parameters"])
    for kind, size in figures["bytes"].items():
        room = BUCKET_BYTES if (stage, kind) == (2, "gradients") else 0
        assert 0.99 * formula[kind] <= size <= 1.01 * formula[kind] + room, kind
