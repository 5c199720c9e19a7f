"""Task affinity by looking ahead (TAG), measured in a step of a joint training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sslm_platform.engine.task_gradients import TaskGradients


def look_ahead(
    gradients: TaskGradients,
    scales: Mapping[str, float],
    losses: Mapping[str, float],
    losses_again: Callable[[], Mapping[str, float]],
    rate: float,
) -> dict[str, dict[str, float]]:
    """Return what a step for each task would do to the losses of the step's tasks.

    Z(i, j) = 1 - L_j(θ - η g_i) / L_j(θ): Fifty et al. 2021, "Efficiently identifying task groupings for
    multi-task learning", equation 1; θ is the shared encoder, g_i the gradient of task i's mean loss, heads
    stay as they are. Above 0 the step helps j. The encoder is left as it was, to the bit.

    Args:
        gradients: of scale_t · L_t.
        scales: by task; one of 0 has no gradient of its own, and no affinity.
        losses: L_t(θ) on the step's batch; tasks without a positive loss are left out.
        losses_again: returns L_t on the same batch, with the same dropout, at the encoder's weights of now.
        rate: η, the step's learning rate.

    Returns:
        Task i to task j to Z(i, j), itself included; empty at a rate of 0.
    """
    if rate == 0.0:
        return {}
    result = {}
    for task in losses:
        if scales[task] > 0.0:
            with gradients.ahead(task, rate / scales[task]):
                after = losses_again()
            result[task] = {other: 1.0 - after[other] / loss for other, loss in losses.items() if loss > 0.0}
    return result
