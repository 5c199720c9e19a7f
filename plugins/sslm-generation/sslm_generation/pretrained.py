"""The decoder of a pretrained encoder-decoder (T5, BART, …) as a head over the shared encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM
from transformers.modeling_outputs import BaseModelOutput

from sslm_generation.options import PretrainedDecoderOptions
from sslm_generation.search import decode, written
from sslm_platform.api import HeadContext, Problem, SpecError, Targets, TextTokenizer

LONGEST = 1 << 20


class Reading(NamedTuple):
    """What the decoder reads: states and mask, tokens, where the wanted ones are predicted, a cache."""

    memory_BLD: Tensor
    mask_BL: Tensor
    ids_BT: Tensor
    example_N: Tensor
    position_N: Tensor
    cache: Any = None


class PretrainedDecoder(nn.Module):
    """Logits (N, V) of target tokens, and texts, as ``transformers`` computes them.

    It has all of the pretrained model but its encoder: embeddings, decoder, output. What a text starts from
    is the model's: the token before all texts, and, of some, a second one that is always the first (BART's
    ``<s>``, mBART's language).

    Attributes:
        facts: the configuration, and the tokens that a text starts from.

    Raises:
        SpecError: on construction: no such model, or one of another width or vocabulary.
    """

    def __init__(self, options: PretrainedDecoderOptions, context: HeadContext) -> None:
        super().__init__()
        assert context.tokenizer is not None
        self.tokenizer, self.options = context.tokenizer, options
        self.model = _from_config(context.facts["config"]) if context.facts else _pretrained(options.path)
        config = self.model.config
        start = context.facts.get("start") or _start_of(self.model)
        self.facts = {"config": config.to_dict(), "start": start}
        self.start: list[int] = start
        self.longest: int = getattr(config, "max_position_embeddings", None) or LONGEST  # T5: no limit
        if options.dropout is not None:
            _set_dropout(self.model, options.dropout)
        _without_encoder(self.model)
        if config.hidden_size != context.hidden_size:
            what = f"its decoder reads states of width {config.hidden_size}, the encoder's have"
            raise SpecError(Problem("head.options.path", f"{what} {context.hidden_size}"))
        if self.tokenizer.size > config.vocab_size:
            what = f"it writes {config.vocab_size} tokens, and the tokenizer has {self.tokenizer.size}"
            raise SpecError(
                Problem("head.options.path", f"{what}: take the model's own encoder and tokenizer")
            )
        self._twins = _twins(self.model)
        self.register_state_dict_post_hook(_leave_out_twins)
        self.register_load_state_dict_pre_hook(_add_twins)

    def features(self, hidden_BLD: Tensor, mask_BL: Tensor, targets: Targets) -> Reading:
        """Put the targets behind what a text starts from."""
        example_N, position_N = targets["example"], targets["position"]
        first = len(self.start)
        length = first + (int(position_N.max()) if len(position_N) else 0)
        if length > self.longest:
            what = (
                f"a target of {length} tokens, and {type(self.model).__name__} writes {self.longest} at most"
            )
            raise SpecError(Problem("objective.options.max_target_length", what))
        ids_BT = torch.full((len(hidden_BLD), length + 1), self.tokenizer.pad_id, device=hidden_BLD.device)
        ids_BT[:, :first] = torch.tensor(self.start, device=hidden_BLD.device)
        ids_BT[example_N, position_N + first] = targets["labels"]
        return Reading(hidden_BLD, mask_BL, ids_BT[:, :length], example_N, position_N + first - 1)

    def forward(self, features: Reading) -> Tensor:
        """Return the logits of the wanted tokens, (N, V)."""
        memory_BLD, mask_BL, ids_BT, example_N, position_N, cache = features
        output = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory_BLD),
            attention_mask=mask_BL.long(),
            decoder_input_ids=ids_BT,
            past_key_values=cache.content if cache is not None else None,
            use_cache=cache is not None,
        )
        if cache is not None:
            cache.content = output.past_key_values
        return output.logits[example_N, position_N]

    def generate(
        self,
        hidden_BLD: Tensor,
        mask_BL: Tensor,
        generators: Sequence[np.random.Generator],
        goes_on: Callable[[bool], bool],
    ) -> list[str] | list[list[str]]:
        """Return a text for each example (see :class:`~sslm_generation.options.DecodingOptions`)."""
        longest = self.longest - len(self.start) + 1
        options = self.options.decoding
        options = options.model_copy(update={"max_length": min(options.max_length, longest)})
        beams = options.beams
        memory_RLD, mask_RL = hidden_BLD.repeat_interleave(beams, 0), mask_BL.repeat_interleave(beams, 0)
        rows = _Rows(self, memory_RLD, mask_RL)
        tokens = _Started(self.tokenizer, self.start[0])
        found = decode(rows, tokens, options, generators, goes_on)
        return written(self.tokenizer, found, options.n_best)


@dataclass(slots=True)
class _Started:
    """A tokenizer whose texts start from another token."""

    tokenizer: TextTokenizer
    start_id: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


@dataclass(slots=True)
class _Cache:
    content: Any = None


class _Rows:
    """Hypotheses that grow by one token at a time."""

    def __init__(self, decoder: PretrainedDecoder, memory_RLD: Tensor, mask_RL: Tensor) -> None:
        self.device = memory_RLD.device
        self._decoder, self._memory_RLD, self._mask_RL = decoder, memory_RLD, mask_RL
        self._row_R = torch.arange(len(memory_RLD), device=self.device)
        self._first_RT = torch.tensor(decoder.start, device=self.device).expand(len(memory_RLD), -1)
        self._cache = _Cache()

    def following(self, ids_R: Tensor) -> Tensor:
        """Append a token to each row, at first all that a text starts from; return the next's logits."""
        ids_RT = self._first_RT if self._cache.content is None else ids_R.unsqueeze(1)
        last_R = torch.full_like(self._row_R, ids_RT.shape[1] - 1)
        read = (self._memory_RLD, self._mask_RL, ids_RT, self._row_R, last_R, self._cache)
        return self._decoder(Reading(*read))

    def reorder(self, rows_R: Tensor) -> None:
        """Put another row of the same example in each row's place."""
        self._cache.content.reorder_cache(rows_R)


def _pretrained(path: str) -> Any:
    try:
        return AutoModelForSeq2SeqLM.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        what = f"{path}: not a folder or reachable hub name with an encoder-decoder ({first})"
        raise SpecError(Problem("head.options.path", what)) from None


def _from_config(content: dict[str, Any]) -> Any:
    options = dict(content)
    return AutoModelForSeq2SeqLM.from_config(
        AutoConfig.for_model(options.pop("model_type"), **options), dtype=torch.float32
    )


def _start_of(model: Any) -> list[int]:
    generation = model.generation_config
    start = generation.decoder_start_token_id
    start = model.config.decoder_start_token_id if start is None else start
    forced = generation.forced_bos_token_id
    return [token for token in (start, forced) if token is not None]


def _without_encoder(model: Any) -> None:
    encoder = model.get_encoder()
    for module in model.modules():
        for name, child in list(module.named_children()):
            if child is encoder:
                setattr(module, name, nn.Identity())


def _set_dropout(model: Any, rate: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        for name in ("dropout", "activation_dropout", "attention_dropout", "layerdrop"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, rate)


def _twins(model: nn.Module) -> dict[str, str]:
    """Return the names of tied parameters that are another's too, with that name."""
    first: dict[int, str] = {}
    twins = {}
    for name, parameter in model.named_parameters(prefix="model", remove_duplicate=False):
        other = first.setdefault(id(parameter), name)
        if other != name:
            twins[name] = other
    return twins


def _leave_out_twins(head: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in head._twins:
        state.pop(f"{prefix}{name}", None)


def _add_twins(head: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, other in head._twins.items():
        state[f"{prefix}{name}"] = state[f"{prefix}{other}"]
