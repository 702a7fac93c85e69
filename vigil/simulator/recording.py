"""Write a simulation to a file: jsonl, jsonl.gz or parquet, with the truth beside it."""

import dataclasses
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vigil.simulator.simulation import Simulation


class RecordingFormatError(ValueError):
    """The path's ending names no format that can be written."""


def write_recording(path: str | Path, simulation: Simulation, *, labels: bool = True) -> list[Path]:
    """Write the rows to ``path`` and the truth to files beside it.

    ``<stem>.faults.json`` holds the injected faults, ``<stem>.incidents.jsonl`` the reported incidents of nodes.

    Args:
        path: ends in ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` (which needs the extra ``train``: pyarrow).
        simulation: what to write.
        labels: add the columns split, label, fault and intensity (consensus telemetry only: nodes have incidents).
            They never reach Kafka: readers of recordings take them off.

    Returns:
        The files written, the recording first.

    Raises:
        RecordingFormatError: the ending is none of the three, or pyarrow is missing.
    """
    path = Path(path)
    name = path.name
    labelled = labels and simulation.stream == "consensus"
    if name.endswith(".parquet"):
        stem = name.removesuffix(".parquet")
        _write_parquet(path, simulation, labelled)
    elif name.endswith((".jsonl", ".jsonl.gz")):
        stem = name.removesuffix(".gz").removesuffix(".jsonl")
        _write_lines(path, simulation, labelled)
    else:
        raise RecordingFormatError(f"cannot write {name!r}: the name must end in .jsonl, .jsonl.gz or .parquet")
    return [path, *_write_truth(path.parent, stem, simulation)]


def _write_lines(path: Path, simulation: Simulation, labelled: bool) -> None:
    """One JSON object a line, byte for byte the published value, label columns appended when asked for."""
    # mtime 0 and no name: the same simulation gives the same file.
    raw = path.open("wb")
    with (
        raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=5, filename="", mtime=0)
        if path.name.endswith(".gz")
        else raw as out,
    ):
        for (_, value, _), tail in zip(simulation.records(), _tails(simulation, labelled), strict=True):
            out.write(value[:-1] + tail)


def _tails(simulation: Simulation, labelled: bool) -> Iterator[bytes]:
    if not labelled:
        for _ in range(len(simulation)):
            yield b"}\n"
        return
    labels = simulation.labels()
    names = tuple(labels)
    for row in zip(*(np.asarray(column, dtype=object).tolist() for column in labels.values()), strict=True):
        yield b"," + msgspec.json.encode(dict(zip(names, row, strict=True)))[1:] + b"\n"


def _write_parquet(path: Path, simulation: Simulation, labelled: bool) -> None:
    try:
        import pyarrow as pa  # noqa: PLC0415 - only this format needs it
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise RecordingFormatError("writing .parquet needs pyarrow: pip install 'vigil-dwcp[train]'") from error

    def coded(texts: list[str], codes: Any) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(texts)).cast(pa.string())

    columns: dict[str, Any] = {
        "v": pa.array(np.ones(len(simulation), np.int8)),
        "ts_ms": pa.array(simulation.ts_ms),
    }
    for name in ("node_id", "cluster", "region", "az"):
        columns[name] = coded([getattr(node, name) for node in simulation.nodes], simulation.node)
    columns |= {name: pa.array(column) for name, column in simulation.columns.items()}
    columns |= {name: coded(list(texts), codes) for name, (texts, codes) in simulation.codes.items()}
    if labelled:
        columns |= {name: pa.array(column) for name, column in simulation.labels().items()}
    pq.write_table(pa.table(columns), path, compression="zstd")


def _write_truth(folder: Path, stem: str, simulation: Simulation) -> list[Path]:
    faults = folder / f"{stem}.faults.json"
    faults.write_bytes(msgspec.json.format(msgspec.json.encode([dataclasses.asdict(one) for one in simulation.faults])))
    if not simulation.incidents:
        return [faults]
    incidents = folder / f"{stem}.incidents.jsonl"
    incidents.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in simulation.incidents))
    return [faults, incidents]
