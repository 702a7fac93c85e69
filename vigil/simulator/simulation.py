"""What a simulator hands back: columns in event-time order, records ready for Kafka, and the truth apart from both."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.metrics import Incident
from vigil.simulator.faults import Fault

_CHUNK = 8_192


class SimulatedRecord(NamedTuple):
    """One record as a producer sends it: key and value as bytes, and its event time."""

    key: bytes
    value: bytes
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Node:
    """Who publishes: the texts that every record of a node carries."""

    node_id: str
    cluster: str
    region: str
    az: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """Simulated telemetry of one fleet, in event-time order.

    Attributes:
        stream: name of the stream the rows belong to, ``"consensus"`` or ``"node"``.
        nodes: the publishers.
        node: int32 (n,), each row's place in ``nodes``.
        ts_ms: int64 (n,), ascending event times, Unix epoch milliseconds.
        columns: the numeric fields, float64 or int64 (n,) each, in the order of the wire format.
        codes: the categorical fields: names by code, and the code of each row, int8 (n,).
        faults: the injected faults or true incidents, by start. Never part of a record.
        incidents: the same as people report them (node telemetry only).
        truth: int16 (n,), place in ``faults`` of the fault a row falls into (its cluster's or node's), -1: none.
        aftermath: bool (n,), rows of the recovery after a fault, which belong to neither side.
    """

    stream: str
    nodes: tuple[Node, ...]
    node: NDArray[np.int32]
    ts_ms: NDArray[np.int64]
    columns: Mapping[str, NDArray[Any]]
    codes: Mapping[str, tuple[tuple[str, ...], NDArray[np.int8]]]
    faults: tuple[Fault, ...]
    truth: NDArray[np.int16]
    aftermath: NDArray[np.bool_]
    incidents: tuple[Incident, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.ts_ms)

    def matrix(self) -> NDArray[np.float32]:
        """Return the model inputs: numeric fields, then codes, float32 (n, F), in the stream's order."""
        numeric = [self.columns[name] for name in self.columns]
        coded = [codes for _, codes in self.codes.values()]
        return np.column_stack([*numeric, *coded]).astype(np.float32)

    def node_ids(self) -> list[str]:
        """Return each row's node id."""
        names = [node.node_id for node in self.nodes]
        return [names[place] for place in self.node.tolist()]

    def records(self) -> Iterator[SimulatedRecord]:
        """Yield the rows as they travel on the wire, in event-time order; labels are never in them.

        About 350,000 records a second on one core.
        """
        keys = [node.node_id.encode() for node in self.nodes]
        heads = [
            {"v": 1, "ts_ms": 0, "node_id": node.node_id, "cluster": node.cluster, "region": node.region, "az": node.az}
            for node in self.nodes
        ]
        encode = msgspec.json.Encoder().encode
        names = (*self.columns, *self.codes)
        for start in range(0, len(self), _CHUNK):
            span = slice(start, start + _CHUNK)
            values = [column[span].tolist() for column in self.columns.values()]
            values += [[texts[code] for code in codes[span].tolist()] for texts, codes in self.codes.values()]
            rows = zip(self.node[span].tolist(), self.ts_ms[span].tolist(), zip(*values, strict=True), strict=True)
            for place, ts_ms, row in rows:
                body = heads[place] | dict(zip(names, row, strict=True))
                body["ts_ms"] = ts_ms
                yield SimulatedRecord(keys[place], encode(body), ts_ms)

    def labels(self) -> dict[str, NDArray[Any] | list[Any]]:
        """Return the label columns of a recording: ``split``, ``label``, ``fault``, ``intensity`` (n values each).

        ``split`` is ``"train"`` before the first fault (before two fifths of the time when there is none), ``label`` is
        1 in a fault, 0 outside, ``None`` in the recovery after one.
        """
        first = min((fault.start_ms for fault in self.faults), default=None)
        if first is None:
            first = int(self.ts_ms[0] + 0.4 * (self.ts_ms[-1] - self.ts_ms[0])) if len(self) else 0
        hit = self.truth >= 0
        label = [None if after else int(one) for one, after in zip(hit.tolist(), self.aftermath.tolist(), strict=True)]
        faults = [self.faults[place] if place >= 0 else None for place in self.truth.tolist()]
        return {
            "split": np.where(self.ts_ms < first, "train", "test"),
            "label": label,
            "fault": [fault.kind if fault else None for fault in faults],
            "intensity": [fault.intensity if fault else None for fault in faults],
        }
