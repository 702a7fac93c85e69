"""From publishing a record to its anomaly being readable by a consumer of committed records."""

import threading
import time
from collections.abc import Iterable
from typing import Any, Final, Self

import msgspec
import numpy as np
from confluent_kafka import Consumer, Producer

from benchmarks.speed.end_to_end import WorkerProcess
from benchmarks.speed.servers import Servers
from benchmarks.speed.telemetry import Fleet, send
from benchmarks.topics import own_topics

__all__ = ["measure_latency"]

RATE: Final = 5_000  # records a second, one a node
WARM_STEPS: Final = 32
BAD_EVERY: Final = 97  # records: one of them shows a fault
TICKS: Final = 100  # a second: records are published in small groups
SETTLE_SECONDS: Final = 2.0
PATIENCE_SECONDS: Final = 30.0
BAD: Final = b'"latency_p50":900.0,"latency_p95":1900.0,"latency_p99":2900.0,"leader_changes":4,'


def measure_latency(servers: Servers, *, seconds: int) -> dict[str, Any]:
    """Publish 5,000 records a second for some seconds, every 97th of them bad, and read the anomalies.

    Returns:
        ``p50``, ``p99``, ``max`` in milliseconds, ``anomalies`` they are of, and the ``bad_records`` published.
    """
    fleet = Fleet(RATE)
    with own_topics(servers.bootstrap) as kafka, WorkerProcess(servers, kafka) as worker:
        sent: dict[tuple[str, int], float] = {}
        producer = Producer({"bootstrap.servers": servers.bootstrap, "linger.ms": 1})
        topic = kafka.topics["consensus"]
        start_ms = int(time.time() * 1000) - WARM_STEPS * 1000
        for step in range(WARM_STEPS):
            _publish(producer, topic, fleet, range(fleet.nodes), step, start_ms + 1000 * step)
        producer.flush()
        worker.wait_for(WARM_STEPS * fleet.nodes)
        reader = _Reader(servers.bootstrap, kafka.topics["anomalies"])
        with reader:
            _paced(producer, topic, fleet, seconds, sent)
            reader.wait_for(sent.keys())
        found = np.array([1000 * (reader.seen[each] - sent[each]) for each in sent if each in reader.seen])
    p50, p99 = np.quantile(found, [0.5, 0.99])
    return {
        "p50": float(p50),
        "p99": float(p99),
        "max": float(found.max()),
        "anomalies": len(found),
        "bad_records": len(sent),
    }


def _paced(producer: Producer, topic: str, fleet: Fleet, seconds: int, sent: dict[tuple[str, int], float]) -> None:
    """Publish in real time; notes when each bad record was handed to the producer."""
    size = fleet.nodes // TICKS
    began, first_ms = time.monotonic(), int(time.time() * 1000)
    for tick in range(seconds * TICKS):
        wait = began + tick / TICKS - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        step, place = divmod(tick, TICKS)
        nodes = range(place * size, (place + 1) * size)
        ts_ms = first_ms + 1000 * step
        calm = step < SETTLE_SECONDS
        bad = set() if calm else {node for node in nodes if (step * fleet.nodes + node) % BAD_EVERY == 0}
        now = time.monotonic()
        sent.update({(fleet.names[node], ts_ms): now for node in bad})
        _publish(producer, topic, fleet, nodes, WARM_STEPS + step, ts_ms, bad)
    producer.flush()


def _publish(
    producer: Producer, topic: str, fleet: Fleet, nodes: range, step: int, ts_ms: int, bad: set[int] | None = None
) -> None:
    for node in nodes:
        value = fleet.value(node, step, ts_ms)
        if bad and node in bad:
            before, _, rest = value.partition(b'"latency_p50"')
            value = before + BAD + rest[rest.index(b'"quorum_size"') :]
        send(producer, topic, fleet.keys[node], value, fleet.partitions[node])
    producer.poll(0)


class _Reader:
    """Notes when each anomaly becomes readable, on a thread of its own."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self.seen: dict[tuple[str, int], float] = {}
        self._ends = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"reader-{topic}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
            }
        )
        self._assigned = threading.Event()
        self._consumer.subscribe([topic], on_assign=lambda *_: self._assigned.set())
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._assigned.wait(PATIENCE_SECONDS):
            raise RuntimeError("the reader of the anomalies got no partitions")
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._consumer.close()

    def wait_for(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Wait until all are there, or for a while."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        missing = set(wanted)
        while missing and time.monotonic() < deadline:
            time.sleep(0.1)
            missing -= self.seen.keys()

    def _read(self) -> None:
        while not self._ends.is_set():
            for message in self._consumer.consume(500, 0.02):
                now, value = time.monotonic(), message.value()
                if message.error() is None and value is not None:
                    anomaly = msgspec.json.decode(value)
                    self.seen.setdefault((anomaly["node_id"], anomaly["ts_ms"]), now)
