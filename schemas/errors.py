"""Why a record could not be used: stable codes, and the exception that carries one."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding bytes of somebody else's raises: the last one for JSON that nests too deep."""


class ErrorCode(StrEnum):
    """What is wrong with a record. The values are part of the wire contract (docs/wire-format.md): never renamed."""

    TOMBSTONE = "tombstone"
    """The value is null; metrics topics are not compacted, so there is nothing to delete."""
    EMPTY = "empty"
    """The value has no bytes, or white space alone."""
    TOO_LARGE = "too-large"
    """The value has more bytes than the codec accepts (64 KiB unless set)."""
    INVALID_UTF8 = "invalid-utf8"
    """The value or the key is not UTF-8, or a string holds half of a surrogate pair."""
    TOO_DEEP = "too-deep"
    """Objects and arrays nest deeper than 32 levels."""
    NOT_JSON = "not-json"
    """The value is not one JSON document."""
    NOT_OBJECT = "not-object"
    """The value is JSON, but an array, a string, a number, a boolean or null."""
    UNKNOWN_VERSION = "unknown-version"
    """``v`` is a whole number that this version of vigil does not know."""
    MISSING_FIELD = "missing-field"
    """A required field is not there."""
    WRONG_TYPE = "wrong-type"
    """A field has another JSON type than the contract's: text or a boolean for a number, 3.5 for a count, null."""
    NOT_FINITE = "not-finite"
    """A number is NaN, infinite, or too large for a 64-bit float."""
    OUT_OF_RANGE = "out-of-range"
    """A value is of the right type and impossible: a negative count, a rate above 1, a time before 1970."""
    UNKNOWN_VALUE = "unknown-value"
    """A text is none of the codes that the contract lists for its field."""
    INVALID_ID = "invalid-id"
    """An id is empty, has over 255 characters, or holds control characters (in a link's key also ``>``)."""
    UNORDERED_QUANTILES = "unordered-quantiles"
    """A lower quantile is larger than a higher one."""
    MISSING_KEY = "missing-key"
    """The Kafka key is null or empty."""
    KEY_MISMATCH = "key-mismatch"
    """The Kafka key is not the id in the body."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record of a batch that could not be used.

    Attributes:
        index: position in the batch that was decoded.
        code: stable code.
        text: one sentence naming the field, the value (shortened) and the fix.
    """

    index: int
    code: ErrorCode
    text: str


class RecordError(ValueError):
    """A single record could not be decoded; ``code`` says why and the message names field, value and fix."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
