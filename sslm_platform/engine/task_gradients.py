"""Each task's gradient, kept apart until its weight is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from sslm_platform.engine.sliced import Cut, SlicedEncoder

Row = dict[str, Tensor]


class TaskGradients:
    """Gradients of an encoder's parameters by task: T times the parameters in memory.

    One backward for each task of each slot. Modules outside (heads) accumulate their gradients as in any
    backward. A step is :meth:`start`, :meth:`backward` for each slot, :meth:`gramian`, :meth:`combine`.

    Args:
        parameters: by name, equal on all ranks.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._parameters = parameters
        self._rows: dict[str, Row] = {}
        self._combined = False

    def start(self) -> None:
        """Begin a step: call before its first forward pass."""
        self._rows = {}

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Accumulate the gradient of each task's summand of the step's loss."""
        for index, (task, loss) in enumerate(losses.items()):
            loss.backward(retain_graph=index + 1 < len(losses))
            self._keep(task)

    def _keep(self, task: str) -> None:
        """Move the gradients that one backward has left to the task's."""
        row = self._rows.setdefault(task, {})
        for name, parameter in self._parameters.items():
            if parameter.grad is not None:
                row[name] = row[name].add_(parameter.grad) if name in row else parameter.grad
                parameter.grad = None

    def gramian(self, tasks: Sequence[str]) -> np.ndarray:
        """Return the inner products of the tasks' gradients, (T, T), equal on all ranks."""
        gramian_TT = np.zeros((len(tasks), len(tasks)))
        parts: list[tuple[list[int], Tensor]] = []
        for name in self._parameters:
            present = [i for i, task in enumerate(tasks) if name in self._rows[task]]
            if present:
                rows_TP = torch.stack([self._rows[tasks[i]][name].flatten() for i in present])
                parts.append((present, (rows_TP @ rows_TP.T).double().flatten()))
        if parts:  # read at once: each read waits for the device
            flat = torch.cat([part for _, part in parts]).cpu().numpy()
            ends = np.cumsum([len(present) ** 2 for present, _ in parts])
            for (present, _), part in zip(parts, np.split(flat, ends[:-1]), strict=True):
                gramian_TT[np.ix_(present, present)] += part.reshape(len(present), len(present))
        return gramian_TT

    @contextmanager
    def ahead(self, task: str, rate: float) -> Iterator[None]:
        """Hold the parameters a plain step along one task's gradient further; then as it was, to the bit."""
        row = self._rows.get(task, {})
        kept = {name: self._parameters[name].detach().clone() for name in row}
        with torch.no_grad():
            for name, gradient in row.items():
                self._parameters[name].sub_(gradient, alpha=rate)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in kept.items():
                    self._parameters[name].copy_(value)

    def combine(self, weights: Mapping[str, float]) -> None:
        """Make the weighted sum the encoder's gradient, and forget the tasks'."""
        for name, parameter in self._parameters.items():
            for task, row in self._rows.items():
                if name in row:
                    term = row[name].mul_(weights[task])
                    parameter.grad = term if parameter.grad is None else parameter.grad.add_(term)
        self._rows = {}
        self._combined = True

    def take_combined(self) -> bool:
        """Whether this step's gradient is from :meth:`combine`, the same on all ranks; once for each step."""
        combined, self._combined = self._combined, False
        return combined


class SliceGradients(TaskGradients):
    """Gradients of the slice alone by task; the weights found for them apply to the trunk's too.

    The tasks' backwards end where the encoder is cut. The trunk is back-propagated once, however many tasks
    there are, with the weighted sum of their gradients there; until then its activations stay in memory, for
    all slots of the step. (Chen et al. 2018, section 3.1, take gradients of the last shared layer alone;
    Sener & Koltun 2018, section 3.3, of the shared representation.)

    Args:
        encoder: runs forward in between.
        scale: of losses, so that gradients here and of heads are as after :meth:`Engine.backward`.
        backward: back-propagates a loss that is scaled already into the trunk.
        reduce: averages tensors over ranks in place.
    """

    def __init__(
        self,
        encoder: SlicedEncoder,
        scale: float = 1.0,
        backward: Callable[[Tensor], object] = torch.Tensor.backward,
        reduce: Callable[[list[Tensor]], None] = lambda tensors: None,
    ) -> None:
        super().__init__(encoder.top_parameters)
        self._encoder = encoder
        self._scale = scale
        self._backward = backward
        self._reduce = reduce
        self._slots: list[tuple[Cut, dict[tuple[str, int], Tensor]]] = []

    def start(self) -> None:
        """Begin a step: from here on the encoder is cut."""
        super().start()
        self._slots = []
        self._encoder.take_cuts()
        self._encoder.cut = True

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Accumulate the slice's gradient of each task, and keep those where the encoder was cut."""
        self._slots += [(cut, {}) for cut in self._encoder.take_cuts()]
        super().backward({task: loss * self._scale for task, loss in losses.items()})

    def _keep(self, task: str) -> None:
        super()._keep(task)
        for cut, gradients in self._slots:
            for i, taken in enumerate(cut.taken):
                if taken.grad is not None:
                    gradients[task, i], taken.grad = taken.grad, None

    def gramian(self, tasks: Sequence[str]) -> np.ndarray:
        """Sum the tasks' gradients over ranks and return their inner products, (T, T)."""
        self._reduce([value for row in self._rows.values() for value in row.values()])
        return super().gramian(tasks)

    def combine(self, weights: Mapping[str, float]) -> None:
        """Make the weighted sum the slice's gradient, and back-propagate it into the trunk."""
        super().combine(weights)
        self._encoder.cut = False
        terms = [cut.given[0].sum() * 0.0 for cut, _ in self._slots if cut.given]  # one without gradient too
        for cut, gradients in self._slots:
            for (task, i), gradient in gradients.items():
                terms.append(torch.dot(cut.given[i].flatten(), gradient.flatten()) * weights[task])
        self._slots = []
        # once for all slots: ZeRO-3 adds up backwards only where a forward comes between them
        if terms:  # none where all below the slice is frozen
            self._backward(torch.stack(terms).sum())
