"""Reads back, from Kafka alone, what a partition's windows were: its state partition, and where its group goes on.

Where a group goes on is asked of Kafka, which does not answer while a transaction over the offsets is open. Apache
Kafka can lose the end of one: a broker that crashes before it has told the group, and finds partitions without a leader
when it is back, counts the transaction as complete (4.3.1, ``TransactionMarkerChannelManager``); then it never answers.
The state topic knows too: a progress record is written in every transaction, before the offsets are.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from streams.changelog import Restored
from streams.fencing import Fencing
from streams.kafka import NOT_SHARED, Properties
from streams.patience import Patience
from streams.source import Partition
from streams.state import Progress, SavedPartition, progress_key
from streams.state_reader import open_writers, read_state
from streams.stopping import StopRequest

__all__ = ["UNSTABLE", "Recovery", "RecoveryEvents", "committed_offsets"]

CALL_SECONDS: Final = 5.0
STABLE_SECONDS: Final = 2.0  # how long Kafka may take to say where a group goes on, before the state topic is asked
TOPIC_CHECKS: Final = 3  # created by the same command as the others, it may be known a moment later
TOPIC_PAUSE_SECONDS: Final = 1.0
UNDECIDED: Final = frozenset(
    {KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT}  # noqa: SLF001 -- a public constant of the client
)
UNSTABLE: Final = (
    "Kafka says that a transaction over the group's offsets is open; if it is one that Kafka will never end, "
    "`kafka-transactions.sh --bootstrap-server HOST:PORT find-hanging --broker-id ID --max-transaction-timeout 1` "
    "finds it and `... abort --topic __consumer_offsets --partition N --start-offset N` ends it "
    "(docs/operations/recovery.md says what that may cost)"
)

log = structlog.get_logger("vigil.recovery")

Restore = Callable[[Partition, SavedPartition, int | None], Restored]
Committed = dict[Partition, int | None]


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
        self._group, self._topic = group, topic
        self._within_s = within_s
        self._stop, self._fencing, self._events = stop, fencing, events

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
            committed, saved, stable = self._found(consumer, kept, patience)
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
        behind = sum((committed[each] or 0) - start for each, start in starts.items())
        if not stable:  # or else the client would ask Kafka where to start, and wait
            starts = {each: OFFSET_BEGINNING if at is None else at for each, at in committed.items()} | starts
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

    def _found(
        self, consumer: Consumer, partitions: Sequence[Partition], patience: Patience
    ) -> tuple[Committed, dict[int, dict[str, SavedPartition]], bool]:
        """Return where the group goes on, what the state topic holds, and whether Kafka said the former."""
        while True:
            stable = patience.until_done("committed", lambda: committed_offsets(consumer, partitions, STABLE_SECONDS))
            if stable is not None:
                wanted: dict[int, list[str]] = {number: [] for _, number in partitions}
                for (topic, number), offset in stable.items():
                    if offset:
                        wanted[number].append(topic)
                saved, _ = read_state(consumer, self._topic, self._group, wanted, patience)
                return stable, saved, True
            found = self._asked_of_state(consumer, partitions, patience)
            if found is not None:
                return *found, False
            log.warning("waiting for Kafka", call="committed", error=patience.obstacle or "no answer")
            patience.pause("committed")

    def _asked_of_state(
        self, consumer: Consumer, partitions: Sequence[Partition], patience: Patience
    ) -> tuple[Committed, dict[int, dict[str, SavedPartition]]] | None:
        """Find out from the state topic what is committed; ``None`` while that is not decided.

        Whoever sent offsets to a transaction had its progress records in the state partition before (it flushes). So
        when no transaction is open over the state partition from here on, the one over the offsets has ended there, and
        the newest progress record says how.
        """
        loose = Consumer(
            {**self._properties, "isolation.level": "read_uncommitted"}, logger=logging.getLogger("vigil.librdkafka")
        )
        try:
            old = patience.until_done("committed", lambda: committed_offsets(loose, partitions, CALL_SECONDS))
            if old is None:
                return None
            patience.obstacle = UNSTABLE
            nothing: dict[int, list[str]] = {number: [] for _, number in partitions}
            ends = {number: self._end(loose, number, patience) for number in nothing}
            saved, stops = read_state(consumer, self._topic, self._group, nothing, patience)
            if any(stops[number] < end for number, end in ends.items()):
                self._end_transactions(loose, {each: (stops[each], ends[each]) for each in ends}, partitions, patience)
                return None
        finally:
            loose.close()
        found = _decided(old, saved)
        if found is not None:
            changed = {each: offset for each, offset in found.items() if offset is not None}
            moved = {f"{topic}[{n}]": at for (topic, n), at in changed.items() if at != old[topic, n]}
            log.warning(
                "Kafka does not say where the group goes on: a transaction over its offsets did not end; "
                "going on from the state topic",
                offsets=moved,
            )
            self._events.unstable(changed)
        return None if found is None else (found, saved)

    def _end_transactions(
        self,
        loose: Consumer,
        spans: Mapping[int, tuple[int, int]],
        partitions: Sequence[Partition],
        patience: Patience,
    ) -> None:
        """End the transactions that workers which held these partitions left open over their state."""
        keys = {n: [progress_key(self._group, topic) for topic, own in partitions if own == n] for n in spans}
        for name in sorted(open_writers(loose, self._topic, spans, keys, patience)):
            self._fencing.end(name, patience)

    def _end(self, consumer: Consumer, number: int, patience: Patience) -> int:
        """Ask the partition's leader for its end: unlike what a fetch tells, it is never one from before a failover."""
        _, end = patience.until_done(
            "watermarks",
            lambda: consumer.get_watermark_offsets(TopicPartition(self._topic, number), timeout=CALL_SECONDS),
        )
        return int(end)

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


def committed_offsets(consumer: Consumer, partitions: Sequence[Partition], timeout: float) -> Committed | None:
    """Ask where a consumer's group goes on.

    Args:
        consumer: of the group; it need not be a member.
        partitions: which.
        timeout: seconds.

    Returns:
        By partition, ``None`` where nothing was ever committed; or ``None`` altogether when there was no answer in
        time: a transaction over these offsets is open, or Kafka is away.

    Raises:
        KafkaException: Kafka refuses.
    """
    if not partitions:
        return {}
    try:
        found = consumer.committed([TopicPartition(*each) for each in partitions], timeout=timeout)
    except KafkaException as error:
        if error.args[0].code() in UNDECIDED:
            return None
        raise
    failed = [each.error for each in found if each.error is not None]
    if any(error.code() in UNDECIDED for error in failed):
        return None
    if failed:
        raise KafkaException(failed[0])
    return {(each.topic, each.partition): each.offset if each.offset >= 0 else None for each in found}


def _decided(old: Committed, saved: Mapping[int, Mapping[str, SavedPartition]]) -> Committed | None:
    """Return what the progress records say is committed; ``None`` where they are older than what Kafka once said."""
    found: Committed = {}
    for (topic, number), before in old.items():
        newest = _next(saved[number].get(topic, SavedPartition()))
        if (newest is None and before is not None) or (newest or 0) < (before or 0):
            return None  # not every transaction so far kept its progress
        found[topic, number] = newest
    return found


def _next(saved: SavedPartition) -> int | None:
    """Return the offset that was committed with the newest progress record, ``None`` where there is none to read."""
    if saved.progress is None:
        return None
    try:
        return msgspec.json.decode(saved.progress.value, type=Progress).next
    except msgspec.DecodeError:
        return None
