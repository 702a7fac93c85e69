"""Dead letters: what travels in the headers of a record that could not be used.

The value and the key are the original bytes (also null), the original headers stay, and vigil's own come behind them.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from schemas.errors import ErrorCode, RecordError

ERROR_CODE: Final = "vigil-error-code"
"""One of ``ErrorCode``."""
ERROR_TEXT: Final = "vigil-error-text"
"""One sentence that names the field, the value and the fix; at most 1,024 bytes."""
TOPIC: Final = "vigil-topic"
"""Topic that the record was read from."""
PARTITION: Final = "vigil-partition"
"""Partition, decimal."""
OFFSET: Final = "vigil-offset"
"""Offset, decimal."""
TIMESTAMP: Final = "vigil-timestamp-ms"
"""The original Kafka record's timestamp, Unix epoch in milliseconds, decimal; absent when it has none."""
VALUE_BYTES: Final = "vigil-value-bytes"
"""Length of the original value, decimal; there only when the dead letter's value had to be cut."""
VALUE_SHA256: Final = "vigil-value-sha256"
"""SHA-256 of the original value, hexadecimal; there only when the dead letter's value had to be cut."""
KEY_BYTES: Final = "vigil-key-bytes"
"""Length of the original key, decimal; there only when the dead letter's key had to be cut."""
KEY_SHA256: Final = "vigil-key-sha256"
"""SHA-256 of the original key, hexadecimal; there only when the dead letter's key had to be cut."""
HEADERS_BYTES: Final = "vigil-headers-bytes"
"""Size of the original headers, decimal; there only when they were too large to keep and were left out."""

MAX_TEXT_BYTES = 1_024

Headers = Sequence[tuple[str, bytes | None]]


class DeadLetter(Struct, frozen=True):
    """What the headers of a dead letter say.

    Attributes:
        code: why the record could not be used.
        text: the same as a sentence.
        topic, partition, offset: where it came from.
        timestamp_ms: Kafka timestamp of the original, Unix epoch in milliseconds, ``None`` when it had none.
    """

    code: ErrorCode
    text: str
    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None = None


def dead_letter_headers(
    code: ErrorCode,
    text: str,
    topic: str,
    partition: int,
    offset: int,
    *,
    timestamp_ms: int | None = None,
    original: Headers = (),
) -> list[tuple[str, bytes | None]]:
    """Make the headers of a dead letter; the same record always gives the same headers.

    Args:
        code: why the record could not be used.
        text: one sentence; cut to 1,024 bytes of UTF-8.
        topic, partition, offset: where it came from.
        timestamp_ms: Kafka timestamp of the original, Unix epoch in milliseconds.
        original: the record's own headers, which stay in front.
    """
    headers = list(original)
    headers += [
        (ERROR_CODE, code.value.encode()),
        (ERROR_TEXT, _cut(text)),
        (TOPIC, topic.encode()),
        (PARTITION, b"%d" % partition),
        (OFFSET, b"%d" % offset),
    ]
    if timestamp_ms is not None:
        headers.append((TIMESTAMP, b"%d" % timestamp_ms))
    return headers


def read_dead_letter(headers: Headers) -> DeadLetter:
    """Read the headers back; of a header that occurs twice the last one counts (a dead letter replayed and dead again).

    Raises:
        RecordError: a header is missing or not readable; the message names it.
    """
    found = {name: value for name, value in headers if value is not None}
    timestamp = found.get(TIMESTAMP)
    return DeadLetter(
        code=_code(_text(found, ERROR_CODE)),
        text=_text(found, ERROR_TEXT),
        topic=_text(found, TOPIC),
        partition=_number(found, PARTITION),
        offset=_number(found, OFFSET),
        timestamp_ms=None if timestamp is None else _number(found, TIMESTAMP),
    )


def _cut(text: str) -> bytes:
    encoded = text.encode(errors="backslashreplace")
    return encoded[:MAX_TEXT_BYTES].decode(errors="ignore").encode()


def _code(text: str) -> ErrorCode:
    try:
        return ErrorCode(text)
    except ValueError as error:
        raise RecordError(
            ErrorCode.UNKNOWN_VALUE, f"header {ERROR_CODE} is {text!r}: read it with the version of vigil that wrote it"
        ) from error


def _text(found: dict[str, bytes], name: str) -> str:
    if name not in found:
        raise RecordError(ErrorCode.MISSING_FIELD, f"header {name} is not there: read records of the dead-letter topic")
    return found[name].decode(errors="replace")


def _number(found: dict[str, bytes], name: str) -> int:
    text = _text(found, name)
    if not text.isascii() or not text.isdigit():
        raise RecordError(ErrorCode.WRONG_TYPE, f"header {name} is {text[:60]!r}: it holds a decimal number")
    return int(text)
