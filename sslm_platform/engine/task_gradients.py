"""Each task's gradient of a part, kept apart until its weight is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from sslm_platform.engine.part import Part


class TaskGradients:
    """Gradients of the encoder by task: T times its parameters in memory, one backward for each task.

    Modules outside the part (heads) accumulate their gradients as in any backward.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._rows: dict[str, dict[str, Tensor]] = {}

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Accumulate the gradient of each task's summand of the step's loss."""
        for index, (task, loss) in enumerate(losses.items()):
            loss.backward(retain_graph=index + 1 < len(losses))
            row = self._rows.setdefault(task, {})
            for name, parameter in self._part.parameters.items():
                if parameter.grad is not None:
                    row[name] = row[name].add_(parameter.grad) if name in row else parameter.grad
                    parameter.grad = None

    def gramian(self, tasks: Sequence[str]) -> np.ndarray:
        """Return the inner products of the tasks' gradients, (T, T)."""
        gramian_TT = np.zeros((len(tasks), len(tasks)))
        for name in self._part.parameters:
            present = [i for i, task in enumerate(tasks) if name in self._rows[task]]
            if present:
                rows_TP = torch.stack([self._rows[tasks[i]][name].flatten() for i in present])
                gramian_TT[np.ix_(present, present)] += (rows_TP @ rows_TP.T).double().cpu().numpy()
        return gramian_TT

    @contextmanager
    def ahead(self, task: str, rate: float) -> Iterator[None]:
        """Hold the part a plain step along one task's gradient further; then as it was, to the bit."""
        row = self._rows.get(task, {})
        kept = {name: self._part.parameters[name].detach().clone() for name in row}
        with torch.no_grad():
            for name, gradient in row.items():
                self._part.parameters[name].sub_(gradient, alpha=rate)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in kept.items():
                    self._part.parameters[name].copy_(value)

    def combine(self, weights: Mapping[str, float]) -> None:
        """Make the weighted sum the part's gradient, and forget the tasks'."""
        for name, parameter in self._part.parameters.items():
            for task, row in self._rows.items():
                if name in row:
                    term = row[name].mul_(weights[task])
                    parameter.grad = term if parameter.grad is None else parameter.grad.add_(term)
        self._rows = {}
