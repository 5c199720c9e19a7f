"""Shifts of embeddings, (B, L, E): each example's is a vector of its own, however long its text is."""

from __future__ import annotations

import torch
from torch import Tensor


def norms(shift_BLE: Tensor) -> Tensor:
    """Return each example's L2 norm, (B, 1, 1)."""
    return torch.linalg.vector_norm(shift_BLE, dim=(1, 2), keepdim=True)


def unit(gradient_BLE: Tensor) -> Tensor:
    """Return each example's direction, of norm 1; 0 where the gradient is 0."""
    length_B11 = norms(gradient_BLE)
    return gradient_BLE / torch.where(length_B11 > 0, length_B11, 1.0)


def within(shift_BLE: Tensor, radius: float) -> Tensor:
    """Return the nearest shifts in the ball of a radius."""
    length_B11 = norms(shift_BLE)
    return shift_BLE * torch.where(length_B11 > radius, radius / length_B11, 1.0)
