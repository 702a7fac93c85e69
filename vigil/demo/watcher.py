"""Reads what the worker publishes, as any consumer would: committed records only."""

import threading
from collections import defaultdict
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.codec import decode_anomaly
from schemas.outputs import Anomaly
from streams.config import KafkaConfig
from streams.kafka import client_properties
from vigil.errors import ServiceError

__all__ = ["Watcher"]

POLL_SECONDS: Final = 0.1
METADATA_SECONDS: Final = 10.0


class Watcher:
    """Collects anomalies and counts dead letters on a thread of its own.

    Args:
        kafka: with the demo's topics.
    """

    def __init__(self, kafka: KafkaConfig) -> None:
        self._kafka = kafka
        self._streams = {kafka.topics[name]: name for name in ("consensus", "node")}
        self._lock = threading.Lock()
        self._anomalies: dict[str, list[Anomaly]] = defaultdict(list)
        self._newest: list[Anomaly] = []
        self._dead_letters = 0
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def anomalies(self) -> dict[str, list[Anomaly]]:
        """Copy what was found so far, by stream."""
        with self._lock:
            return {name: list(found) for name, found in self._anomalies.items()}

    def newest(self, count: int) -> list[Anomaly]:
        """Copy the newest anomalies, newest first."""
        with self._lock:
            return self._newest[: -count - 1 : -1]

    def counts(self) -> tuple[int, int]:
        """Return the number of anomalies and of dead letters. Raises ``ServiceError`` when reading failed."""
        if self._error is not None:
            raise ServiceError(f"reading the demo's anomalies failed: {self._error}") from self._error
        with self._lock:
            return len(self._newest), self._dead_letters

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        consumer = Consumer(
            {
                **client_properties(self._kafka, "consumer"),
                "group.id": f"{self._kafka.group_id}-watcher",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
            }
        )
        try:
            consumer.assign(self._partitions(consumer))
            while not self._stop.is_set():
                for message in consumer.consume(1000, POLL_SECONDS):
                    if message.error() is None:
                        self._take(message.topic() or "", message.value() or b"")
        except (KafkaException, ValueError) as error:
            self._error = error
        finally:
            consumer.close()

    def _partitions(self, consumer: Consumer) -> list[TopicPartition]:
        # Assigned, not subscribed: a second group's rebalance would only delay the show.
        topics = [self._kafka.topics["anomalies"], self._kafka.topics["dead-letters"]]
        found = consumer.list_topics(timeout=METADATA_SECONDS).topics
        return [TopicPartition(topic, number, 0) for topic in topics for number in found[topic].partitions]

    def _take(self, topic: str, value: bytes) -> None:
        if topic == self._kafka.topics["dead-letters"]:
            with self._lock:
                self._dead_letters += 1
            return
        anomaly = decode_anomaly(value)
        with self._lock:
            self._anomalies[self._streams.get(anomaly.source.topic, anomaly.source.topic)].append(anomaly)
            self._newest.append(anomaly)
