"""Unusable records on their way out: original bytes, key and headers, and behind them what was wrong."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from schemas.dead_letters import dead_letter_headers
from schemas.errors import ErrorCode
from streams.publisher import OutputRecord

__all__ = [
    "ENVELOPE_BYTES",
    "HEADERS_BYTES",
    "KEY_BYTES",
    "KEY_SHA256",
    "VALUE_BYTES",
    "VALUE_SHA256",
    "DeadLetter",
    "Headers",
    "dead_letter_record",
]

VALUE_BYTES: Final = "vigil-value-bytes"
"""Present when the value was cut: its true size, decimal."""
VALUE_SHA256: Final = "vigil-value-sha256"
"""Present when the value was cut: SHA-256 of the whole, hexadecimal."""
KEY_BYTES: Final = "vigil-key-bytes"
"""Present when the key was cut: its true size, decimal."""
KEY_SHA256: Final = "vigil-key-sha256"
"""Present when the key was cut: SHA-256 of the whole, hexadecimal."""
HEADERS_BYTES: Final = "vigil-headers-bytes"
"""Present when the original headers were left out for their size: how many bytes they had, decimal."""

MAX_HEADERS_BYTES = 8_192
ENVELOPE_BYTES = 2 * MAX_HEADERS_BYTES
"""Room for headers and Kafka's own framing beside key and value."""

Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be used.

    Attributes:
        topic, partition, offset: where it is.
        key, value: as stored.
        code: stable code of what is wrong.
        text: one sentence naming the field, the value and the fix.
        headers: as stored.
        timestamp_ms: Kafka's timestamp of the record, ``None`` when it has none.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    code: ErrorCode
    text: str
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int | None = None


def dead_letter_record(letter: DeadLetter, topic: str, *, max_bytes: int) -> OutputRecord:
    """Make the record to publish; the same letter and bound always give the same record.

    Args:
        letter: what could not be used.
        topic: the dead-letter topic.
        max_bytes: where key and value are longer together, the value is cut to fit (the key only where it takes more
            than half); headers then give true sizes and SHA-256, and the source offset still leads to the whole.
    """
    original, notes = _bounded_headers(letter.headers)
    key = _cut(letter.key, max_bytes // 2, KEY_BYTES, KEY_SHA256, notes) if _size(letter) > max_bytes else letter.key
    value = _cut(letter.value, max_bytes - len(key or b""), VALUE_BYTES, VALUE_SHA256, notes)
    headers = dead_letter_headers(
        letter.code,
        letter.text,
        letter.topic,
        letter.partition,
        letter.offset,
        timestamp_ms=letter.timestamp_ms,
        original=original,
    )
    return OutputRecord(topic, key, value, [*headers, *notes])


def _size(letter: DeadLetter) -> int:
    return len(letter.key or b"") + len(letter.value or b"")


def _cut(data: bytes | None, most: int, size_header: str, hash_header: str, notes: Headers) -> bytes | None:
    if data is None or len(data) <= most:
        return data
    notes.append((size_header, b"%d" % len(data)))
    notes.append((hash_header, sha256(data).hexdigest().encode()))
    return data[:most]


def _bounded_headers(headers: tuple[tuple[str, bytes | None], ...]) -> tuple[Headers, Headers]:
    """Return the original headers and notes about them; too many are left out, or they alone could fill a record."""
    size = sum(len(name.encode(errors="replace")) + len(value or b"") + 8 for name, value in headers)
    if size > MAX_HEADERS_BYTES:
        return [], [(HEADERS_BYTES, b"%d" % size)]
    return list(headers), []
