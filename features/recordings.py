"""Recordings: telemetry in files, as records for Kafka or as columns for training.

``.jsonl`` and ``.jsonl.gz`` hold one JSON object a line, ``.parquet`` one record a row. Every record has ``ts_ms`` and
``node_id`` (a link's also ``peer_id``); labels may stand beside the measurements in ``LABEL_FIELDS``.
"""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BufferedIOBase
from math import isfinite, isnan
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.quantities import VERSION
from schemas.streams import HEADER_FIELDS, Stream

LABEL_FIELDS = ("split", "label", "fault", "intensity")
"""What a recording may say beside the measurements; a node does not know it, so it is not published."""
MAX_LINE_BYTES = 16 * 1024 * 1024
"""Longest line, decompressed; bounds what a damaged or hostile file can make a reader hold."""

_NOT_MEASURED = frozenset({*HEADER_FIELDS, *LABEL_FIELDS, "peer_id"})
_ROWS_AT_ONCE = 10_000
_NUMBER_TYPES = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float", "double"})

Row: TypeAlias = dict[str, Any]
Texts: TypeAlias = NDArray[np.str_]
Column: TypeAlias = list[Any] | NDArray[Any]


class RecordingError(ValueError):
    """A recording cannot be read; the message names the file, the place in it, and the fix."""


@dataclass(frozen=True, slots=True)
class Columns:
    """A recording as arrays, n rows in the file's order.

    Attributes:
        fields: names of the F value columns.
        node_ids: text (n,), node ids or link keys.
        ts_ms: int64 (n,), event time, Unix epoch in milliseconds.
        values: float64 (n, F); NaN where a row has no value.
        split: text (n,), such as "train" and "test"; ``None`` when the file has none.
        label: int8 (n,): 1 anomalous, 0 normal, -1 not to be counted; ``None`` when the file has none.
        clusters: text (n,), "" where a row has none.
    """

    fields: tuple[str, ...]
    node_ids: Texts
    ts_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    split: Texts | None
    label: NDArray[np.int8] | None
    clusters: Texts

    def __len__(self) -> int:
        return len(self.ts_ms)


def read_recording(path: Path, *, labels: bool = False) -> Iterator[tuple[bytes, bytes, int]]:
    """Read a recording as Kafka records: key, value and event time (ms) of each, as the nodes would send them.

    JSON lines come in the file's order and as the same bytes where nothing has to be dropped or added; Parquet has no
    order of arrival and comes by event time. ``v`` is added where it is missing.

    Args:
        path: ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.
        labels: whether to leave ``LABEL_FIELDS`` in the values.

    Raises:
        RecordingError: the file is missing or damaged, a record has no ``ts_ms`` or ``node_id``, or reading Parquet
            needs a package that is not installed.
    """
    dropped = () if labels else LABEL_FIELDS
    if path.suffix == ".parquet":
        for place, row in enumerate(_rows(_read_table(path)), start=1):
            key, ts_ms = _identify(row, f"{path}, row {place} by time")
            yield key, _encode(row, dropped), ts_ms
        return
    for place, line, row in _lines(path):
        key, ts_ms = _identify(row, f"{path}, line {place}")
        same = "v" in row and not any(name in row for name in dropped)
        yield key, line if same else _encode(row, dropped), ts_ms


def read_columns(path: Path, fields: Sequence[str] | None = None, *, stream: Stream | None = None) -> Columns:
    """Read a recording as columns, for training and evaluation.

    Args:
        path: ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.
        fields: the value columns, in order; default: the stream's features, or without a stream every column of numbers
            that is neither header nor label.
        stream: what the records are; texts become its codes.

    Raises:
        RecordingError: as ``read_recording``; a field is in no row, or holds a text that is no code of the stream.
    """
    columns = _read_columns(path)
    size = len(next(iter(columns.values()), ()))
    if size == 0:
        raise RecordingError(f"{path} has no rows: give a recording with at least one record")
    for name in ("ts_ms", "node_id"):
        if name not in columns or _has_gaps(columns[name]):
            raise RecordingError(f"{path}: {name} is missing in some or all rows: every record needs it")
    if fields is None:
        fields = stream.features if stream else [name for name in columns if _is_measured(name, columns[name])]
    codes = stream.codes if stream else {}
    missing = [name for name in fields if name not in columns]
    if missing or not fields:
        raise RecordingError(f"{path} has no field {', '.join(missing) or 'of numbers'}: it has {', '.join(columns)}")
    return Columns(
        fields=tuple(fields),
        node_ids=_node_ids(columns),
        ts_ms=_numbers(path, "ts_ms", columns["ts_ms"], None).astype(np.int64),
        values=np.column_stack([_numbers(path, name, columns[name], codes.get(name)) for name in fields]),
        split=_texts(columns["split"]) if "split" in columns else None,
        label=_labels(columns["label"]) if "label" in columns else None,
        clusters=_texts(columns.get("cluster", [""] * size)),
    )


def infer_step_ms(ts_ms: NDArray[np.int64], keys: Sequence[str] | Texts) -> int:
    """Infer the time between two steps of one node: the median difference, milliseconds; 0 when no node has two.

    Args:
        ts_ms: int64 (n,), event times in any order.
        keys: n node ids or link keys.
    """
    if len(ts_ms) == 0:
        return 0
    nodes = np.unique(np.asarray(keys), return_inverse=True)[1]
    order = np.lexsort((ts_ms, nodes))
    steps = np.diff(ts_ms[order])[np.diff(nodes[order]) == 0]
    steps = steps[steps > 0]
    return int(np.rint(np.median(steps))) if len(steps) else 0


def _identify(row: Row, place: str) -> tuple[bytes, int]:
    ts_ms, node_id = row.get("ts_ms"), row.get("node_id")
    if not isinstance(node_id, str) or not node_id:
        raise RecordingError(f"{place}: node_id is {node_id!r}: every record needs the id of its node, a text")
    if isinstance(ts_ms, bool) or not isinstance(ts_ms, int | float) or not isfinite(ts_ms):
        raise RecordingError(f"{place}: ts_ms is {ts_ms!r}: every record needs its event time, milliseconds since 1970")
    peer_id = row.get("peer_id")
    key = f"{node_id}>{peer_id}" if isinstance(peer_id, str) else node_id
    return key.encode(), int(ts_ms)


def _encode(row: Row, dropped: Sequence[str]) -> bytes:
    for name in dropped:
        row.pop(name, None)
    return msgspec.json.encode(row if "v" in row else {"v": VERSION, **row})


def _lines(path: Path) -> Iterator[tuple[int, bytes, Row]]:
    """Read JSON lines: number from 1, bytes without line end, parsed object. Empty lines are skipped."""
    decode = msgspec.json.Decoder(Row).decode
    number = 0
    try:
        with _open(path) as file:
            for number, raw in enumerate(iter(partial(file.readline, MAX_LINE_BYTES + 1), b""), start=1):
                if len(raw) > MAX_LINE_BYTES:
                    raise RecordingError(f"{path}, line {number} is longer than {MAX_LINE_BYTES} bytes: split the file")
                line = raw.strip()
                if line:
                    yield number, line, decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(f"{path}, line {number}: {error}: each line must hold one JSON object") from error
    except (OSError, EOFError) as error:
        raise RecordingError(f"{path}, behind line {number}: {error}: give a whole, readable file") from error


def _open(path: Path) -> BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".jsonl":
        return path.open("rb")
    raise RecordingError(f"{path} ends in {path.suffix or 'nothing'}: give a .jsonl, .jsonl.gz or .parquet file")


def _read_table(path: Path) -> Any:
    """Read a Parquet file as a pyarrow Table; pyarrow is imported here because only training installs it."""
    try:
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise RecordingError(f"{path} needs pyarrow: pip install 'vigil-dwcp[train]', or give a .jsonl.gz") from error
    try:
        return parquet.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(f"{path}: {error}: give a whole, readable Parquet file") from error


def _rows(table: Any) -> Iterator[Row]:
    """Give each row by time, without nulls and NaN: JSON has no NaN, and a missing value is a missing field."""
    names = table.column_names
    for batch in (table.sort_by("ts_ms") if "ts_ms" in names else table).to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = [_column(batch.column(name)) for name in names]
        numbers = [column for column in columns if isinstance(column, np.ndarray)]
        whole = not any(column.null_count for column in batch.columns) and not any(map(_has_gaps, numbers))
        for items in zip(*(_listed(column) for column in columns), strict=True):
            row = dict(zip(names, items, strict=True))
            yield row if whole else {name: item for name, item in row.items() if not _is_missing(item)}


def _column(column: Any) -> Column:
    """Read a pyarrow column: numbers without nulls as an array, which is fast, the rest as a list."""
    if column.null_count == 0 and str(column.type) in _NUMBER_TYPES:
        numbers: NDArray[Any] = column.to_numpy(zero_copy_only=False)
        return numbers
    texts = any(word in str(column.type) for word in ("string", "dictionary"))
    items: list[Any] = column.to_numpy(zero_copy_only=False).tolist() if texts else column.to_pylist()
    return items


def _listed(column: Column) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else column


def _is_missing(item: object) -> bool:
    return item is None or (isinstance(item, float) and isnan(item))


def _has_gaps(column: Column) -> bool:
    if isinstance(column, np.ndarray):
        return bool(np.isnan(column).any())
    return any(_is_missing(item) for item in column)


def _transpose(path: Path) -> dict[str, list[Any]]:
    """Read JSON lines as columns in the order in which the fields first appear, ``None`` where a row has none."""
    columns: dict[str, list[Any]] = {}
    count = 0
    for _, _, row in _lines(path):
        for name, item in row.items():
            column = columns.setdefault(name, [])
            column.extend([None] * (count - len(column)))
            column.append(item)
        count += 1
    for column in columns.values():
        column.extend([None] * (count - len(column)))
    return columns


def _read_columns(path: Path) -> dict[str, Column]:
    if path.suffix != ".parquet":
        return dict(_transpose(path))
    table = _read_table(path)
    return {name: _column(table.column(name).combine_chunks()) for name in table.column_names}


def _is_measured(name: str, column: Column) -> bool:
    if name in _NOT_MEASURED:
        return False
    if isinstance(column, np.ndarray):
        return True
    present = [item for item in column if item is not None]
    return bool(present) and all(isinstance(item, int | float) and not isinstance(item, bool) for item in present)


def _node_ids(columns: Mapping[str, Column]) -> Texts:
    nodes = _texts(columns["node_id"])
    if "peer_id" not in columns:
        return nodes
    joined = zip(nodes.tolist(), _texts(columns["peer_id"]).tolist(), strict=True)
    return np.array([f"{node}>{peer}" if peer else node for node, peer in joined])


def _numbers(path: Path, name: str, column: Column, codes: Mapping[str, int] | None) -> NDArray[np.float64]:
    if codes is not None:
        unknown = {item for item in column if isinstance(item, str) and item not in codes}
        if unknown:
            raise RecordingError(f"{path}: {name} is {min(unknown)!r}: its texts are {', '.join(codes)}")
        column = [codes[item] if isinstance(item, str) else item for item in column]
    try:
        return np.asarray(column, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RecordingError(f"{path}: {name} holds something that is no number ({error}): leave it out") from error


def _texts(column: Column) -> Texts:
    return np.array(["" if item is None else str(item) for item in _listed(column)], dtype=np.str_)


def _labels(column: Column) -> NDArray[np.int8]:
    return np.array([-1 if _is_missing(item) else int(item) for item in _listed(column)], dtype=np.int8)
