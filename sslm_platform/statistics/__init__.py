"""Bootstrap, intervals, tests and corrections. No torch; scipy is imported when first computed with."""

from sslm_platform.statistics.bootstrap import (
    CONFIDENCE,
    NUM_RESAMPLES,
    percentile_interval,
    resample_counts,
)
from sslm_platform.statistics.inference import MIN_SEEDS, Estimate, Inference, infer, score_estimate
from sslm_platform.statistics.multiple import FALSE_DISCOVERY_RATE, POWER, adjusted, detectable
from sslm_platform.statistics.reference import Errors
from sslm_platform.statistics.samples import Sample, combine, mean_of

__all__ = [
    "CONFIDENCE",
    "FALSE_DISCOVERY_RATE",
    "MIN_SEEDS",
    "NUM_RESAMPLES",
    "POWER",
    "Errors",
    "Estimate",
    "Inference",
    "Sample",
    "adjusted",
    "combine",
    "detectable",
    "infer",
    "mean_of",
    "percentile_interval",
    "resample_counts",
    "score_estimate",
]
