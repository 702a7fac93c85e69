"""What settings are made of: how texts of the environment become lists, tables and names."""

import json
import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode

__all__ = ["Codes", "Names", "Property", "Section", "TopicName", "as_mapping"]

TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


def as_list(value: object) -> object:
    """Let an environment variable hold a list: ``a,b`` or ``["a", "b"]``."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def as_mapping(value: object) -> object:
    """Let an environment variable hold a table, as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return json.loads(value)
    return value


def as_property(value: object) -> object:
    """Write a property as librdkafka does: ``true``, ``30000``, text."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _topic_name(value: str) -> str:
    if not TOPIC_NAME.fullmatch(value) or value in {".", ".."}:
        raise ValueError("a topic's name is 1 to 249 letters, digits, '.', '_' or '-'")
    return value


# NoDecode: an environment variable may hold a plain list too, so decoding is the validators' work.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(as_list)]
Codes = Annotated[dict[str, Annotated[tuple[str, ...], BeforeValidator(as_list)]], BeforeValidator(as_mapping)]
Property = Annotated[str, BeforeValidator(as_property)]
TopicName = Annotated[str, BeforeValidator(_topic_name)]


class Section(BaseModel):
    """One part of the settings; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
