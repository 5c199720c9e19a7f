"""Wrappers against their formulas, on a model that is linear in its embeddings and by autograd."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sslm_objectives.wrappers.adversarial import (
    FastGradientMethod,
    FreeLargeBatch,
    ProjectedGradientDescent,
)
from sslm_objectives.wrappers.agreement import RDrop, Smart, disagreement
from sslm_objectives.wrappers.options import (
    FgmOptions,
    FreelbOptions,
    PgdOptions,
    RDropOptions,
    SmartOptions,
)

from sslm_platform.api import Pass

MASK_BL = torch.tensor([[True, True, True], [True, True, False]])
X_BLE = torch.tensor([[[1.0, 2.0], [0.0, -1.0], [3.0, 1.0]], [[0.5, 0.5], [-2.0, 1.0], [0.0, 0.0]]])
SLOPE_E = torch.tensor([0.6, -0.8])


class Linear:
    """Loss = slope · (sum of embeddings + shift) of an example: its gradient is the slope at each token."""

    def __init__(self, slope_E=SLOPE_E):
        self.mask_BL = MASK_BL
        self.slope_E = slope_E.clone().requires_grad_()
        self.shifts = []

    def __call__(self, shift_BLE=None):
        x_BLE = X_BLE if shift_BLE is None else X_BLE + shift_BLE
        self.shifts.append(shift_BLE)
        values_B = ((x_BLE * self.mask_BL[..., None]).sum(1) * self.slope_E).sum(-1)
        return Pass(values_B, values_B, {})

    def noise(self, draw):
        noise_BLE = torch.zeros_like(X_BLE)
        for row, (length, seed) in enumerate(((3, 0), (2, 1))):
            drawn = draw(np.random.default_rng(seed), (length, 2))
            noise_BLE[row, :length] = torch.from_numpy(drawn).float()
        return noise_BLE

    def gradient(self, loss, shift_BLE):
        return torch.autograd.grad(loss, shift_BLE)[0]


def run(wrapper, passes, factor=1.0):
    parts = []
    for part_B in wrapper.losses(passes):
        parts.append(part_B.detach().numpy())
        (part_B.sum() * factor).backward()
    return parts


def norms(shift_BLE):
    return shift_BLE.detach().flatten(1).norm(dim=1).tolist()


@pytest.mark.parametrize("factor", [1.0, 1e-3, 7.0])
def test_fgm_shifts_each_example_by_epsilon_along_the_gradient(factor):
    passes = Linear()
    clean, moved = run(FastGradientMethod(FgmOptions(epsilon=0.5)), passes, factor)
    assert norms(passes.shifts[1]) == pytest.approx([0.5, 0.5])
    # the slope has norm 1, so that of n tokens' slopes is √n
    for row, num_tokens in enumerate((3, 2)):
        expected = 0.5 * SLOPE_E / num_tokens**0.5
        torch.testing.assert_close(passes.shifts[1][row, :num_tokens], expected.expand(num_tokens, 2))
        assert moved[row] - clean[row] == pytest.approx(0.5 * num_tokens**0.5)
    assert (passes.shifts[1][1, 2] == 0).all()


def test_fgm_trains_on_the_text_and_on_the_shifted_one():
    passes = Linear()
    run(FastGradientMethod(FgmOptions(epsilon=0.5)), passes)
    shifted_BLE = (2 * X_BLE + passes.shifts[1]) * MASK_BL[..., None]  # held fixed: the shift is no function
    torch.testing.assert_close(passes.slope_E.grad, shifted_BLE.sum((0, 1)))


def test_a_loss_of_no_slope_is_shifted_nowhere():
    passes = Linear(torch.zeros(2))
    clean, moved = run(FastGradientMethod(FgmOptions()), passes)
    assert (clean == moved).all()


def test_pgd_steps_and_stays_within_the_ball():
    passes = Linear()
    options = PgdOptions(epsilon=0.7, step_size=0.3, steps=3)
    clean, moved = run(ProjectedGradientDescent(options), passes)
    sizes = [norms(shift) for shift in passes.shifts if shift is not None]
    assert np.array(sizes) == pytest.approx(np.array([[0, 0], [0.3, 0.3], [0.6, 0.6], [0.7, 0.7]]), abs=1e-6)
    assert moved - clean == pytest.approx(0.7 * np.sqrt([3, 2]))
    shifted_BLE = (2 * X_BLE + passes.shifts[-1]) * MASK_BL[..., None]  # the steps have trained nothing
    torch.testing.assert_close(passes.slope_E.grad, shifted_BLE.sum((0, 1)))


def test_freelb_averages_the_gradients_of_its_steps():
    passes = Linear()
    parts = run(FreeLargeBatch(FreelbOptions(epsilon=0.4, step_size=0.25, steps=3)), passes)
    first, second, third = (shift.detach() for shift in passes.shifts)
    for row, num_tokens in enumerate((3, 2)):
        bound = 0.4 / (num_tokens * 2) ** 0.5
        assert 0 < first[row].abs().max() <= bound
        way_LE = 0.25 * SLOPE_E.expand(num_tokens, 2) / num_tokens**0.5
        for before, after in ((first, second), (second, third)):
            target_LE = before[row, :num_tokens] + way_LE
            target_LE *= min(1.0, 0.4 / target_LE.norm().item())
            torch.testing.assert_close(after[row, :num_tokens], target_LE)
    mean_BLE = X_BLE + (first + second + third) / 3
    torch.testing.assert_close(passes.slope_E.grad, (mean_BLE * MASK_BL[..., None]).sum((0, 1)))
    assert len(parts) == 3


def test_smart_finds_the_corner_of_the_box():
    """D = (slope · shift)², whose gradient points to ±ε in each coordinate, as the noise leans."""
    passes = Linear()
    options = SmartOptions(weight=2.0, epsilon=0.05, step_size=1.0, noise=1e-3, steps=1)
    (total,) = run(Smart(options), passes)
    corner = passes.shifts[-1]
    for row, num_tokens in enumerate((3, 2)):
        assert corner[row, :num_tokens].abs().numpy() == pytest.approx(np.full((num_tokens, 2), 0.05))
        plain = (X_BLE[row, :num_tokens].sum(0) * SLOPE_E).sum().item()
        largest = (0.05 * num_tokens * (0.6 + 0.8)) ** 2
        assert total[row] == pytest.approx(plain + 2.0 * largest, rel=1e-4)
    assert (corner[1, 2] == 0).all()


def logits(seed, *shape):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape), dtype=torch.float32)


def kl(log_p, log_q):
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def test_disagreement_is_the_symmetric_divergence_of_an_examples_rows():
    one_NC, other_NC = logits(0, 4, 3), logits(1, 4, 3)
    log_p, log_q = (log_softmax(x.numpy(), axis=-1) for x in (one_NC, other_NC))
    rows = kl(log_p, log_q) + kl(log_q, log_p)
    targets = {"example": torch.tensor([0, 2, 2, 0])}
    passes = [Pass(x, torch.zeros(3), targets) for x in (one_NC, other_NC)]
    assert disagreement(*passes).numpy() == pytest.approx([rows[0] + rows[3], 0, rows[1] + rows[2]], rel=1e-5)
    passes = [Pass(x, torch.zeros(4), {}) for x in (one_NC, other_NC)]
    assert disagreement(*passes).numpy() == pytest.approx(rows, rel=1e-5)


class Dropped:
    """Two passes whose logits differ, as under dropout."""

    def __init__(self):
        self.logits = [logits(0, 4, 3).requires_grad_(), logits(1, 4, 3).requires_grad_()]
        self.calls = iter(self.logits)

    def __call__(self, shift_BLE=None):
        outputs = next(self.calls)
        return Pass(outputs, -outputs.log_softmax(-1)[:, 1], {})


def test_r_drop_is_equation_4_of_the_paper():
    passes = Dropped()
    (total,) = run(RDrop(RDropOptions(weight=3.0)), passes)
    log_p, log_q = (log_softmax(x.detach().numpy(), axis=-1) for x in passes.logits)
    expected = -log_p[:, 1] - log_q[:, 1] + 3.0 * 0.5 * (kl(log_p, log_q) + kl(log_q, log_p))
    assert total == pytest.approx(expected, rel=1e-5)
    p, q = softmax(log_p, axis=-1), softmax(log_q, axis=-1)
    # d/dz of Σ (p - q)(log p - log q) at the first logits
    difference, gold = log_p - log_q, np.eye(3)[[1] * 4]
    slope = p * (difference - (p * difference).sum(-1, keepdims=True)) + p - q
    assert passes.logits[0].grad.numpy() == pytest.approx(p - gold + 1.5 * slope, rel=1e-4, abs=1e-6)
