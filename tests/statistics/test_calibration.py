"""Whether the statistics keep their promises: simulated matrices, and a real one of identical sources.

``benchmarks/calibration.py`` has what is simulated; it does the same at length.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "calibration.py"


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    return runpy.run_path(str(BENCHMARK))


@pytest.mark.parametrize(
    ("num_seeds", "seed_sd", "metric", "num_matrices"),
    [
        # Below five seeds what is tested is about the trained models, so that these must be equally good.
        (1, 0.0, "macro_f1", 100),
        (3, 0.0, "accuracy", 100),
        (5, 0.06, "macro_f1", 100),
        (10, 0.06, "accuracy", 60),
    ],
)
def test_matrices_keep_their_promises(benchmark, num_seeds, seed_sd, metric, num_matrices):
    world = benchmark["World"](metric=metric, num_seeds=num_seeds, seed_sd=seed_sd)
    seen = benchmark["calibrate"](world, num_matrices, seed=1)
    assert seen.uniform > 0.01
    assert 0.93 < seen.coverage < 0.97
    assert seen.with_discovery <= stats.binom.ppf(0.99, num_matrices, 0.05)
    assert seen.found >= stats.binom.ppf(0.01, num_matrices, 0.8)
    assert seen.detectable < 0.25


def test_seeds_that_differ_are_why_few_seeds_are_conditional(benchmark):
    """Of five seeds intervals cover, and of three, which are about these models alone, they need not."""
    covered = {}
    for num_seeds in (3, 5):
        world = benchmark["World"](num_seeds=num_seeds, seed_sd=0.4, num_targets=1, num_resamples=100)
        rng = np.random.default_rng(2)
        cells = [benchmark["simulate"](world, rng).all_cells[0] for _ in range(150)]
        covered[num_seeds] = np.mean([cell.estimate.low <= 0 <= cell.estimate.high for cell in cells])
    assert covered[3] < 0.75
    assert covered[5] > 0.93


def test_a_percentile_bootstrap_of_three_seeds_covers_three_of_four_times():
    """Why three seeds have no interval over seeds: the draws stay within the range of the three."""
    rng = np.random.default_rng(0)
    means_MR = rng.normal(size=(4000, 3))[:, rng.integers(3, size=(1000, 3))].mean(axis=2)
    low_M, high_M = np.percentile(means_MR, [2.5, 97.5], axis=1)
    assert np.mean((low_M <= 0) & (high_M >= 0)) == pytest.approx(0.75, abs=0.03)


def test_identical_sources_help_nobody(benchmark, specs):
    """Real trainings of one task from scratch, handed out as two sources and as their baseline."""
    corpus = specs.corpus(specs.content("films", "shops"))
    matrix = benchmark["identical_sources"](corpus, "sentiment", num_sources=2, num_seeds=5, max_steps=8)
    assert (matrix.rows, len(matrix.cols)) == (("s0", "s1"), 2)
    for cell in matrix.all_cells:
        assert not cell.inference.conditional
        assert cell.estimate.value != 0  # the trainings do differ
        assert not cell.discovery
