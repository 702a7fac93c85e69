"""Reads back, from Kafka alone, what a partition's windows were: its state partition, and where its group goes on."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException

from streams.changelog import Restored
from streams.fencing import Fencing
from streams.group_offsets import GroupOffsets
from streams.kafka import NOT_SHARED, Properties
from streams.patience import Patience
from streams.source import Partition
from streams.state import SavedPartition
from streams.stopping import StopRequest

__all__ = ["Recovery", "RecoveryEvents"]

CALL_SECONDS: Final = 5.0
TOPIC_CHECKS: Final = 3  # created by the same command as the others, it may be known a moment later
TOPIC_PAUSE_SECONDS: Final = 1.0

log = structlog.get_logger("vigil.recovery")

Restore = Callable[[Partition, SavedPartition, int | None], Restored]


@dataclass(frozen=True, slots=True)
class RecoveryEvents:
    """Who is told what.

    Attributes:
        restored: what came back of the partitions of an assignment, and how many seconds it took.
        unstable: the offsets that the state topic says are committed, where Kafka did not say. They must be committed
            again: that ends what Kafka left open, if it was this worker's, and makes the group right if it was not.
        alive: called now and then while it lasts.
    """

    restored: Callable[[Mapping[Partition, Restored], float], None] = lambda _restored, _seconds: None
    unstable: Callable[[Mapping[Partition, int]], None] = lambda _offsets: None
    alive: Callable[[], None] = lambda: None


class Recovery:
    """Brings back partitions that were just assigned; runs inside the rebalance, and has a deadline for it.

    Args:
        properties: librdkafka properties of a consumer that reads committed records, with the worker's group.
        group: the group.
        topic: the state topic.
        within_s: longest time for one assignment.
        stop: ends the waiting.
        fencing: ends the transactions of workers that held the partitions before.
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
        fencing: Fencing,
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
        self._topic = topic
        self._within_s = within_s
        self._stop, self._events = stop, events
        self._offsets = GroupOffsets(self._properties, group=group, topic=topic, fencing=fencing)

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
        patience = Patience(f"the state topic {self._topic}", self._within_s, stop=self._stop, alive=self._events.alive)
        consumer = Consumer(self._properties, logger=logging.getLogger("vigil.librdkafka"))
        try:
            kept = self._with_state(consumer, partitions, patience)
            found = self._offsets.find(consumer, kept, patience)
        finally:
            consumer.close()
        back: dict[Partition, Restored] = {}
        for (topic, number), at in found.offsets.items():
            back[topic, number] = restore((topic, number), found.saved[number].get(topic, SavedPartition()), at)
            self._tell((topic, number), back[topic, number], at)
        seconds = time.monotonic() - began
        self._events.restored(back, seconds)
        starts = {partition: one.start for partition, one in back.items() if one.start is not None}
        behind = sum((found.offsets[each] or 0) - start for each, start in starts.items())
        if not found.stable:
            self._events.unstable({each: at for each, at in found.offsets.items() if at is not None})
            # Or else the client would ask Kafka where to start, and wait.
            starts = {each: OFFSET_BEGINNING if at is None else at for each, at in found.offsets.items()} | starts
        log.info(
            "windows restored",
            nodes=sum(one.nodes for one in back.values()),
            partitions=len(kept),
            records_to_replay=behind,
            seconds=round(seconds, 3),
        )
        return starts

    def _with_state(self, consumer: Consumer, partitions: Sequence[Partition], patience: Patience) -> list[Partition]:
        """Return the partitions that have a state partition; says which have none."""
        count = patience.until_done("list_topics", lambda: self._count(consumer))
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
