"""Agreement of ordered labels."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from sslm_metrics.counts import ratio
from sslm_platform.api import (
    DecomposableMetric,
    Metric,
    MetricContext,
    MetricDef,
    Options,
    OutputKind,
    Scored,
    SpecError,
)


class OrderOptions(Options):
    """Options of ``quadratic_kappa``."""

    order: tuple[str, ...] | None = Field(
        default=None, min_length=2, description="All labels from low to high; default: as numbers."
    )


class QuadraticKappa(DecomposableMetric):
    """Kappa with weights (i - j)^2 of ranks i and j (Cohen 1968): 1 - observed / expected disagreement.

    Expected of two raters with these ranks who do not look is E p^2 + E r^2 - 2 E p E r, so that sums of
    ranks and of their squares are enough. 0 where both are constant.
    """

    def __init__(self, rank_K: np.ndarray) -> None:
        self.rank_K = rank_K

    def statistics(self, scored: Scored) -> np.ndarray:
        """Return (p - r)^2, p, p^2, r, r^2 and 1 for each example, (N, 6)."""
        p_N, r_N = self.rank_K[scored.predictions], self.rank_K[scored.references]
        sums_N6 = np.stack([(p_N - r_N) ** 2, p_N, p_N**2, r_N, r_N**2, np.ones(len(scored))], axis=1)
        return sums_N6 * (np.asarray(scored.references) >= 0)[:, None]  # others have no rank here

    def finalize(self, totals_RK: np.ndarray) -> np.ndarray:
        """Return 1 - observed / expected."""
        observed_R, p_R, p2_R, r_R, r2_R, n_R = totals_RK.T
        expected_R = p2_R + r2_R - 2 * ratio(p_R * r_R, n_R)
        return np.where(expected_R > 0, 1 - ratio(observed_R, expected_R), 0.0)


def _build(options: OrderOptions, context: MetricContext) -> Metric:
    order = options.order
    if order is None:
        try:
            order = tuple(sorted(context.labels, key=float))
        except ValueError:
            raise SpecError("metric 'quadratic_kappa': the labels are no numbers: give their order") from None
    if sorted(order) != sorted(context.labels):
        raise SpecError(
            f"metric 'quadratic_kappa': order is {', '.join(order)}, but the labels are"
            f" {', '.join(context.labels)}"
        )
    return QuadraticKappa(np.array([float(order.index(label)) for label in context.labels]))


DEFINITIONS = (
    MetricDef(
        "quadratic_kappa",
        _build,
        accepts=frozenset({OutputKind.SEQUENCE_LOGITS}),
        options=OrderOptions,
        summary="Agreement of ordered labels beyond chance, by squared distance.",
    ),
)
