"""What all sections of a spec have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """Base of all sections: frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Component(Section):
    """A plugin's definition by name, with its options."""

    name: str = Field(description="Name of the definition; `sslm plugins` lists what there is.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options of the definition.")
