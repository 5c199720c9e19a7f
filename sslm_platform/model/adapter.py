"""Parameter-efficient tuning: small trained parts inside a frozen backbone, made by ``peft``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sslm_platform.errors import Problem, RunError, SpecError, suggest
from sslm_platform.spec.schema import AdapterSpec

NAME = "default"  # peft leaves it out of the names in its files
FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."  # of names in peft's own models
# The platform decides these, or they train parts that are not the adapter's.
OWNED = {
    "task_type",
    "peft_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
}
LONG = 1 << 60  # steps, of a schedule whose length is not known yet
OWNED_OF = {
    "adalora": {"total_step", "rank_pattern"},
    "prefix_tuning": {
        "num_layers",
        "num_attention_heads",
        "num_transformer_submodules",
        "token_dim",
        "encoder_hidden_size",
        "prefix_projection",
    },
}
GIVEN: dict[str, dict[str, Any]] = {
    "adalora": {"total_step": LONG},
    "prefix_tuning": {"task_type": "FEATURE_EXTRACTION"},
}
DEFAULTS: dict[str, dict[str, Any]] = {"prefix_tuning": {"num_virtual_tokens": 20}}


def add_adapter(backbone: Any, spec: AdapterSpec, base: str | None, seed: int) -> None:
    """Put an adapter into a backbone and freeze all else.

    Args:
        backbone: a ``transformers`` encoder; its modules are replaced.
        spec: the section ``encoder.adapter``.
        base: where the backbone is from, for the adapter's file.
        seed: of the adapter's first weights; with any of them the states are the backbone's own.

    Raises:
        SpecError: an option is unknown, or fits no module of this backbone.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # peft imports DeepSpeed, which says what it misses
    from peft import inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = _config(spec)
    config.base_model_name_or_path = base
    if spec.per == "task":
        _check_base_stays(config)
    if spec.name == "prefix_tuning":
        from sslm_platform.model.prefix import add_prefix

        add_prefix(backbone, config, seed)
        return
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, backbone, NAME)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise _refused(next(iter(str(error).splitlines()), repr(error))) from None  # it may say nothing
    if isinstance(backbone.get_input_embeddings(), BaseTunerLayer):
        raise _refused("target_modules: the embedding matrix is read by heads tied to it; leave it out")
    if spec.per == "task":
        backbone.requires_grad_(False)  # what is inside is where the heads' adapters begin


def _check_base_stays(config: Any) -> None:
    """Refuse options that change or train the encoder's own weights, which all tasks share."""
    for name, kept in (("bias", ("none",)), ("init_lora_weights", (True, False, "gaussian"))):
        value = getattr(config, name, kept[0])
        if value not in kept:
            choices = " or ".join(str(choice).lower() for choice in kept)
            what = f"{name}: {value} changes the encoder's own weights, which with `per: task` are all tasks'"
            raise _refused(f"{what}: give {choices}")


def _config(spec: AdapterSpec) -> Any:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils import PeftType

    kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(spec.name.upper())]
    known = {field.name for field in dataclasses.fields(kind)} - OWNED - OWNED_OF.get(spec.name, set())
    problems = [
        Problem(f"encoder.adapter.options.{name}", f"unknown option of {spec.name}{suggest(name, known)}")
        for name in spec.options
        if name not in known
    ]
    if problems:
        raise SpecError(*problems)
    try:
        return kind(**DEFAULTS.get(spec.name, {}) | spec.options | GIVEN.get(spec.name, {}))
    except (ValueError, TypeError) as error:
        raise _refused(str(error).splitlines()[0]) from None


def prefix_length(spec: AdapterSpec | None) -> int:
    """Return how many positions a prefix takes before each text, 0 without one."""
    if spec is None or spec.name != "prefix_tuning":
        return 0
    length = (DEFAULTS["prefix_tuning"] | spec.options)["num_virtual_tokens"]
    return length if isinstance(length, int) else 0


def _refused(what: str) -> SpecError:
    return SpecError(Problem("encoder.adapter", what))


def is_adapted(backbone: Any) -> bool:
    """Whether a backbone has an adapter."""
    return hasattr(backbone, "peft_config")


def is_per_task(backbone: Any) -> bool:
    """Whether a backbone's adapter is one of each head's, and nothing inside is trained."""
    return is_adapted(backbone) and not any(parameter.requires_grad for parameter in backbone.parameters())


def save_adapter(folder: Path, backbone: Any, weights: Mapping[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """Write the adapter as ``peft`` does, and return the backbone with the adapter merged into its weights.

    Args:
        folder: for ``adapter_config.json`` and ``adapter_model.safetensors``.
        backbone: an adapted one; it stays as it is, and its values are not read.
        weights: its weights, by the backbone's names.
    """
    from peft import get_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from safetensors.torch import save_file

    config = backbone.peft_config[NAME]
    with _all_ranks(config):
        config.save_pretrained(folder)
        own = get_peft_model_state_dict(backbone, dict(weights), NAME, save_embedding_layers=False)
    save_file({f"{PREFIX}{n}": v.contiguous() for n, v in own.items()}, folder / FILE)
    with torch.random.fork_rng(devices=[]), _all_ranks(config):  # first values that are replaced at once
        plain = type(backbone)(backbone.config)
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](plain, {NAME: config}, NAME)
    plain.load_state_dict(weights)
    merged: nn.Module = tuner.merge_and_unload()
    return merged, merged.state_dict()


@contextmanager
def _all_ranks(config: Any) -> Iterator[None]:
    """AdaLoRA's ranks that were taken away are zeros; without a pattern they stay, and so does the form."""
    if config.peft_type != "ADALORA":
        yield
        return
    pattern, config.rank_pattern = config.rank_pattern, None
    try:
        yield
    finally:
        config.rank_pattern = pattern


def load_adapter(folder: Path, backbone: Any) -> None:
    """Load what :func:`save_adapter` wrote into an adapted backbone, in place.

    Raises:
        RunError: the folder has no such adapter.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    file = folder / FILE
    if not file.exists():
        raise RunError(Problem(str(file), "missing: this model was trained without encoder.adapter"))
    given = {name.removeprefix(PREFIX): value for name, value in load_file(file).items()}
    own = {name for name, p in backbone.named_parameters() if f".{NAME}" in name and p.requires_grad}
    found: Any = set_peft_model_state_dict(backbone, given, NAME)
    if found.unexpected_keys or own & set(found.missing_keys):
        raise RunError(Problem(str(file), "is an adapter of another form than encoder.adapter says"))
