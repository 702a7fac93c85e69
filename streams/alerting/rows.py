"""A row of the changelog table: all that is remembered of one scope, and what of it has not been published yet."""

from typing import Final

import msgspec
from msgspec import Struct

from detectors.alerts.state import Saved
from schemas.outputs import Alert

__all__ = ["Row", "decode_row", "encode_row", "row_key"]

ROW_VERSION: Final = 1


class Row(Struct, frozen=True):
    """One scope as of one offset.

    Attributes:
        partition: of the anomalies; where the row lives.
        offset: newest anomaly of the partition that is in it, or older than what is.
        saved: the scope and its waiting anomalies.
        unsent: changes that are decided and may not have been published. A row is written before they are, and again
            afterwards without them: whoever finds some publishes them, and the bytes are the same.
        v: version of the layout.
    """

    partition: int
    offset: int
    saved: Saved
    unsent: tuple[Alert, ...] = ()
    v: int = ROW_VERSION


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Row)


def row_key(scope: str) -> bytes:
    """Key of a scope's row."""
    return scope.encode()


def encode_row(row: Row) -> bytes:
    """Encode a row as JSON."""
    return _ENCODER.encode(row)


def decode_row(value: bytes) -> Row:
    """Decode a row.

    Raises:
        ValueError: it is none, or of another version; the message names neither its scope nor its offset.
    """
    try:
        row = _DECODER.decode(value)
    except msgspec.MsgspecError as error:
        raise ValueError(f"no row of the alerts' state: {error}") from error
    if row.v != ROW_VERSION:
        raise ValueError(f"a row of version {row.v}, this build reads {ROW_VERSION}")
    return row
