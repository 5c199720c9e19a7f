"""Learning without forgetting: what earlier stages' heads answer for later stages' texts stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import kl_div, log_softmax, logsigmoid

from sslm_platform.evaluate import Batch, TaskModel
from sslm_platform.kinds import OutputKind
from sslm_platform.model.multitask import Encode, TaskHead, encode_inputs, task_outputs
from sslm_platform.model.tap import evaluating
from sslm_platform.spec.optimizer import DistillSpec

if TYPE_CHECKING:
    from sslm_platform.train.model import Model

ENCODER = "encoder"
SEPARATOR = "|"  # between a part's name and its parameter's


class Distillation:
    """LwF (Li & Hoiem 2017, IEEE TPAMI, equations 1 and 3): λ · Σ_heads KL(p' || p) is added to the loss.

    p' is what the model at the end of the last stage says with each head of earlier stages, p what the
    present one says, both with logits divided by T; the mean over the step's examples. A slot of a head's own
    task has no such term for it. The term trains the encoder; the paper trains the old heads too, which here
    stay as they are while they have no slot. Values (regression) have the squared difference in KL's place.

    The copy is one encoder and the earlier heads, however many stages there were, in memory and in
    checkpoints; it takes one more forward pass of each slot, without dropout and without gradient.
    """

    def __init__(self, spec: DistillSpec, model: Model) -> None:
        self._spec = spec
        self._model = model
        self._teacher: dict[str, dict[str, Tensor]] = {}  # part to weights

    def take(self, tasks: Iterable[str]) -> None:
        """End a stage of these tasks: copy the model, with the heads of all stages so far."""
        keys = {self._model.tasks[task].task.head_key for task in tasks} | self._teacher.keys() - {ENCODER}
        modules = {ENCODER: self._model.encoder} | {key: self._model.heads[key] for key in sorted(keys)}
        self._teacher = {
            part: {name: value.detach().clone() for name, value in module.state_dict().items()}
            for part, module in modules.items()
        }

    def outputs(
        self, encode: Encode, models: Mapping[str, TaskModel], batch: Batch
    ) -> tuple[Mapping[str, Tensor], Tensor | None]:
        """Encode once; return the tasks' outputs, and λ times the sum over examples, None without a copy."""
        heads = {task: model.head for task, model in models.items()}
        targets: dict[str, Any] = {task: part.targets for task, part in batch.tasks.items()}
        own = {model.task.head_key for model in models.values()}
        earlier = {
            f"{key}{SEPARATOR}": key for key in sorted(self._teacher) if key != ENCODER and key not in own
        }
        held = {name: TaskHead(_Held(self._model.heads[key]), tied=False) for name, key in earlier.items()}
        found = task_outputs(encode, heads | held, batch.inputs, targets | {name: {} for name in held})
        if not held:
            return found, None
        expected = self._answers(earlier, batch)
        differences = [
            _difference(self._emits(key), found[name], expected[name], self._spec.temperature)
            for name, key in earlier.items()
        ]
        return found, self._spec.strength * torch.stack(differences).sum()

    def _answers(self, earlier: Mapping[str, str], batch: Batch) -> dict[str, Tensor]:
        """Return what the copy says with these heads."""
        encoder, mask_BL = self._model.encoder, batch.inputs["mask_BL"]
        assert mask_BL is not None

        def encode(*inputs: Any) -> Any:
            return functional_call(encoder, self._teacher[ENCODER], inputs)

        heads = {name: self._model.heads[key] for name, key in earlier.items()}
        with torch.no_grad(), evaluating(encoder, *heads.values()):
            hidden_BLD, _ = encode_inputs(encode, batch.inputs)
            return {
                name: functional_call(
                    head, self._teacher[earlier[name]], (_features(head)(hidden_BLD, mask_BL, {}),)
                )
                for name, head in heads.items()
            }

    def _emits(self, key: str) -> OutputKind:
        task = next(model.task for model in self._model.tasks.values() if model.task.head_key == key)
        return task.head.definition.emits

    def state(self) -> dict[str, Tensor]:
        """Return the copy on the CPU; empty before a stage has ended."""
        return {
            f"{part}{SEPARATOR}{name}": value.cpu()
            for part, weights in self._teacher.items()
            for name, value in weights.items()
        }

    def load_state(self, saved: Mapping[str, Tensor]) -> None:
        """Read what :meth:`state` returned.

        It is copied: the rounding of a product may depend on where its operands begin in memory.
        """
        device = next(self._model.encoder.parameters()).device
        self._teacher = {}
        for key in saved:
            part, _, name = key.rpartition(SEPARATOR)
            self._teacher.setdefault(part, {})[name] = saved[key].to(device, copy=True)


class _Held:
    """A head whose own weights get no gradient."""

    def __init__(self, head: Any) -> None:
        self._head = head
        self.features = head.features

    def __call__(self, features: Tensor) -> Any:
        weights = {name: value.detach() for name, value in self._head.named_parameters()}
        return functional_call(self._head, weights, (features,))


def _features(head: Any) -> Callable[..., Tensor]:
    features: Callable[..., Tensor] = head.features
    return features


def _difference(kind: OutputKind, found: Tensor, expected: Tensor, temperature: float) -> Tensor:
    """Return the sum over examples of how far answers are from what they were."""
    if kind is OutputKind.SEQUENCE_VALUES:
        return (found - expected).square().sum()
    found, expected = found / temperature, expected / temperature
    if kind is OutputKind.LABEL_SET_LOGITS:  # each label is a choice of two
        found, expected = (torch.stack([logsigmoid(x), logsigmoid(-x)], dim=-1) for x in (found, expected))
    else:
        found, expected = log_softmax(found, dim=-1), log_softmax(expected, dim=-1)
    return kl_div(found, expected, log_target=True, reduction="sum")
