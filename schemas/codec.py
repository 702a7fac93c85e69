"""Batches of Kafka records to arrays and back.

The fast path decodes each value once, straight into a Struct of floats derived from the stream's message, and checks
ranges, quantiles and whole numbers on the whole batch's array. A record that fails anything is looked at again, alone
and slowly (``schemas.diagnosis``), and that second look alone decides: it gives the stable code, or the row after all.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TypeVar, cast

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from schemas.diagnosis import Shape, check_fields, check_id, check_key, nests_too_deep, read_object
from schemas.errors import UNREADABLE, ErrorCode, RecordError, Rejection
from schemas.fields import NUMERIC, Field, Kind, fields_of, quantiles_of
from schemas.outputs import Anomaly
from schemas.streams import Stream
from schemas.wire import Wire

MAX_RECORD_BYTES = 65_536
"""Longest value that the codec accepts unless told otherwise; a consensus record has about 360 bytes."""
_MAX_NAMES = 262_144
_HEADER = 2  # v and ts_ms come before the features in a batch's cells

T = TypeVar("T", bound=Struct)


@dataclass(frozen=True, slots=True)
class Decoded:
    """The usable records of one batch, in the batch's order, and what was wrong with the others.

    Attributes:
        index: int64 (n,), position of each record in the batch, increasing.
        keys: n ids (a link's: ``node_id>peer_id``); the records of one id mostly share one object.
        ts_ms: int64 (n,), event time, Unix epoch in milliseconds.
        rows: float32 (n, F), the stream's features in order; texts as their codes. Finite.
        clusters: n cluster names, ``None`` where the record has none.
        regions: n region names, ``None`` where the record has none.
        rejections: one for each other record, by increasing index.
    """

    index: NDArray[np.int64]
    keys: list[str]
    ts_ms: NDArray[np.int64]
    rows: NDArray[np.float32]
    clusters: list[str | None]
    regions: list[str | None]
    rejections: list[Rejection]

    def __len__(self) -> int:
        return len(self.keys)


class RecordCodec:
    """Decodes batches of one stream. Keeps no state but a bounded cache of ids; use one a thread.

    Args:
        stream: what the records are.
        max_bytes: longest value; a longer one is rejected as too-large without being parsed.
    """

    def __init__(self, stream: Stream, *, max_bytes: int = MAX_RECORD_BYTES) -> None:
        if max_bytes <= 0:
            raise ValueError(f"max_bytes is {max_bytes}: give the longest record in bytes, above 0")
        self.stream = stream
        self.max_bytes = max_bytes
        fields = fields_of(stream.record)
        self._shape = Shape(fields, quantiles_of(fields), is_joined=len(stream.key_fields) > 1)
        self._fields = _order_cells(fields, stream.features)
        self._wire = Wire(fields, self._fields, stream.key_fields)
        self._names = _Names(joined=self._shape.is_joined)
        self._limits = _Limits(self._fields, self._shape.quantiles)

    def decode(self, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> Decoded:
        """Decode one batch. Never raises for what a record holds.

        Args:
            keys: the records' Kafka keys.
            values: the records' values, one a key.

        Returns:
            Each position of the batch exactly once: as a row or as a rejection.

        Raises:
            ValueError: the number of keys is not the number of values.
        """
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys and {len(values)} values: give one key a value")
        names = list(map(self._names.__getitem__, keys))
        records, unread = self._read(values)
        cells = self._wire.cells(records)
        doubtful = self._limits.broken(cells)
        doubtful[unread] = True
        ids = self._wire.ids(records)
        if ids != names:
            doubtful |= np.fromiter((id_ != name for id_, name in zip(ids, names, strict=True)), np.bool_, len(ids))
        rejections: list[Rejection] = []
        if doubtful.any():
            cells = cells.copy()
            for index in np.flatnonzero(doubtful).tolist():
                try:
                    names[index], records[index] = self._look_again(keys[index], values[index])
                except RecordError as error:
                    rejections.append(Rejection(index, error.code, error.text))
                else:
                    cells[index] = self._wire.cells([records[index]])[0]
                    doubtful[index] = False
        return self._assemble(names, records, cells, ~doubtful, rejections)

    def _read(self, values: Sequence[bytes | None]) -> tuple[list[Struct], list[int]]:
        """Parse each value; where one fails, a stand-in takes its place and its position is returned."""
        records: list[Struct] = []
        unread: list[int] = []
        pending = map(self._wire.decode, self._screen(values))
        while len(records) < len(values):
            try:
                records.extend(pending)
            except UNREADABLE:
                # extend keeps what came before the failure, and the iterator goes on behind it.
                unread.append(len(records))
                records.append(self._wire.blank)
        return records, unread

    def _screen(self, values: Sequence[bytes | None]) -> Iterable[bytes]:
        """Keep from the parser what it must not see: replaced by nothing, which fails and is looked at again."""
        if None not in values:
            present = cast("Sequence[bytes]", values)
            if max(map(len, present), default=0) <= self.max_bytes and max(map(_inner_brace, present), default=-1) < 0:
                joined = b"".join(present)
                if b"[" not in joined and joined.isascii():
                    return present
        return [value if value is not None and self._is_safe(value) else b"" for value in values]

    def _is_safe(self, value: bytes) -> bool:
        if len(value) > self.max_bytes or nests_too_deep(value):
            return False
        try:
            return value.isascii() or bool(value.decode())
        except UnicodeDecodeError:
            return False

    def _look_again(self, key: bytes | None, value: bytes | None) -> tuple[str, Struct]:
        record = read_object(value, self.max_bytes)
        check_fields(record, self._shape)
        return check_key(key, record, self.stream.key_fields), self._wire.build(record)

    def _assemble(
        self,
        names: list[str | None],
        records: list[Struct],
        cells: NDArray[np.float64],
        kept: NDArray[np.bool_],
        rejections: list[Rejection],
    ) -> Decoded:
        index = np.flatnonzero(kept)
        if len(index) < len(records):
            positions = index.tolist()
            names = [names[position] for position in positions]
            records = [records[position] for position in positions]
            cells = cells[index]
        return Decoded(
            index=index,
            keys=cast("list[str]", names),
            ts_ms=cells[:, 1].astype(np.int64),
            rows=cells[:, _HEADER : _HEADER + len(self.stream.features)].astype(np.float32),
            clusters=self._wire.clusters(records),
            regions=self._wire.regions(records),
            rejections=rejections,
        )


class _Names(dict[bytes | None, str | None]):
    """Kafka keys to ids, ``None`` for a key that is no valid id. One object an id, so that later look-ups are cheap."""

    def __init__(self, *, joined: bool) -> None:
        super().__init__()
        self._joined = joined

    def __missing__(self, key: bytes | None) -> str | None:
        try:
            name = (key or b"").decode()
            parts = name.split(">", 1) if self._joined else [name]
            for part in parts:
                check_id("key", part, joined=self._joined)
        except (UnicodeDecodeError, RecordError):
            return None
        if len(self) >= _MAX_NAMES:
            self.clear()
        self[key] = name
        return name


class _Limits:
    """The checks of numbers, on all cells of a batch at once."""

    def __init__(self, fields: Sequence[Field], quantiles: Sequence[str]) -> None:
        self._low = np.array([field.low for field in fields])
        self._high = np.array([field.high for field in fields])
        self._whole = np.array([place for place, field in enumerate(fields) if field.kind is Kind.COUNT])
        places = [[field.name for field in fields].index(name) for name in quantiles]
        self._ordered = list(pairwise(places))

    def broken(self, cells: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Mark the rows with a cell out of range, a broken count or falling quantiles; NaN (no value) passes."""
        whole = cells[:, self._whole]
        broken: NDArray[np.bool_] = np.any((cells < self._low) | (cells > self._high), axis=1)
        broken |= np.any(whole > np.floor(whole), axis=1)
        for lower, upper in self._ordered:
            broken |= cells[:, lower] > cells[:, upper]
        return broken


def _inner_brace(value: bytes) -> int:
    return value.rfind(b"{", 1)


def _order_cells(fields: Sequence[Field], features: Sequence[str]) -> list[Field]:
    """Order the numbers of a record as the cells of a batch: v, ts_ms, the features, and what else is a number."""
    numeric = {field.name: field for field in fields if field.kind in NUMERIC}
    first = ["v", "ts_ms", *features]
    return [numeric[name] for name in chain(first, (name for name in numeric if name not in first))]


_ENCODER = msgspec.json.Encoder()


def encode(record: Struct) -> bytes:
    """Encode any message as one JSON object, fields in the contract's order."""
    return _ENCODER.encode(record)


def decode_record(record: type[T], value: bytes | None, *, max_bytes: int = MAX_RECORD_BYTES) -> T:
    """Decode one value as a message of the given type; for single records, batches have ``RecordCodec``.

    Raises:
        RecordError: the value is no valid message; the code says why.
    """
    parsed = read_object(value, max_bytes)
    fields = fields_of(record)
    check_fields(parsed, Shape(fields, quantiles_of(fields), any(field.name == "peer_id" for field in fields)))
    for field in fields:
        count = parsed.get(field.name)
        if field.kind is Kind.COUNT and isinstance(count, float):
            parsed[field.name] = int(count)  # 3.0 is a count on the wire
    try:
        return msgspec.convert(parsed, record)
    except msgspec.ValidationError as error:
        raise RecordError(
            ErrorCode.WRONG_TYPE, f"{error}: send what the JSON Schema of {record.__name__} says"
        ) from error


def decode_anomaly(value: bytes | None) -> Anomaly:
    """Decode one Anomaly. Raises ``RecordError``."""
    return decode_record(Anomaly, value)
