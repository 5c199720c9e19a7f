"""AdamW of an embedding table of which batches read few rows: the same update for a part of the traffic.

Its bits are the same with one backward a step; with several, or a tied head, sums are rounded otherwise.

A row that no batch has read has no moments, so that its update is weight decay alone. The gradient is a list
of rows (``nn.Embedding(sparse=True)``), moments are kept of those that have had one. On a small step of a
small encoder this was 5 % of the time (one thread, 8 examples a step, on a busy machine).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from sslm_platform.engine.optimizer import MOMENTS

MIN_ROWS = 4096  # a smaller table is quickly updated whole
WIDTH_UNIT = 16  # floats of a vector instruction: an update's bits depend on whether one takes the last ones
MOST = 0.5  # of the rows: with more, copying them out and in costs what it saves


class TableUpdate:
    """Steps one table with an optimizer's settings and state.

    Args:
        module: the table; its gradients are lists of rows from here on.
        optimizer: has the table's weight in one of its groups.
    """

    def __init__(self, module: nn.Embedding, optimizer: torch.optim.Optimizer) -> None:
        module.sparse = True
        self.weight = module.weight
        self._module = module
        self._state = optimizer.state
        self._group = next(g for g in optimizer.param_groups if any(p is self.weight for p in g["params"]))
        self._rows: Tensor | None = None
        self._place_V = torch.full((len(self.weight),), -1)
        self._moments: dict[str, Tensor] = {}

    def step(self) -> None:
        """Step a table whose gradient is a list of rows, and take the gradient away; else do nothing.

        A gradient of all rows (of a tied head) is left to the optimizer, and so are all that come later.
        """
        gradient = self.weight.grad
        if gradient is None or not gradient.is_sparse:
            self.release()
            return
        gradient = gradient.coalesce()
        rows_R = self._with_rows(gradient.indices()[0])
        if len(rows_R) > MOST * len(self.weight):
            self.release()
            self.weight.grad = gradient.to_dense()
            return
        self.weight.grad = None
        with torch.no_grad():
            self._update(rows_R, gradient)

    def _update(self, rows_R: Tensor, gradient: Tensor) -> None:
        group, state = self._group, self._state[self.weight]
        decay = group["lr"] * group["weight_decay"]
        if decay:
            self.weight.mul_(1 - decay)
        weight_RD = self.weight.index_select(0, rows_R)
        gradient_RD = torch.zeros_like(weight_RD)
        gradient_RD.index_copy_(0, self._place_V[gradient.indices()[0]], gradient.values())
        moments = [self._moments[name][: len(rows_R)] for name in MOMENTS]
        adamw(
            [weight_RD],
            [gradient_RD],
            [moments[0]],
            [moments[1]],
            [],
            [state["step"]],
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
        )
        self.weight.index_copy_(0, rows_R, weight_RD)

    def _with_rows(self, ids: Tensor) -> Tensor:
        """Return the rows that have moments, these included."""
        if self._rows is None:
            self._begin()
        assert self._rows is not None
        new = ids[self._place_V[ids] < 0]
        if len(new):
            self._place_V[new] = torch.arange(len(self._rows), len(self._rows) + len(new))
            self._rows = torch.cat([self._rows, new])
            for name, moment_RD in self._moments.items():
                short = len(self._rows) - len(moment_RD)
                if short > 0:  # by half again, so that few steps copy
                    more = moment_RD.new_zeros(max(short, len(moment_RD) // 2), moment_RD.shape[1])
                    self._moments[name] = torch.cat([moment_RD, more])
        return self._rows

    def _begin(self) -> None:
        """Take the rows that have moments out of the optimizer's state."""
        state = self._state[self.weight]
        if not state:
            state["step"] = torch.zeros(())
            state |= {name: torch.zeros_like(self.weight) for name in MOMENTS}
        has_V = torch.stack([(state[name] != 0).any(dim=1) for name in MOMENTS]).any(dim=0)
        self._rows = torch.nonzero(has_V).flatten()
        self._place_V.fill_(-1)
        self._place_V[self._rows] = torch.arange(len(self._rows))
        self._moments = {name: state[name][self._rows] for name in MOMENTS}

    def flush(self) -> None:
        """Write the moments into the optimizer's state."""
        if self._rows is not None:
            for name, moment_RD in self._moments.items():
                self._state[self.weight][name][self._rows] = moment_RD[: len(self._rows)]

    @property
    def spares(self) -> bool:
        """Whether gradients are lists of rows; part of the state: sums of lists are rounded otherwise."""
        return bool(self._module.sparse)

    @spares.setter
    def spares(self, value: bool) -> None:
        self._module.sparse = value

    def forget(self) -> None:
        """The optimizer's state is another from here on."""
        self._rows, self._moments = None, {}

    def release(self) -> None:
        """Leave the table to the optimizer."""
        self.flush()
        self.forget()
        self._module.sparse = False


def large_tables(encoder: nn.Module) -> Iterator[nn.Embedding]:
    """Yield the tables that are trained, are worth it, and are nobody else's parameters."""
    names: dict[int, int] = {}
    for _, parameter in encoder.named_parameters(remove_duplicate=False):
        names[id(parameter)] = names.get(id(parameter), 0) + 1
    for module in encoder.modules():
        if isinstance(module, nn.Embedding) and _is_plain(module) and names[id(module.weight)] == 1:
            yield module


def _is_plain(module: nn.Embedding) -> bool:
    return (
        type(module) is nn.Embedding
        and module.weight.requires_grad
        and module.num_embeddings >= MIN_ROWS
        and module.embedding_dim % WIDTH_UNIT == 0
        and module.weight.device.type == "cpu"  # a GPU's memory is fast, and sorting rows would wait for it
        and not module.scale_grad_by_freq
        and module.max_norm is None
    )


def listed(parameter: nn.Parameter) -> Tensor | None:
    """Return a parameter's gradient; of a list of rows the rows, each once, to be written in place too."""
    if parameter.grad is None or not parameter.grad.is_sparse:
        return parameter.grad
    parameter.grad = parameter.grad.coalesce()
    return parameter.grad.values()
