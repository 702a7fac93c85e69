"""Opens recordings for the commands: which stream a file holds, and at which step."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.recordings import infer_step_ms, read_recording
from schemas.errors import UNREADABLE
from schemas.streams import STREAMS, Stream
from vigil.errors import InputError

__all__ = ["Opened", "open_recording", "recognise", "step_of"]

LOOK_AHEAD = 20_000  # records that tell the step
JITTER = 0.02  # of the nominal step: what timers deviate by


class Opened(NamedTuple):
    """A recording ready to be read once.

    Attributes:
        records: key, value and ts_ms of every record, in file order.
        stream: what the records are.
        step_ms: time between two steps of a node, milliseconds, as the file has it.
    """

    records: Iterator[tuple[bytes, bytes, int]]
    stream: Stream
    step_ms: int


def open_recording(path: Path, streams: Mapping[str, Stream] = STREAMS, *, stream: Stream | None = None) -> Opened:
    """Open a recording and look at its beginning.

    Args:
        path: ``.jsonl``, ``.jsonl.gz`` or ``.parquet``.
        streams: those it may hold.
        stream: the one it holds, when that is known.

    Raises:
        InputError: the file is missing, empty, or holds no known stream.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give a .jsonl, .jsonl.gz or .parquet recording")
    records = iter(read_recording(path))
    head = list(islice(records, LOOK_AHEAD))
    if not head:
        raise InputError(f"{path}: the recording is empty", hint="give a recording with at least one record")
    found = stream or recognise((value for _, value, _ in head[:100]), streams, str(path))
    keys = [key.decode(errors="replace") for key, _, _ in head]
    step_ms = step_of(np.array([ts_ms for _, _, ts_ms in head], dtype=np.int64), keys, found)
    return Opened(chain(head, records), found, step_ms or found.step_ms)


def step_of(ts_ms: NDArray[np.int64], keys: Sequence[str] | NDArray[np.str_], stream: Stream | None) -> int:
    """Tell the step from event times, 0 when that cannot be done; a timer's jitter does not change a known step.

    Args:
        ts_ms: int64 (n,), event times, milliseconds.
        keys: n node ids.
        stream: the stream they are of, where it is known.
    """
    step_ms = infer_step_ms(ts_ms, keys)
    if stream is not None and abs(step_ms - stream.step_ms) <= JITTER * stream.step_ms:
        return stream.step_ms
    return step_ms


def recognise(values: Iterable[bytes], streams: Mapping[str, Stream], origin: str) -> Stream:
    """Tell the stream whose fields the first readable record has. Raises ``InputError`` when there is none."""
    fields: set[str] = set()
    for value in values:
        try:
            body: Any = msgspec.json.decode(value)
        except UNREADABLE:
            continue
        if isinstance(body, dict):
            fields = set(body)
            for stream in sorted(streams.values(), key=lambda one: -len(one.features)):
                if fields.issuperset(stream.features):
                    return stream
    shown = ", ".join(sorted(fields)[:8]) or "nothing readable"
    raise InputError(
        f"{origin}: its records ({shown}, ...) are of none of the streams {', '.join(streams)}",
        hint="name the stream with --stream, after describing it in [streams.NAME] of vigil.toml",
    )
