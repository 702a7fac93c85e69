"""Follows the anomalies beside Faust, to know how far Faust has to be before time may pass."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from msgspec import Struct

from schemas.errors import UNREADABLE
from streams.config import KafkaConfig
from streams.kafka import client_properties

__all__ = ["Followed", "Follower"]

MOST: Final = 5_000  # records a call: more than that is read in the next


class _Timed(Struct):
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Followed:
    """How far the anomalies reach.

    Attributes:
        newest: offset of the newest committed record of each partition that is known to have one.
        committed: next offset that the group would read, of each partition.
        event_ms: newest event time seen; 0 before the first.
    """

    newest: dict[int, int]
    committed: dict[int, int]
    event_ms: int


class Follower:
    """Reads the offsets of a topic's committed records, without belonging to a group. For one thread.

    An end offset alone does not say what is there: Kafka's marks of ended transactions take offsets too. This reads on
    until nothing is left below the end, and so knows the newest record itself.

    Args:
        kafka: where, and as whom.
        topic: of the anomalies.
        group: whose committed offsets to start from, and to tell.
        timed: whether to read event times too.
    """

    def __init__(self, kafka: KafkaConfig, topic: str, *, group: str, timed: bool = False) -> None:
        self._topic = topic
        self._timed = msgspec.json.Decoder(_Timed) if timed else None
        self._newest: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        self._event_ms = 0
        self._consumer = Consumer(
            {
                **client_properties(kafka, "consumer"),
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 16_384,
            },
        )

    def ends(self, partitions: Iterable[int], *, timeout_s: float = 10.0) -> dict[int, int]:
        """Return the offset behind the last committed record, or mark, of each partition. Raises ``KafkaException``."""
        return {
            number: self._consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout_s)[1]
            for number in partitions
        }

    def committed(self, partitions: Iterable[int], *, timeout_s: float = 10.0) -> dict[int, int]:
        """Return where the group goes on in each partition that has such an offset. Raises ``KafkaException``."""
        wanted = [TopicPartition(self._topic, number) for number in partitions]
        found = self._consumer.committed(wanted, timeout_s) if wanted else []
        return {each.partition: each.offset for each in found if each.offset >= 0}

    def follow(self, *, timeout_s: float = 5.0) -> Followed | None:
        """Read on to where the topic ends now.

        Returns:
            How far it reaches; ``None`` when that was not read in time.

        Raises:
            KafkaException: Kafka is away, or refuses.
        """
        deadline = time.monotonic() + timeout_s
        if not self._reached:
            self._start(timeout_s)
        ends = self.ends(self._reached, timeout_s=timeout_s)
        while any(self._reached[number] < end for number, end in ends.items()):
            if time.monotonic() > deadline:
                return None
            self._read()
        return Followed(dict(self._newest), self.committed(self._reached, timeout_s=timeout_s), self._event_ms)

    def close(self) -> None:
        """Let go of Kafka."""
        self._consumer.close()

    def _start(self, timeout_s: float) -> None:
        known = self._consumer.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
        if known.error is not None:
            raise KafkaException(known.error)
        self._reached = dict.fromkeys(known.partitions, 0)
        if self._timed is None:  # for the newest event time, what was done long ago counts too
            self._reached |= self.committed(self._reached, timeout_s=timeout_s)
        self._consumer.assign([TopicPartition(self._topic, number, at) for number, at in self._reached.items()])

    def _read(self) -> None:
        for message in self._consumer.consume(MOST, 0.05):
            error, number, offset = message.error(), message.partition(), message.offset()
            if number is None or offset is None:
                continue
            if error is None:
                self._newest[number] = offset
                self._reached[number] = offset + 1
                self._note_time(message.value())
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- a public constant of the client
                self._reached[number] = max(self._reached[number], offset)

    def _note_time(self, value: bytes | str | None) -> None:
        if self._timed is None:
            return
        try:
            self._event_ms = max(self._event_ms, self._timed.decode(value or b"").ts_ms)
        except UNREADABLE:
            return  # whoever takes it in counts what cannot be read
