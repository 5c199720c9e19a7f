"""The shared encoder: a ``transformers`` backbone that can also project onto its own embedding matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear

from sslm_platform.model.adalora import RankSchedule, rank_schedule
from sslm_platform.model.layers import layer_depths
from sslm_platform.model.split import Slice, Trunk, split_encoder
from sslm_platform.model.tap import shifted
from sslm_platform.model.task_adapter import TaskAdapter


class SharedEncoder(nn.Module):
    """Tokens to states, and for tied heads states to vocabulary logits.

    The projection happens inside this module so that a sharding engine, which owns the embedding matrix,
    gathers it and sums its two gradients.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.takes_segments = getattr(backbone.config, "type_vocab_size", 0) > 1

    @property
    def hidden_size(self) -> int:
        """Width of the states."""
        return int(self.backbone.config.hidden_size)

    @property
    def embedding_size(self) -> int:
        """Width of what the token embedding gives."""
        return int(self.backbone.get_input_embeddings().embedding_dim)

    def split(self) -> tuple[Trunk, Slice]:
        """Return the encoder up to its last layer, and the last layer with what follows.

        ``slice(trunk(...), transform)`` is :meth:`forward`; both share their parameters with this module.

        Raises:
            SpecError: the backbone does not end in a layer of its own.
        """
        return split_encoder(self.backbone, self.takes_segments, "backbone.")

    def layer_depths(self) -> dict[str, int]:
        """Return how many layers are above each parameter's own, by the parameter's name.

        Raises:
            SpecError: the backbone has no list of layers.
        """
        return {f"backbone.{name}": depth for name, depth in layer_depths(self.backbone).items()}

    def rank_schedule(self) -> RankSchedule | None:
        """Return what takes ranks away from the adapter while it is trained; None where nothing does."""
        return rank_schedule(self.backbone)

    def forward(
        self,
        input_ids_BL: Tensor,
        mask_BL: Tensor,
        segment_BL: Tensor | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
        shift_BLE: Tensor | None = None,
        adapter: TaskAdapter | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Return hidden_BLD and, with ``transform`` (hidden_BLD to states_ND), logits_NV.

        In the mask's place there may be a visible_B1LL: what each token sees (bool). ``shift_BLE`` is added
        to what the token embedding gives; an ``adapter`` is in the place of the encoder's own for this call.
        """
        extra = {"token_type_ids": segment_BL} if self.takes_segments and segment_BL is not None else {}
        with shifted(self.backbone, shift_BLE):
            inputs = {"input_ids": input_ids_BL, "attention_mask": mask_BL, **extra}
            output = self.backbone(**inputs) if adapter is None else adapter.call(self.backbone, inputs)
        hidden_BLD = output.last_hidden_state
        if transform is None:
            return hidden_BLD, None
        embedding_VD = self.backbone.get_input_embeddings().weight
        return hidden_BLD, linear(transform(hidden_BLD), embedding_VD)
