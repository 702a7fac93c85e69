"""Reads back, from Kafka alone, what a partition's windows were: its state partition, and where its group goes on."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.changelog import Restored
from streams.errors import WorkerFatal
from streams.kafka import Properties
from streams.publisher import BatchAbandonedError
from streams.source import Partition
from streams.state import EPOCH_HEADER, Saved, SavedPartition, sort_saved
from streams.stopping import StopRequest

__all__ = ["Recovery", "RecoveryEvents"]

CALL_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.2
READ_SECONDS: Final = 0.02
READ_MOST: Final = 10_000
TOPIC_CHECKS: Final = 3  # created by the same command as the others, it may be known a moment later
TOPIC_PAUSE_SECONDS: Final = 1.0
NOT_SHARED: Final = frozenset({"group.instance.id", "statistics.interval.ms"})

REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)

log = structlog.get_logger("vigil.recovery")

T = TypeVar("T")
Restore = Callable[[Partition, SavedPartition, int | None], Restored]


@dataclass(frozen=True, slots=True)
class RecoveryEvents:
    """Who is told what.

    Attributes:
        restored: what came back of the partitions of an assignment, and how many seconds it took.
        alive: called now and then while it lasts.
    """

    restored: Callable[[Mapping[Partition, Restored], float], None] = lambda _restored, _seconds: None
    alive: Callable[[], None] = lambda: None


class Recovery:
    """Brings back partitions that were just assigned; runs inside the rebalance, and has a deadline for it.

    Args:
        properties: librdkafka properties of a consumer that reads committed records, with the worker's group.
        group: the group.
        topic: the state topic.
        within_s: longest time for one assignment.
        stop: ends the waiting.
        events: who is told.
    """

    def __init__(
        self,
        properties: Properties,
        *,
        group: str,
        topic: str,
        within_s: float,
        stop: StopRequest,
        events: RecoveryEvents,
    ) -> None:
        # A second client beside the group's member: it must not look like a second member of the same name.
        own = {name: value for name, value in properties.items() if name not in NOT_SHARED}
        self._properties: Properties = {
            **own,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 10,  # the broker says that an end is reached only after this long
        }
        self._group, self._topic = group, topic
        self._within_s = within_s
        self._stop, self._events = stop, events
        self._deadline = 0.0

    def possible(self, missing_topics: Callable[[Sequence[str]], list[str] | None]) -> bool:
        """Tell whether the state topic is there; says so where it is not.

        Args:
            missing_topics: lists those of some topics that do not exist, ``None`` when no broker answers.
        """
        for _ in range(TOPIC_CHECKS):
            if not missing_topics([self._topic]):
                return True
            self._stop.pause(TOPIC_PAUSE_SECONDS)
        log.error(
            "windows are not kept: this start and the next begin with empty ones",
            reason=f"the state topic {self._topic} does not exist",
            fix="vigil topics create, then restart the workers; or state.enabled = false",
        )
        return False

    def restore(self, partitions: Sequence[Partition], restore: Restore) -> dict[Partition, int]:
        """Bring partitions back.

        Args:
            partitions: of which nothing is held.
            restore: puts back one of them, from what the state topic has of it and the group's committed offset; it is
                not called for partitions whose state cannot be kept, for want of a state partition.

        Returns:
            The offset to read on from, for those that do not start from the committed one.

        Raises:
            WorkerFatal: Kafka refuses, or did not answer in time. Going on with empty windows would spoil the state
                that is there.
            BatchAbandonedError: asked to stop meanwhile.
        """
        began = time.monotonic()
        self._deadline = began + self._within_s
        consumer = Consumer(self._properties, logger=logging.getLogger("vigil.librdkafka"))
        try:
            kept = self._with_state(consumer, partitions)
            committed = self._committed(consumer, kept)
            saved = self._read(consumer, committed)
        finally:
            consumer.close()
        back: dict[Partition, Restored] = {}
        for topic, number in kept:
            at = committed[topic, number]
            back[topic, number] = restore((topic, number), saved[number].get(topic, SavedPartition()), at)
            self._tell((topic, number), back[topic, number], at)
        seconds = time.monotonic() - began
        self._events.restored(back, seconds)
        starts = {partition: one.start for partition, one in back.items() if one.start is not None}
        log.info(
            "windows restored",
            nodes=sum(one.nodes for one in back.values()),
            partitions=len(kept),
            records_to_replay=sum((committed[each] or 0) - start for each, start in starts.items()),
            seconds=round(seconds, 3),
        )
        return starts

    def _with_state(self, consumer: Consumer, partitions: Sequence[Partition]) -> list[Partition]:
        """Return the partitions that have a state partition; says which have none."""
        count = self._until_done("list_topics", lambda: self._count(consumer))
        without = [f"{topic}[{number}]" for topic, number in partitions if number >= count]
        if without:
            log.error(
                "windows are not kept: a restart will begin with empty ones",
                reason=f"the state topic {self._topic} has {count} partitions",
                partitions=without,
                fix="give it as many partitions as the metrics topics have, then restart the workers",
            )
        return [each for each in partitions if each[1] < count]

    def _count(self, consumer: Consumer) -> int:
        topic = consumer.list_topics(self._topic, timeout=CALL_SECONDS).topics[self._topic]
        if topic.error is not None:  # it was there when the worker started
            raise KafkaException(topic.error)
        return len(topic.partitions)

    def _committed(self, consumer: Consumer, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        """Return where the group goes on; waits for transactions over these offsets to end."""
        if not partitions:
            return {}
        wanted = [TopicPartition(*each) for each in partitions]
        found = self._until_done("committed", lambda: consumer.committed(wanted, timeout=CALL_SECONDS))
        return {(each.topic, each.partition): each.offset if each.offset >= 0 else None for each in found}

    def _read(
        self, consumer: Consumer, committed: Mapping[Partition, int | None]
    ) -> dict[int, dict[str, SavedPartition]]:
        """Read state partitions from the beginning to the end of what is committed; the newest record of each key.

        An open transaction (of a worker that crashed a moment ago) ends a partition early: what comes before it is as
        good, the replay is only longer. Where that is nothing although offsets were committed, its end is waited for.
        """
        records: dict[int, dict[bytes, Saved]] = {number: {} for _, number in committed}
        if not records:
            return {}
        consumer.assign([TopicPartition(self._topic, number, 0) for number in records])
        saved: dict[int, dict[str, SavedPartition]] = {}
        ends: dict[int, int] = {}
        while len(saved) < len(records):
            self._check("reading the state topic")
            for message in self._until_done("consume", lambda: consumer.consume(READ_MOST, READ_SECONDS)):
                number = int(message.partition() or 0)
                error = message.error()
                if error is None:
                    _keep(message, records[number])
                elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 -- a public constant of the client
                    self._check_error("reading the state topic", error)
                else:
                    found = sort_saved(records[number], self._group)
                    if number not in ends:
                        _, ends[number] = consumer.get_watermark_offsets(
                            TopicPartition(self._topic, number), cached=True
                        )
                    if (message.offset() or 0) >= ends[number] or not _lacking(found, number, committed):
                        saved[number] = found
        return saved

    def _tell(self, partition: Partition, restored: Restored, committed: int | None) -> None:
        topic, number = partition
        if restored.cold:
            log.error(
                "windows begin empty: verdicts are missing until they are full",
                partition=f"{topic}[{number}]",
                reason=restored.cold,
                committed=committed,
                refused=restored.refused,
            )
        elif restored.refused:
            log.error(
                "damaged snapshots: their nodes start anew", partition=f"{topic}[{number}]", nodes=restored.refused
            )

    def _until_done(self, name: str, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except KafkaException as error:
                self._check_error(name, error.args[0])
                self._stop.pause(PAUSE_SECONDS)

    def _check_error(self, call: str, error: KafkaError) -> None:
        if error.fatal() or error.code() in REFUSED:
            raise WorkerFatal(f"Kafka refuses the state topic {self._topic}: {call}: {error.str()} ({error.name()})")
        log.warning("waiting for Kafka", call=call, error=error.str())
        self._check(call)

    def _check(self, call: str) -> None:
        self._events.alive()
        if self._stop.requested:
            raise BatchAbandonedError("asked to stop while windows are restored")
        if time.monotonic() > self._deadline:
            raise WorkerFatal(
                f"{call}: windows could not be restored within {self._within_s:g} s, half of kafka.max_poll_interval_ms"
            )


def _keep(message: Message, records: dict[bytes, Saved]) -> None:
    key, value = message.key() or b"", message.value()
    if value is None:
        records.pop(key, None)
        return
    epoch = dict(message.headers() or []).get(EPOCH_HEADER) or b""
    digits = epoch.decode("ascii", "replace") if isinstance(epoch, bytes) else epoch
    records[key] = Saved(int(digits) if digits.isdecimal() else 0, value)


def _lacking(found: Mapping[str, SavedPartition], number: int, committed: Mapping[Partition, int | None]) -> bool:
    """Tell whether something was committed of which the state partition knows nothing."""
    topics = [topic for (topic, each), offset in committed.items() if each == number and offset]
    return any(topic not in found or found[topic].progress is None for topic in topics)
