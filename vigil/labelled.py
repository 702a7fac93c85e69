"""Labelled recordings: what evaluations measure on, and the faults that stand beside them."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from detectors.evaluation.events import Fault
from detectors.evaluation.run import Recording, sort_recording
from features.recordings import read_columns
from schemas.streams import CONSENSUS, Stream
from vigil.errors import InputError
from vigil.recordings import step_of
from vigil.training_data import measured, stream_of_file

__all__ = ["read_faults", "read_labelled"]


def read_labelled(
    path: Path, fields: Sequence[str] = (), step_ms: int | None = None
) -> tuple[Recording, Stream | None]:
    """Read a labelled recording, and tell the known stream it is of, if any.

    Rows of all nodes are one set (pooled) when the file is of the consensus stream or names clusters: a cluster's
    faults are all its members'. Otherwise each node is measured by its own labels.

    Raises:
        InputError: no such file, or no step can be told.
        RecordingError: the file cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give a .jsonl, .jsonl.gz or .parquet recording")
    stream = stream_of_file(path)
    columns, nodes = sort_recording(read_columns(path, tuple(fields) or None, stream=stream))
    step = step_ms or step_of(columns.ts_ms, columns.node_ids, stream)
    if step < 1:
        raise InputError(f"{path}: the step cannot be told from the file", hint="give it: --step-ms 1000")
    recording = Recording(
        name=path.name,
        columns=columns,
        nodes=nodes,
        used=measured(columns.fields, stream),
        log=stream is not None,
        step_ms=step,
        pooled=stream is CONSENSUS or bool((columns.clusters != "").any()),
        faults=tuple(read_faults(path)),
    )
    return recording, stream


def read_faults(path: Path) -> list[Fault]:
    """Read ``NAME.faults.json`` beside a recording; none when it is not there. Raises ``InputError``."""
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet")
    beside = path.with_name(f"{stem}.faults.json")
    if not beside.is_file():
        return []
    try:
        return msgspec.json.decode(beside.read_bytes(), type=list[Fault])
    except msgspec.MsgspecError as error:
        raise InputError(f"{beside}: {error}", hint="give a JSON array of {start_ms, end_ms, kind}") from error
