"""Rows of the changelog table: what is remembered of each scope, and the anomalies of it that wait for their time."""

from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from detectors.alerts.state import Scope
from schemas.errors import UNREADABLE
from schemas.outputs import Alert

__all__ = ["Decided", "Progress", "Row", "Waiting", "decode_row", "encode_row", "progress_key", "row_key"]

ROW_VERSION: Final = 2


class Decided(Struct, frozen=True, tag_field="row", tag="decided"):
    """One scope as of one offset and one event time. Key: ``[NAME]``.

    Attributes:
        name: of the scope.
        partition: of the anomalies; where the row lives.
        offset: of the newest anomaly of the partition that had been taken in.
        decided_ms, decided_offset: event time up to which all is decided that had been taken in to this offset.
        scope: what was decided; ``None`` when nothing is to be remembered, and the row is about to be deleted.
        unsent: changes that are decided and may not have been published. A row is written before they are, and again
            afterwards without them: whoever finds some publishes them, and the bytes are the same.
        v: version of the layout.
    """

    name: str
    partition: int
    offset: int
    decided_ms: int
    decided_offset: int
    scope: Scope | None
    unsent: tuple[Alert, ...] = ()
    v: int = ROW_VERSION


class Waiting(Struct, frozen=True, tag_field="row", tag="waiting"):
    """Anomalies of a scope that were taken in together. Key: ``[NAME, OFFSET]``; deleted when all are decided.

    Attributes:
        name: of the scope.
        partition: of the anomalies.
        offset: of the newest of them.
        anomalies: as they were published. Those that are not newer than the scope's event time were decided.
        v: version of the layout.
    """

    name: str
    partition: int
    offset: int
    anomalies: tuple[msgspec.Raw, ...]
    v: int = ROW_VERSION


class Progress(Struct, frozen=True, tag_field="row", tag="progress"):
    """How far a partition of the anomalies is in the rows: written after them. Key: ``[PARTITION]``.

    Attributes:
        partition: of the anomalies.
        offset: all up to it, and nothing after it, is in the rows.
        v: version of the layout.
    """

    partition: int
    offset: int
    v: int = ROW_VERSION


Row: TypeAlias = Decided | Waiting | Progress

_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Row)


def row_key(scope: str, offset: int | None = None) -> bytes:
    """Key of a scope's row, or of the anomalies that wait since an offset: a JSON array, as no name can forge."""
    return _ENCODER.encode([scope] if offset is None else [scope, offset])


def progress_key(partition: int) -> bytes:
    """Key of a partition's progress."""
    return _ENCODER.encode([partition])


def encode_row(row: Row) -> bytes:
    """Encode a row as JSON."""
    return _ENCODER.encode(row)


def decode_row(value: bytes) -> Row:
    """Decode a row.

    Raises:
        ValueError: it is none, or of another version.
    """
    try:
        row: Row = _DECODER.decode(value)
    except UNREADABLE as error:
        raise ValueError(f"no row of the alerts' state: {error}") from error
    if row.v != ROW_VERSION:
        raise ValueError(f"a row of version {row.v}, this build reads {ROW_VERSION}")
    return row
