"""What every section of the settings is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode

__all__ = ["Names", "Section"]


class Section(BaseModel):
    """One level of settings; unknown names are refused, so that a typing error is not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def split_names(value: Any) -> Any:
    """Comma-separated text to a tuple."""
    return tuple(n.strip() for n in value.split(",") if n.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_names)]
"""A list that an environment variable has with commas."""
