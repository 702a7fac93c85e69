"""Where a consumer group goes on, asked of Kafka and, where it does not say, of the state topic.

Where a group goes on is asked of Kafka, which does not answer while a transaction over the offsets is open. Apache
Kafka can lose the end of one: a broker that crashes before it has told the group, and finds partitions without a leader
when it is back, counts the transaction as complete (4.3.1, ``TransactionMarkerChannelManager``); then it never answers.
The state topic knows too: a progress record is written in every transaction, before the offsets are.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import UNREADABLE
from streams.fencing import Fencing
from streams.kafka import Properties
from streams.patience import Patience
from streams.source import Partition
from streams.state import Progress, SavedPartition, progress_key
from streams.state_reader import open_writers, read_state

__all__ = ["UNSTABLE", "Found", "GroupOffsets", "committed_offsets"]

CALL_SECONDS: Final = 5.0
STABLE_SECONDS: Final = 2.0  # how long Kafka may take to say where a group goes on, before the state topic is asked
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

Committed = dict[Partition, int | None]


@dataclass(frozen=True, slots=True)
class Found:
    """Where a group goes on.

    Attributes:
        offsets: by partition, ``None`` where nothing was ever committed.
        saved: what the state topic holds, by number and source topic.
        stable: whether Kafka said so; else the offsets are to be committed again, or the next reader has to wait too.
    """

    offsets: Committed
    saved: dict[int, dict[str, SavedPartition]]
    stable: bool


class GroupOffsets:
    """Finds out where a group goes on in partitions that were just assigned.

    Args:
        properties: librdkafka properties of a consumer of the group.
        group: the group.
        topic: the state topic.
        fencing: ends the transactions of workers that held the partitions before.
    """

    def __init__(self, properties: Properties, *, group: str, topic: str, fencing: Fencing) -> None:
        self._properties = properties
        self._group, self._topic, self._fencing = group, topic, fencing

    def find(self, consumer: Consumer, partitions: Sequence[Partition], patience: Patience) -> Found:
        """Find out, however long Kafka takes to decide.

        Args:
            consumer: of committed records, of the group; it is assigned here.
            partitions: which.
            patience: how long.

        Raises:
            WorkerFatal: Kafka refuses, or did not decide in time.
            BatchAbandonedError: asked to stop meanwhile.
        """
        while True:
            stable = patience.until_done("committed", lambda: committed_offsets(consumer, partitions, STABLE_SECONDS))
            if stable is not None:
                wanted: dict[int, list[str]] = {number: [] for _, number in partitions}
                for (topic, number), offset in stable.items():
                    if offset:
                        wanted[number].append(topic)
                saved, _ = read_state(consumer, self._topic, self._group, wanted, patience)
                return Found(stable, saved, stable=True)
            found = self._asked_of_state(consumer, partitions, patience)
            if found is not None:
                return found
            log.warning("waiting for Kafka", call="committed", error=patience.obstacle or "no answer")
            patience.pause("committed")

    def _asked_of_state(self, consumer: Consumer, partitions: Sequence[Partition], patience: Patience) -> Found | None:
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
        if found is None:
            return None
        log.warning(
            "Kafka does not say where the group goes on: a transaction over its offsets did not end; "
            "going on from the state topic",
            offsets={f"{topic}[{n}]": at for (topic, n), at in found.items() if at != old[topic, n]},
        )
        return Found(found, saved, stable=False)

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
    except UNREADABLE:
        return None
