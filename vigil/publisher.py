"""Publishes records the way a fleet does: keyed by node, the partition chosen by cluster, event times in the body."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import UNREADABLE
from schemas.topics import METRICS_CONSENSUS, partition_of
from vigil.errors import ServiceError

__all__ = ["Publisher"]

FLUSH_SECONDS: Final = 60.0
METADATA_SECONDS: Final = 10.0
POLL_RECORDS: Final = 100

DEFAULTS: Final[Mapping[str, Any]] = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "enable.idempotence": True,
    "delivery.report.only.error": True,  # a call of ours for every record that arrived would halve the rate
    "message.max.bytes": METRICS_CONSENSUS.max_message_bytes,
    "queue.buffering.max.messages": 500_000,
}


class _Origin(msgspec.Struct):
    cluster: str | None = None


class Publisher:
    """A producer for one topic. Use as a context manager; leaving it waits until all records have arrived.

    Args:
        topic: where to publish; it must exist.
        properties: librdkafka properties, ``bootstrap.servers`` among them.

    Raises:
        ServiceError: Kafka cannot be reached, the topic does not exist, or a record was refused.
    """

    def __init__(self, topic: str, properties: Mapping[str, Any]) -> None:
        self.topic = topic
        self._queued = 0
        self._refused: KafkaError | None = None
        self._producer = Producer({**DEFAULTS, **properties, "log_level": 0, "on_delivery": self._on_delivery})
        self.partitions = self._count_partitions(str(properties.get("bootstrap.servers", "")))
        self._chosen: dict[bytes, int] = {}
        self._origin = msgspec.json.Decoder(_Origin)

    def send(self, key: bytes | None, value: bytes | None, *, node: bytes) -> None:
        """Queue one record.

        Args:
            key: Kafka key.
            value: Kafka value.
            node: whose record it is; its first record chooses the partition of all of them, so that their order holds.

        Kafka's timestamp is the time of sending, never the event time: a recording of last year must outlive the
        topic's retention. Event time is in the body.
        """
        partition = self._partition(node, value)
        while True:
            try:
                self._producer.produce(self.topic, value, key, partition)
            except BufferError:  # the queue is full: wait for the broker, this is the back-pressure
                self._producer.poll(0.1)
            except KafkaException as error:
                raise self._refusal(error.args[0]) from error
            else:
                break
        self._queued += 1
        if self._queued % POLL_RECORDS == 0:
            self._producer.poll(0)
        self._raise_refusal()

    def flush(self) -> None:
        """Wait until every queued record has arrived."""
        left = self._producer.flush(FLUSH_SECONDS)
        self._raise_refusal()
        if left:
            raise ServiceError(
                f"{left} records did not reach {self.topic} within {FLUSH_SECONDS:g} s",
                hint="`vigil doctor` checks Kafka",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
        else:  # interrupted: what is queued is not worth waiting for
            self._producer.purge()

    def _partition(self, node: bytes, value: bytes | None) -> int:
        chosen = self._chosen.get(node)
        if chosen is not None:
            return chosen
        try:
            cluster = self._origin.decode(value or b"").cluster
        except UNREADABLE:  # a broken record says nothing: the node's first good one decides
            return partition_of(None, node.decode(errors="replace"), self.partitions)
        chosen = self._chosen[node] = partition_of(cluster, node.decode(errors="replace"), self.partitions)
        return chosen

    def _count_partitions(self, bootstrap: str) -> int:
        try:
            topic = self._producer.list_topics(self.topic, timeout=METADATA_SECONDS).topics[self.topic]
        except KafkaException as error:
            raise ServiceError(
                f"Kafka at {bootstrap} does not answer: {error.args[0].str()}",
                hint="check kafka.bootstrap (--kafka); `vigil doctor` says more",
            ) from error
        if topic.error is not None or not topic.partitions:
            raise ServiceError(
                f"topic {self.topic} does not exist at {bootstrap}", hint="create it: vigil topics create"
            )
        return len(topic.partitions)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._refused = error

    def _raise_refusal(self) -> None:
        if self._refused is not None:
            raise self._refusal(self._refused)

    def _refusal(self, error: KafkaError) -> ServiceError:
        return ServiceError(
            f"Kafka refused a record for {self.topic}: {error.str()}",
            hint="`vigil doctor` checks topics and rights",
        )
