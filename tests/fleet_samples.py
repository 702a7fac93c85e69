"""Consensus telemetry of a small fleet, and a detector whose verdicts can be worked out by hand."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.scoring import StreamScorer
from features.batch import WindowBatch
from schemas.codec import RecordCodec
from schemas.outputs import Anomaly, Contribution
from schemas.streams import CONSENSUS, Stream

START_MS = 1_750_000_000_000
WINDOW = 30


class Telemetry(NamedTuple):
    key: bytes | None
    value: bytes | None


class PeakDetector:
    """Score: the largest latency_p99 of the newest three steps, ms. Flags above 50; warning 80, critical 120."""

    state_width = 0
    name = "peak"
    version = "peak-1"
    threshold = 50.0
    levels = (80.0, 120.0)
    window = WINDOW

    def __init__(self, stream: Stream = CONSENSUS) -> None:
        self.fields = stream.features
        self._column = stream.features.index("latency_p99")

    def score(self, windows: WindowBatch, state: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        del state
        return windows.tensor()[:, -3:, self._column].max(axis=1, initial=0).astype(np.float64)

    def contributions(
        self, windows: WindowBatch, state: NDArray[np.float32] | None = None
    ) -> list[tuple[Contribution, ...]]:
        del state
        return [(Contribution("latency_p99", 1.0, float(row[self._column])),) for row in windows.last()]

    def save(self, directory: Path) -> None:
        (directory / "metadata.json").write_text("{}")

    @classmethod
    def load(cls, directory: Path) -> Self:
        del directory
        return cls()


def scorer(stream: Stream = CONSENSUS, **options: Any) -> StreamScorer:
    return StreamScorer(stream, [PeakDetector(stream)], **options)


def consensus(node: str, step: int, *, p99: float = 10.0, **changes: Any) -> dict[str, Any]:
    """Return one good record; `p99` above 50 makes the window anomalous."""
    return {
        "v": 1,
        "ts_ms": START_MS + 1000 * step,
        "node_id": node,
        "cluster": "alpha",
        "region": "eu-1",
        "queue_depth": 3 + step % 4,
        "proposals_pending": 2,
        "proposals_committed": 4,
        "latency_p50": 5.0,
        "latency_p95": min(8.0, p99),
        "latency_p99": p99,
        "leader_changes": 0,
        "quorum_size": 3,
        "active_nodes": 5,
        "network_tier": "lan",
        "dwcp_mode": "normal",
        "consensus_type": "raft",
        **changes,
    }


def message(record: Mapping[str, Any]) -> Telemetry:
    return Telemetry(str(record["node_id"]).encode(), msgspec.json.encode(record))


def fleet(nodes: int, steps: range, *, faults: Mapping[tuple[str, int], float] | None = None) -> list[Telemetry]:
    """Return a fleet's records, step by step; `faults` gives latency_p99 by (node, step)."""
    faults = faults or {}
    return [
        message(consensus(f"n{node}", step, p99=faults.get((f"n{node}", step), 10.0)))
        for step in steps
        for node in range(nodes)
    ]


def offline(messages: Sequence[Telemetry], used: StreamScorer | None = None) -> list[Anomaly]:
    """Score records without Kafka, one partition, as `vigil score` does."""
    used = used or scorer()
    decoded = RecordCodec(used.stream).decode([each.key for each in messages], [each.value for each in messages])
    count = len(decoded)
    return used.process(
        decoded, topic="file", partitions=np.zeros(count, np.int32), offsets=np.arange(count, dtype=np.int64)
    ).anomalies


def verdicts(anomalies: Iterable[Anomaly]) -> list[tuple[str, float, str, int]]:
    """Return what must be equal wherever an anomaly was made: id, score, node and time, sorted."""
    return sorted((each.id, each.score, each.node_id, each.ts_ms) for each in anomalies)
