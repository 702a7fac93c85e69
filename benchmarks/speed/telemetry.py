"""Consensus telemetry of a fleet of any size, with the values that a real cluster showed while nothing was wrong."""

import gzip
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import Producer

from benchmarks.topics import PARTITIONS
from schemas.topics import partition_of

__all__ = ["START_MS", "Fleet", "produce", "recordings", "send", "windows_of"]

START_MS: Final = 1_750_000_000_000
MEMBERS: Final = 5
LABELS: Final = ("split", "label", "fault", "intensity")
OWN: Final = ("v", "ts_ms", "node_id", "cluster", "region")
OUTPUT_MARGIN: Final = 20_000  # records between two looks at the producer's reports


def recordings() -> list[Path]:
    """Return recordings of real clusters: those of this repository, or the ones beside it."""
    here = Path(__file__).resolve()
    places = [here.parents[1] / "etcd" / "recordings", here.parents[3] / "shared" / "data"]
    return [path for place in places for path in sorted(place.glob("*.jsonl.gz"))]


@cache
def _values() -> tuple[tuple[bytes, ...], ...]:
    """Return what each recorded member reported, step by step, without its name and time, as the end of a record."""
    with gzip.open(recordings()[0]) as file:
        rows: list[dict[str, Any]] = [msgspec.json.decode(line) for line in file]
    members: dict[str, list[bytes]] = {}
    for row in rows:
        if row["split"] == "train" and row["label"] == 0:
            values = {name: value for name, value in row.items() if name not in (*LABELS, *OWN)}
            members.setdefault(row["node_id"], []).append(b"," + msgspec.json.encode(values)[1:])
    return tuple(tuple(each) for each in members.values())


class Fleet:
    """A fleet that reports a step a second; each node tells a recorded member's values from a moment of its own on.

    Args:
        nodes: in clusters of ``MEMBERS``.
        seed: of who tells what.
    """

    def __init__(self, nodes: int, seed: int = 1) -> None:
        drawn, members = random.Random(seed), _values()
        self.nodes = nodes
        self.names = [f"n{i // MEMBERS:05d}-{i % MEMBERS}" for i in range(nodes)]
        self.keys = [name.encode() for name in self.names]
        self.partitions = [partition_of(f"n{i // MEMBERS:05d}", "", PARTITIONS) for i in range(nodes)]
        self._heads = [
            b',"node_id":"%s","cluster":"n%05d","region":"eu"' % (key, i // MEMBERS) for i, key in enumerate(self.keys)
        ]
        self._values = [members[drawn.randrange(len(members))] for _ in range(nodes)]
        self._shifts = [drawn.randrange(len(each)) for each in self._values]

    def value(self, node: int, step: int, ts_ms: int) -> bytes:
        """Encode a node's record of a step."""
        values = self._values[node]
        return b'{"v":1,"ts_ms":%d%s%s' % (ts_ms, self._heads[node], values[(self._shifts[node] + step) % len(values)])

    def steps(self, first: int, last: int) -> Iterator[tuple[bytes, bytes, int]]:
        """Yield key, value and partition of the records of steps ``first`` to ``last - 1``, in event-time order."""
        for step in range(first, last):
            ts_ms = START_MS + 1000 * step
            for node in range(self.nodes):
                yield self.keys[node], self.value(node, step, ts_ms), self.partitions[node]


def produce(bootstrap: str, topic: str, records: Iterator[tuple[bytes, bytes, int]]) -> int:
    """Send records and wait until Kafka has them; returns how many."""
    settings = {"linger.ms": 20, "compression.type": "lz4", "enable.idempotence": True}
    producer = Producer({"bootstrap.servers": bootstrap, **settings})
    count = 0
    for key, value, partition in records:
        send(producer, topic, key, value, partition)
        count += 1
        if count % OUTPUT_MARGIN == 0:
            producer.poll(0)
    left = producer.flush(60)
    if left:
        raise RuntimeError(f"Kafka did not take {left} records within 60 s")
    return count


def send(producer: Producer, topic: str, key: bytes, value: bytes, partition: int) -> None:
    """Hand a record to a producer; waits while its queue is full."""
    while True:
        try:
            producer.produce(topic, value, key, partition)
        except BufferError:
            producer.poll(0.05)
        else:
            return


def windows_of(fleet: Fleet, count: int, length: int, fields: Sequence[str]) -> list[list[list[float]]]:
    """Return recorded windows, count x length x fields, for measurements without Kafka."""
    found = []
    for place in range(count):
        node, first = place % fleet.nodes, place // fleet.nodes
        rows = [msgspec.json.decode(fleet.value(node, first + step, START_MS)) for step in range(length)]
        found.append([[_number(row[name]) for name in fields] for row in rows])
    return found


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
