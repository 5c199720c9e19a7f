"""Checks of wrappers, on a model whose embeddings and loss are small enough to see through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sslm_platform.interfaces import TaskBatch
from sslm_platform.kinds import OutputKind
from sslm_platform.testing import data
from sslm_platform.testing.cases import Case
from sslm_platform.train.passes import SlotPasses
from sslm_platform.types import WrapperContext, WrapperDef

WrapperCase = Case[WrapperDef]
WIDTH = 6


def build(case: WrapperCase) -> Any:
    """Build the wrapper of a case."""
    return case.definition.build(case.parsed_options(), WrapperContext(case.kind))


class _Squares:
    """An objective of any kind: the squares of an example's outputs."""

    def collate(self, examples: Any, generators: Any) -> TaskBatch:
        raise NotImplementedError

    def losses(self, outputs: Tensor, targets: Any, num_examples: int) -> Tensor:
        squares = (outputs - 1.0).square()
        rows = squares if squares.ndim == 1 else squares.sum(dim=-1)
        if "example" not in targets:
            return rows
        return rows.new_zeros(num_examples).index_add(0, targets["example"], rows)


@dataclass
class Rehearsal:
    """Examples of some keys, an embedding and a head; notes what a wrapper does with them."""

    kind: OutputKind
    keys: Sequence[int]
    shifts: list[Tensor] = field(default_factory=list)
    num_passes: int = 0
    num_probes: int = 0

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(4)
        self.embedding = nn.Parameter(torch.randn(data.VOCABULARY.size, WIDTH, generator=generator))
        self.head = nn.Parameter(torch.randn(WIDTH, data.width_of(self.kind) or 1, generator=generator))
        every = data.make_examples(data.head_needs(self.kind), 6)
        examples = [every[key] for key in self.keys]
        self.batch = data.make_targets(self.kind, examples)
        lengths = [len(example.input_ids_L) for example in examples]
        self.mask_BL = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        self.ids_BL = torch.zeros(self.mask_BL.shape, dtype=torch.int64)
        for row, example in enumerate(examples):
            self.ids_BL[row, : lengths[row]] = torch.from_numpy(example.input_ids_L)
        self.generators = [np.random.default_rng((3, key)) for key in self.keys]

    def outputs(self, shift_BLE: Tensor | None) -> Tensor:
        """Embed, mix each text's tokens a little, and read what the kind reads."""
        self.num_passes += 1
        embedded_BLE = self.embedding[self.ids_BL]
        if shift_BLE is not None:
            self.shifts.append(shift_BLE.detach())
            embedded_BLE = embedded_BLE + shift_BLE
        states_BLE = torch.tanh(embedded_BLE) * self.mask_BL[..., None]
        mixed_BLE = states_BLE + self._means(states_BLE)
        targets = self.batch.targets
        if "example" in targets:
            length_N = self.mask_BL.sum(dim=1)[targets["example"]]  # positions may be of a text to generate
            return mixed_BLE[targets["example"], targets["position"] % length_N] @ self.head
        outputs = mixed_BLE[:, 0] @ self.head
        return outputs.squeeze(-1) if data.width_of(self.kind) is None else outputs

    def _means(self, states_BLE: Tensor) -> Tensor:
        return states_BLE.sum(dim=1, keepdim=True) / self.mask_BL.sum(dim=1)[:, None, None]

    def passes(self) -> SlotPasses:
        """Return what the wrapper gets."""
        rehearsal = self

        class Noted(SlotPasses):
            def gradient(self, loss: Tensor, shift_BLE: Tensor) -> Tensor:
                rehearsal.num_probes += 1
                return super().gradient(loss, shift_BLE)

        return Noted(self.outputs, _Squares(), self.batch, self.mask_BL, WIDTH, self.generators)

    def run(self, case: WrapperCase) -> list[Tensor]:
        """Run the wrapper as the platform does; return what it yielded."""
        parts = []
        for part_B in build(case).losses(self.passes()):
            parts.append(part_B.detach())
            assert part_B.requires_grad, "a part of the loss has no gradient"
            part_B.sum().backward()
        return parts


def check_num_backwards(case: WrapperCase) -> None:
    """As many losses are yielded as announced."""
    wrapper, parts = build(case), Rehearsal(case.kind, range(6)).run(case)
    assert len(parts) == wrapper.num_backwards, (
        f"{len(parts)} losses; num_backwards is {wrapper.num_backwards}"
    )


def check_losses(case: WrapperCase) -> None:
    """Each part of the loss is finite, one number for each example, and trains all weights."""
    rehearsal = Rehearsal(case.kind, range(6))
    for part_B in rehearsal.run(case):
        assert tuple(part_B.shape) == (6,), f"a part of the loss is {tuple(part_B.shape)}, not (B,)"
        assert torch.isfinite(part_B).all(), "a part of the loss is not finite"
    for weight in (rehearsal.embedding, rehearsal.head):
        assert weight.grad is not None, "a weight gets no gradient"
        assert weight.grad.abs().sum() > 0, "a weight's gradient is zero"


def check_passes_are_fixed(case: WrapperCase) -> None:
    """Other examples take as many passes: ranks must call the encoder equally often."""
    counts = []
    for keys in ([0], [1, 2, 3], range(6)):
        rehearsal = Rehearsal(case.kind, keys)
        rehearsal.run(case)
        counts.append(rehearsal.num_passes)
    assert len(set(counts)) == 1, f"the number of passes depends on the batch: {counts}"


def check_examples_are_apart(case: WrapperCase) -> None:
    """An example's shift and loss are the same alone, in a batch, and in any order."""
    whole = Rehearsal(case.kind, range(6))
    parts = whole.run(case)
    for key in range(6):
        alone = Rehearsal(case.kind, [key])
        for part_B, own_B in zip(parts, alone.run(case), strict=True):
            assert torch.allclose(part_B[key], own_B[0], atol=1e-5), "a loss depends on the rest of the batch"
        length = int(alone.mask_BL.sum())
        for shift_BLE, own_BLE in zip(whole.shifts, alone.shifts, strict=True):
            assert torch.allclose(shift_BLE[key, :length], own_BLE[0], atol=1e-5), (
                "a shift depends on the rest of the batch: use norms of examples, and passes.noise"
            )


def check_padding_is_not_shifted(case: WrapperCase) -> None:
    """Shifts are 0 where there is no token: else their norms would depend on the batch."""
    rehearsal = Rehearsal(case.kind, range(6))
    rehearsal.run(case)
    assert all((shift_BLE[~rehearsal.mask_BL] == 0).all() for shift_BLE in rehearsal.shifts), (
        "padding is shifted"
    )


def check_declarations(case: WrapperCase) -> None:
    """``shifts`` and ``probes`` say what the wrapper does."""
    rehearsal = Rehearsal(case.kind, range(6))
    rehearsal.run(case)
    assert bool(rehearsal.shifts) == case.definition.shifts, "declare shifts=True exactly if it shifts"
    assert bool(rehearsal.num_probes) == case.definition.probes, (
        "declare probes=True exactly if it calls passes.gradient"
    )


def check_nothing_else_is_random(case: WrapperCase) -> None:
    """Two runs are equal, and no global generator is drawn from."""
    before = torch.get_rng_state().numpy().tobytes() + repr(np.random.get_state()).encode()
    first, second = (Rehearsal(case.kind, range(6)).run(case) for _ in range(2))
    after = torch.get_rng_state().numpy().tobytes() + repr(np.random.get_state()).encode()
    assert before == after, "a global generator is drawn from; use passes.noise"
    assert all(map(torch.equal, first, second)), "two runs differ; use passes.noise"


WRAPPER_CHECKS = (
    check_num_backwards,
    check_losses,
    check_passes_are_fixed,
    check_examples_are_apart,
    check_padding_is_not_shifted,
    check_declarations,
    check_nothing_else_is_random,
)
