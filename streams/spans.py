"""Bounded reading: committed records of a topic from one place to another, without a group's offsets."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.config import KafkaConfig
from streams.errors import TopicUnreadableError
from streams.kafka import Properties, client_properties

__all__ = ["Reader", "Say", "Span", "reading"]

READ_SECONDS: Final = 0.1
READ_MOST: Final = 10_000
CALL_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 0.2
LEADERLESS: Final = frozenset(
    {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE, KafkaError.UNKNOWN_TOPIC_OR_PART}
)

Say = Callable[[str, int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a partition: offsets from ``start`` to the one before ``end``."""

    partition: int
    start: int
    end: int

    def __len__(self) -> int:
        return max(0, self.end - self.start)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads spans of topics.

    Attributes:
        consumer: assigned here; nothing is committed.
        within_s: longest time for all that is read with it.
    """

    consumer: Consumer
    within_s: float
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "deadline", time.monotonic() + self.within_s)

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic. Raises ``TopicUnreadableError`` when it is not there or may not be read."""
        known = self._call(lambda: self.consumer.list_topics(topic, timeout=CALL_SECONDS), topic).topics[topic]
        if known.error is not None or not known.partitions:
            raise TopicUnreadableError(f"topic {topic} does not exist, or may not be read: vigil topics create")
        return sorted(known.partitions)

    def kept(self, topic: str, partition: int) -> Span:
        """Return what Kafka still has of a partition."""
        asked = partial(self.consumer.get_watermark_offsets, TopicPartition(topic, partition), timeout=CALL_SECONDS)
        return Span(partition, *self._call(asked, topic))

    def since(self, topic: str, since_ms: int, partitions: Sequence[int]) -> list[Span]:
        """Return where the records begin that have a time stamp from then on, to the end of each partition.

        Args:
            topic: that is there.
            since_ms: of Kafka's time stamps, Unix epoch in milliseconds.
            partitions: of it; one without such records is left out.
        """
        wanted = [TopicPartition(topic, number, max(0, since_ms)) for number in partitions]
        found = self._call(lambda: self.consumer.offsets_for_times(wanted, timeout=CALL_SECONDS), topic)
        return [
            Span(int(each.partition), int(each.offset), self.kept(topic, int(each.partition)).end)
            for each in found
            if each.offset >= 0
        ]

    def read(self, topic: str, spans: Sequence[Span], stage: str, say: Say) -> Iterator[Message]:
        """Yield the committed records of spans, each partition's in order.

        Args:
            topic: that is there.
            spans: of partitions that differ.
            stage: what is being done, for ``say``.
            say: told how many records are read and of how many; transaction markers count among the latter only.

        Raises:
            TopicUnreadableError: Kafka refuses, or the time is over.
        """
        ends = {span.partition: span.end for span in spans if len(span)}
        total, done = sum(map(len, spans)), 0
        self.consumer.assign([TopicPartition(topic, span.partition, span.start) for span in spans if len(span)])
        while ends:
            if time.monotonic() > self.deadline:
                raise TopicUnreadableError(f"topic {topic} was not read to its end in time: is Kafka reachable?")
            for message in self.consumer.consume(READ_MOST, READ_SECONDS):
                number, error = int(message.partition() or 0), message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 -- a public constant
                    raise TopicUnreadableError(f"topic {topic} cannot be read: {error.str()}")
                end, offset = ends.get(number), int(message.offset() or 0)
                if error is None and end is not None and offset < end:
                    done += 1
                    yield message
                # The last record of a transaction is a marker, which is never seen: what is beyond tells the end too.
                if end is not None and (error is not None or offset + 1 >= end):
                    del ends[number]
            say(stage, done, total)

    def _call(self, call: Callable[[], T], topic: str) -> T:
        """Call again while partitions have no leader: a topic that was just made, a broker that just went."""
        while True:
            try:
                return call()
            except KafkaException as error:
                if error.args[0].code() not in LEADERLESS or time.monotonic() > self.deadline:
                    raise TopicUnreadableError(f"topic {topic} cannot be read: {error.args[0].str()}") from error
                time.sleep(PAUSE_SECONDS)


@contextmanager
def reading(kafka: KafkaConfig, purpose: str, *, within_s: float = 600.0) -> Iterator[Reader]:
    """Open a reader, and close it at the end of the block.

    Args:
        kafka: where.
        purpose: part of the group's name that the client asks for; nothing is ever committed under it.
        within_s: longest time for all reading.

    Raises:
        StreamsConfigError: the user set a Kafka property that is vigil's own.
    """
    properties: Properties = {
        **client_properties(kafka, "consumer"),
        "group.id": f"{kafka.group_id}.{purpose}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        # The end of a partition is told by a fetch that finds nothing: the broker is not to wait for something.
        "fetch.wait.max.ms": 10,
        "fetch.queue.backoff.ms": 20,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
    }
    consumer = Consumer(properties, logger=logging.getLogger("vigil.librdkafka"))
    try:
        yield Reader(consumer, within_s)
    finally:
        consumer.close()
