"""Recordings to train on: normal rows only, in log order, as the training functions take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.consensus.fit import NormalSteps
from features.recordings import Columns, read_columns, read_recording
from schemas.metrics import Incident
from schemas.streams import STREAMS, Stream
from vigil.errors import InputError
from vigil.recordings import recognise, step_of

__all__ = [
    "TrainingData",
    "measured",
    "normal_steps",
    "read_incidents",
    "read_training_data",
    "stream_of_file",
    "training_data",
]

LOOK_AHEAD = 100


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a detector is trained on.

    Attributes:
        fields: names of the F features.
        node_ids: text (n,).
        ts_ms: int64 (n,), ascending, Unix epoch milliseconds.
        rows: float64 (n, F), finite.
        step_ms: time between two steps of a node.
        stream: the known stream it is of, ``None`` for telemetry of the user's own.
        left_out: rows that are no normal training rows: of another split, labelled anomalous, or with gaps.
    """

    fields: tuple[str, ...]
    node_ids: NDArray[np.str_]
    ts_ms: NDArray[np.int64]
    rows: NDArray[np.float64]
    step_ms: int
    stream: Stream | None
    left_out: int


def read_training_data(
    path: Path, *, fields: Sequence[str] | None = None, step_ms: int | None = None, whole: bool = False
) -> TrainingData:
    """Read a recording and keep what is normal.

    Where the recording says so itself: rows of split ``train``, and none that is labelled anomalous.

    Args:
        path: ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.
        fields: the features, in order; default: the known stream's, or every column of numbers.
        step_ms: time between two steps; told from the file otherwise.
        whole: take all splits.

    Raises:
        InputError: no such file, or no row is left.
        RecordingError: the file cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give a .jsonl, .jsonl.gz or .parquet recording")
    stream = stream_of_file(path)
    columns = read_columns(path, fields, stream=stream)
    keep = _normal(columns, whole=whole)
    if not keep.any():
        raise InputError(
            f"{path}: none of its {len(columns)} rows is normal training data", hint="--all-splits takes them all"
        )
    step = step_ms or step_of(columns.ts_ms[keep], columns.node_ids[keep], stream)
    if step < 1:
        raise InputError(f"{path}: the step cannot be told from the file", hint="give it: --step-ms 1000")
    return training_data(columns, keep, step, stream)


def training_data(columns: Columns, keep: NDArray[np.bool_], step_ms: int, stream: Stream | None) -> TrainingData:
    """Take the rows to train on out of a recording, in log order.

    Args:
        columns: the recording.
        keep: bool (n,), its normal rows without gaps.
        step_ms: time between two steps of a node.
        stream: the known stream it is of.
    """
    order = np.flatnonzero(keep)[np.argsort(columns.ts_ms[keep], kind="stable")]
    return TrainingData(
        fields=columns.fields,
        node_ids=columns.node_ids[order],
        ts_ms=columns.ts_ms[order],
        rows=columns.values[order],
        step_ms=step_ms,
        stream=stream,
        left_out=len(columns) - len(order),
    )


def normal_steps(data: TrainingData) -> NormalSteps:
    """Give the statistical detector its steps: all features but codes.

    Counts and latencies of a known stream are on a log scale. Of other telemetry nobody said what its numbers are, and
    many are normalised already: they stay as they are.
    """
    used, known = measured(data.fields, data.stream), data.stream is not None
    return NormalSteps(
        fields=data.fields,
        keys=data.node_ids.tolist(),
        ts_ms=data.ts_ms,
        rows=data.rows.astype(np.float32),
        used=used,
        log=tuple(known and bool((data.rows[:, place] >= 0).all()) for place in used),
    )


def measured(fields: Sequence[str], stream: Stream | None) -> tuple[int, ...]:
    """Return the places of the features that are measurements, not codes of modes and types."""
    coded = set(stream.codes) if stream is not None else set()
    return tuple(place for place, name in enumerate(fields) if name not in coded)


def read_incidents(path: Path) -> list[Incident]:
    """Read reported incidents, one JSON object a line. Raises ``InputError`` naming the line that is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give the incidents that were reported, one JSON object a line")
    incidents: list[Incident] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            incidents.append(msgspec.json.decode(line, type=Incident))
        except msgspec.MsgspecError as error:
            raise InputError(
                f"{path}, line {number}: {error}", hint="docs/wire-format.md describes incidents"
            ) from error
    return incidents


def stream_of_file(path: Path) -> Stream | None:
    """Tell the known stream whose records a file holds; ``None`` for telemetry of the user's own."""
    records = read_recording(path)
    values = [value for _, (_, value, _) in zip(range(LOOK_AHEAD), records, strict=False)]
    try:
        return recognise(values, STREAMS, str(path))
    except InputError:  # telemetry of the user's own: every column of numbers is a feature
        return None


def _normal(columns: Columns, *, whole: bool) -> NDArray[np.bool_]:
    keep = np.asarray(np.isfinite(columns.values).all(axis=1), dtype=np.bool_)
    if columns.split is not None and not whole and (columns.split == "train").any():
        keep &= columns.split == "train"
        # A train part may come without labels: whoever cut it there says that it is normal.
        return keep if columns.label is None else keep & (columns.label != 1)
    # Elsewhere a row without a label may be the aftermath of a fault.
    return keep if columns.label is None else keep & (columns.label == 0)
