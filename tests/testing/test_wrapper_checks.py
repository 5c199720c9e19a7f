"""Every check of wrappers fails on one that breaks its rule."""

import dataclasses

import numpy as np
import pytest
import torch
from sslm_objectives.wrappers.adversarial import FastGradientMethod, FreeLargeBatch
from sslm_objectives.wrappers.options import FgmOptions, FreelbOptions

from sslm_platform.kinds import OutputKind
from sslm_platform.plugins import host
from sslm_platform.testing import wrapper_checks as checks
from sslm_platform.testing.cases import Case


class Fgm(FastGradientMethod):
    def __init__(self):
        super().__init__(FgmOptions())


class OneMore(Fgm):
    def losses(self, passes):
        yield from super().losses(passes)
        yield passes().losses_B


class Means(Fgm):
    def losses(self, passes):
        yield from (part_B.mean() for part_B in super().losses(passes))


class UntilItIsHigh(Fgm):
    """Passes until the loss is high enough: ranks would call the encoder unequally."""

    def losses(self, passes):
        clean = passes()
        for _ in range(int(clean.losses_B.sum()) % 7):
            passes(passes.noise(np.random.Generator.standard_normal))
        yield clean.losses_B
        yield passes(passes.noise(np.random.Generator.standard_normal)).losses_B


class NormOfTheBatch(Fgm):
    def losses(self, passes):
        shift = torch.zeros(*passes.mask_BL.shape, checks.WIDTH, requires_grad=True)
        yield passes(shift).losses_B
        yield passes(shift.grad / shift.grad.norm()).losses_B


class ShiftsPadding(Fgm):
    def losses(self, passes):
        yield passes().losses_B
        yield passes(torch.ones(*passes.mask_BL.shape, checks.WIDTH)).losses_B


class GlobalNoise(Fgm):
    def losses(self, passes):
        yield passes().losses_B
        noise = torch.randn(*passes.mask_BL.shape, checks.WIDTH) * passes.mask_BL[..., None]
        yield passes(noise).losses_B


class Probing(Fgm):
    def losses(self, passes):
        shift = passes.noise(lambda generator, shape: np.zeros(shape)).requires_grad_()
        one = passes(shift)
        passes.gradient(one.losses_B.sum(), shift)
        yield passes().losses_B
        yield passes(shift.detach()).losses_B


class OwnNoise(FreeLargeBatch):
    """Keeps a generator of its own, so that a second run differs."""

    rng = np.random.default_rng(0)

    def __init__(self):
        super().__init__(FreelbOptions())

    def _first(self, generator, shape):
        return super()._first(self.rng, shape)


def case_of(broken=Fgm, **changes):
    definition = host().registry.wrappers.get("fgm").definition
    changed = dataclasses.replace(definition, build=lambda options, context: broken(), **changes)
    return Case(changed, {}, OutputKind.SEQUENCE_LOGITS)


TWINS = [
    (checks.check_num_backwards, case_of(OneMore), "3 losses; num_backwards is 2"),
    (checks.check_losses, case_of(Means), r"is \(\), not \(B,\)"),
    (checks.check_passes_are_fixed, case_of(UntilItIsHigh), "number of passes depends on the batch"),
    (checks.check_examples_are_apart, case_of(NormOfTheBatch), "depends on the rest of the batch"),
    (checks.check_padding_is_not_shifted, case_of(ShiftsPadding), "padding is shifted"),
    (checks.check_declarations, case_of(shifts=False), "declare shifts=True"),
    (checks.check_declarations, case_of(Probing), "declare probes=True"),
    (checks.check_nothing_else_is_random, case_of(GlobalNoise), "global generator"),
    (checks.check_nothing_else_is_random, case_of(OwnNoise), "two runs differ"),
]


@pytest.mark.parametrize(
    ("check", "case", "message"), TWINS, ids=lambda value: getattr(value, "__name__", None)
)
def test_check_fails_on_a_broken_wrapper(check, case, message):
    with pytest.raises(AssertionError, match=message):
        check(case)


def test_every_check_has_a_twin():
    assert {check for check, _, _ in TWINS} == set(checks.WRAPPER_CHECKS)
