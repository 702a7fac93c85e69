"""The kinds of values that messages carry, each with its range, so that a field's type says its unit."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

MAX_MAGNITUDE = 10**15
"""Largest magnitude of any number: its square still fits a 32-bit float's sum of squares over a window."""
MAX_TEXT = 255
"""Longest id or name in characters; bounds keys in Redis and labels in Prometheus."""
END_OF_TIME_MS = 4_102_444_800_000
"""2100-01-01T00:00:00Z; a later time is a clock or unit mistake (micro- or nanoseconds)."""
CODES_KEYWORD = "x-codes"
"""JSON Schema keyword that maps each text of a field to the number that stands for it in model inputs."""
ID_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]+$"
"""What an id looks like: no control characters."""
VERSION = 1
"""The schema version that this code reads and writes."""

Version: TypeAlias = Annotated[Literal[1], Meta(description="schema version, now 1")]
TimeMs: TypeAlias = Annotated[
    int, Meta(gt=0, lt=END_OF_TIME_MS, description="Unix epoch, milliseconds", examples=[1795423734049])
]
Identifier: TypeAlias = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_TEXT,
        pattern=ID_PATTERN,
        description="1 to 255 characters, no control characters",
    ),
]
Name: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT, description="at most 255 characters")]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_MAGNITUDE, description="count; 3.0 is read as 3")]
PositiveCount: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_MAGNITUDE, description="count, from 1")]
Rate: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0, description="share, 0 to 1")]
Percent: TypeAlias = Annotated[float, Meta(ge=0.0, le=100.0, description="percent, 0 to 100")]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0.0, le=float(MAX_MAGNITUDE), description="milliseconds")]
Amount: TypeAlias = Annotated[float, Meta(ge=0.0, le=float(MAX_MAGNITUDE), description="amount, not negative")]


def coded(**codes: int) -> Meta:
    """Annotate a ``Literal`` of texts with the number that stands for each in model inputs."""
    listed = ", ".join(f"{text} {number}" for text, number in codes.items())
    return Meta(description=listed, extra_json_schema={CODES_KEYWORD: codes})
