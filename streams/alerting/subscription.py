"""One sink's place in the alerts topic, in a consumer group of its own."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.alerting.config import AlertingConfig
from streams.alerting.sinks import Sink
from streams.alerting.told import Told
from streams.config import KafkaConfig
from streams.kafka import client_properties

__all__ = ["Record", "Subscription", "group_of"]

log = structlog.get_logger("vigil.alerts")

LOOK_BACK: Final = 200  # records before the committed offset that are read again, to know what was told
READ_SECONDS: Final = 0.2
READ_MOST: Final = 500
ANSWER_SECONDS: Final = 10.0
REFUSED_SECONDS: Final = 30.0  # a commit that fails takes long, and telling is more than remembering


def group_of(service: str, sink: str) -> str:
    """Name the consumer group, or the stable member of it, of a service's sink."""
    return f"{service}.{re.sub(r'[^A-Za-z0-9._-]+', '.', sink)}"


class Record(NamedTuple):
    """One record of the topic.

    Attributes:
        partition, offset: where it is.
        value: what it says.
        told: whether an earlier process has told the sink.
        heard: whether the sink may know of its alert.
    """

    partition: int
    offset: int
    value: bytes
    told: bool
    heard: bool


class Subscription:
    """Reads the alerts for a sink and remembers what it was told. Not for two threads at once.

    Args:
        sink: whose.
        kafka: where, and as whom.
        config: names.
        topic: of the alerts.
        told: says what the sink was told of a partition, having read to an offset.
        lost: called with a partition that is another instance's from now on.
    """

    def __init__(
        self,
        sink: Sink,
        kafka: KafkaConfig,
        config: AlertingConfig,
        topic: str,
        *,
        told: Callable[[int, int], Told],
        lost: Callable[[int], None],
    ) -> None:
        self._sink, self._topic, self._told, self._lost = sink, topic, told, lost
        self._started_ms = time.time_ns() // 1_000_000
        self._before: dict[int, Told] = {}  # what an earlier process told
        self._positions: dict[int, int] = {}
        self._committed: dict[int, Told] = {}
        self._commit_at = 0.0
        own = {"group.instance.id": group_of(config.instance, sink.name)} if config.instance else {}
        self._consumer = Consumer(
            {
                **client_properties(kafka, "consumer"),
                "group.id": group_of(config.group_id, sink.name),
                "session.timeout.ms": kafka.session_timeout_ms,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                **own,
            }
        )

    def open(self) -> None:
        """Ask for a share of the topic."""
        self._consumer.subscribe([self._topic], on_assign=self._assign, on_revoke=self._revoke)

    def read(self) -> list[Record]:
        """Return what came, waiting for it a little."""
        return list(self._records(self._consumer.consume(READ_MOST, READ_SECONDS)))

    @property
    def is_current(self) -> bool:
        """Whether all was read again that an earlier process had read; what it told is not known before."""
        return all(self._positions[number] >= before.position for number, before in self._before.items())

    def commit(self) -> None:
        """Commit what the sink was told, where that changed; what Kafka does not take is committed with the next."""
        known = {
            number: self._told(number, position)
            for number, position in self._positions.items()
            if position >= self._before[number].position
        }
        changed = {number: told for number, told in known.items() if self._committed.get(number) != told}
        if not changed or time.monotonic() < self._commit_at:
            return
        offsets = [
            TopicPartition(self._topic, number, told.offset, told.metadata()) for number, told in changed.items()
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._commit_at = time.monotonic() + REFUSED_SECONDS
            log.warning("what a sink was told is not committed yet", sink=self._sink.name, error=error.args[0].str())
            return
        self._committed |= changed

    def close(self) -> None:
        """Commit, and leave the group."""
        self._commit_at = 0.0
        self.commit()
        self._consumer.close()

    def _records(self, messages: list[Message]) -> Iterator[Record]:
        for message in messages:
            number, offset, error, value = message.partition(), message.offset(), message.error(), message.value()
            if number is None or offset is None or number not in self._positions:
                if error is not None:  # the client goes on by itself
                    log.warning("reading alerts", sink=self._sink.name, error=error.str())
                continue
            if error is None:
                self._positions[number] = offset + 1
                if value is not None:
                    before = self._before[number]
                    told, heard = before.has(offset), offset not in before.unheard
                    yield Record(number, offset, bytes(value), told, heard)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- a public constant of the client
                self._positions[number] = max(self._positions[number], offset)
            else:
                log.warning("reading alerts", sink=self._sink.name, error=error.str())

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for each in consumer.committed(partitions, ANSWER_SECONDS):
            number, at = each.partition, TopicPartition(each.topic, each.partition)
            low, end = consumer.get_watermark_offsets(at, ANSWER_SECONDS)
            before = Told.committed(each.offset, each.metadata)
            if each.offset >= 0 and before.position <= end:  # it is not of an earlier, longer topic of this name
                self._before[number] = self._committed[number] = before
                self._positions[number] = max(low, each.offset - LOOK_BACK)
                continue
            start = low if self._sink.wants_all else self._first_since_start(consumer, number, end)
            self._before[number], self._positions[number] = Told(start, start), start
        consumer.assign(
            [TopicPartition(self._topic, one.partition, self._positions[one.partition]) for one in partitions]
        )

    def _first_since_start(self, consumer: Consumer, number: int, end: int) -> int:
        """Where a new sink begins that need not know what was before it.

        ``end`` was taken before the look-up, and is an offset: "the end" would be wherever it is once Kafka is asked
        again, behind an alert that comes in between.
        """
        asked = TopicPartition(self._topic, number, self._started_ms)
        [found] = consumer.offsets_for_times([asked], ANSWER_SECONDS)
        return int(found.offset) if found.offset >= 0 else end

    def _revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.commit()
        for each in partitions:
            for known in (self._before, self._positions, self._committed):
                known.pop(each.partition, None)
            self._lost(each.partition)
        consumer.unassign()
