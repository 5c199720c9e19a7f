"""Whether code runs where its inputs are, tried without a GPU: on tensors without values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

DEVICE = "meta"
MIXED = ("same device", "expected device")  # in torch's errors where tensors of two devices meet


def to_device(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return targets without values, as a GPU would have them."""
    return {name: value.to(DEVICE) for name, value in tensors.items()}


def check_runs(run: Callable[[], object]) -> None:
    """Fail where tensors of two devices meet. What asks for values cannot be tried beyond there."""
    mixed = ""
    try:
        run()
    except (RuntimeError, NotImplementedError) as error:
        mixed = str(error) if any(words in str(error) for words in MIXED) else ""
    assert not mixed, (
        f"on another device than the CPU: {mixed}; make tensors where the inputs are, and keep constants in a"
        " head's buffers or in the targets"
    )
