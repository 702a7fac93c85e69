"""Batches of records from Kafka: adaptive reading, membership, lag."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.errors import WorkerFatal
from streams.kafka import Properties
from streams.records import Partition, Records, by_topic
from streams.statistics import SourceState, read_statistics
from streams.stopping import StopRequest

__all__ = ["Partition", "Records", "Source"]

COMMITTED_SECONDS = 5.0
COMMITTED_PAUSE_SECONDS = 0.5
UNSTABLE_SECONDS = 60.0

log = structlog.get_logger("vigil.source")

# The client goes on by itself after these; they are news for the log, not for the worker.
TRANSIENT = frozenset(
    {
        KafkaError._PARTITION_EOF,  # noqa: SLF001 -- public constants of the client
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


class Source:
    """A consumer group member. Rebalance callbacks run inside ``read``, so a batch in work is never surprised by one.

    Args:
        properties: librdkafka properties.
        topics: topics to read.
        on_assigned: told of partitions that are now this worker's, before a record of theirs is read; returns the
            offset to start from for those that do not start from the committed one.
        on_revoked: told of partitions that go to another worker; ``True`` when they are already lost.
    """

    def __init__(
        self,
        properties: Properties,
        topics: Sequence[str],
        *,
        on_assigned: Callable[[list[Partition]], Mapping[Partition, int]],
        on_revoked: Callable[[list[Partition], bool], None],
    ) -> None:
        self._topics = list(topics)
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._assigned: set[Partition] = set()
        self._revoked: set[Partition] = set()
        self._starts: dict[Partition, int] = {}
        self._refused = ""
        self.state = SourceState(broker_up=False, lag={}, at=0.0)
        self._consumer = Consumer(
            {**properties, "stats_cb": self._on_statistics, "error_cb": self._on_error},
            logger=logging.getLogger("vigil.librdkafka"),
        )

    def join(self) -> None:
        """Ask for partitions; they arrive during ``read``."""
        self._consumer.subscribe(
            self._topics,
            on_assign=self._assign,
            on_revoke=lambda _, partitions: self._revoke(_pairs(partitions), lost=False),
            on_lost=lambda _, partitions: self._revoke(_pairs(partitions), lost=True),
        )

    def missing_topics(self, others: Iterable[str] = (), *, timeout: float = 5.0) -> list[str] | None:
        """List the topics to read, and others, that do not exist; ``None`` when no broker answered in time.

        Raises:
            WorkerFatal: the brokers refuse user or password; a file that holds them is read again at the next start.
        """
        try:
            known = self._consumer.list_topics(timeout=timeout).topics
        except KafkaException as error:
            log.warning("waiting for Kafka", error=error.args[0].str())
            self._consumer.poll(0)  # the client knows why
            if self._refused:
                raise WorkerFatal(f"Kafka refuses user or password: {self._refused}") from error
            return None
        if not self.state.at:  # the client says nothing about itself yet, and a broker has just answered
            self.state = replace(self.state, broker_up=True)
        return [topic for topic in (*self._topics, *others) if topic not in known or known[topic].error is not None]

    def count_partitions(self, topic: str, *, timeout: float = 5.0) -> int | None:
        """Count the partitions of a topic that exists; ``None`` when no broker answered in time."""
        try:
            return len(self._consumer.list_topics(topic, timeout=timeout).topics[topic].partitions) or None
        except KafkaException as error:
            log.warning("waiting for Kafka", error=error.args[0].str())
            return None

    def read(self, most: int, *, wait: float, linger: float) -> list[Records]:
        """Read what is there: wait up to ``wait`` for a first record, then gather for ``linger`` or until ``most``.

        A worker that is behind gets ``most`` records at once, an idle one a single record ``linger`` after it came.

        Raises:
            WorkerFatal: the client cannot go on (fenced by a worker of the same name, not authorised, ...).
        """
        self._revoked.clear()
        self._starts.clear()
        try:
            messages = self._consumer.consume(1, wait)
            if messages and most > 1:
                messages += self._consumer.consume(most - 1, linger)
        except KafkaException as error:  # how the client reports what is fatal
            raise WorkerFatal(_fatal_text(error.args[0])) from error
        good = [message for message in messages if message.error() is None]
        if len(good) != len(messages):
            _check(message.error() for message in messages)
        return by_topic(self._without_revoked(good) if self._revoked else good)

    def group_metadata(self) -> object | None:
        """Proof of membership for a transaction, ``None`` when this worker is no member (see ``Membership``)."""
        metadata = self._consumer.consumer_group_metadata()
        return metadata if self._consumer.memberid() else None

    def commit(self, offsets: Sequence[TopicPartition]) -> None:
        """Commit outside of a transaction: for publishing at least once, which a worker does not.

        Raises:
            KafkaException: the group does not take it, or did not answer.
        """
        self._consumer.commit(offsets=list(offsets), asynchronous=False)

    def rewind_to_committed(
        self, partitions: Mapping[Partition, int], *, stop: StopRequest, alive: Callable[[], None] = lambda: None
    ) -> bool:
        """Read on from what the group has committed, in the partitions that are still this worker's.

        Waits while Kafka is away, or a transaction over these partitions is still open.

        Args:
            partitions: which, and where to go on where nothing is committed yet.
            stop: ends the waiting.
            alive: called between attempts.

        Returns:
            False when Kafka was there for a minute and did not say: it waits for a transaction that does not end.
        """
        mine = [TopicPartition(*each) for each in partitions if each in self._assigned]
        waiting_since: float | None = None
        while mine and not stop.requested:
            try:
                committed = self._consumer.committed(mine, timeout=COMMITTED_SECONDS)
                if failed := [each.error for each in committed if each.error is not None]:
                    raise KafkaException(failed[0])  # noqa: TRY301 -- as if it had come for all of them
            except KafkaException as error:
                log.warning("waiting for Kafka", call="committed", error=error.args[0].str())
                now = time.monotonic()
                waiting_since = (waiting_since or now) if self.state.broker_up else None
                if waiting_since is not None and now - waiting_since > UNSTABLE_SECONDS:
                    return False
                alive()
                stop.pause(COMMITTED_PAUSE_SECONDS)
                continue
            found = {(each.topic, each.partition): each.offset for each in committed}
            self.rewind({each: at if at >= 0 else partitions[each] for each, at in found.items()})
            break
        return True

    def rewind(self, offsets: Mapping[Partition, int]) -> None:
        """Read on from these offsets in the partitions that are still this worker's."""
        for (topic, partition), offset in offsets.items():
            if (topic, partition) in self._assigned:
                try:
                    self._consumer.seek(TopicPartition(topic, partition, offset))
                except KafkaException as error:
                    raise WorkerFatal(f"cannot read {topic} [{partition}] again from {offset}: {error}") from error

    def close(self) -> None:
        """Leave the group (a static member only goes silent, so that its restart moves nothing)."""
        self._consumer.close()

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        pairs = _pairs(partitions)
        self._assigned.update(pairs)
        starts = self._on_assigned(pairs)
        self._starts.update(starts)
        if starts:
            for each in partitions:
                each.offset = starts.get((each.topic, each.partition), each.offset)
            consumer.incremental_assign(partitions)

    def _revoke(self, partitions: list[Partition], *, lost: bool) -> None:
        self._assigned.difference_update(partitions)
        self._revoked.update(partitions)
        for partition in partitions:
            self._starts.pop(partition, None)
        self._on_revoked(partitions, lost)

    def _without_revoked(self, messages: list[Message]) -> list[Message]:
        """Drop records whose partition went away while the batch was gathered: they are another worker's to score.

        A partition that already came back is read from where it was assigned to start, or else from the first record
        dropped, which is where it was committed.
        """
        kept, first = [], dict[Partition, int]()
        for message in messages:
            partition = (str(message.topic()), int(message.partition() or 0))
            if partition not in self._revoked:
                kept.append(message)
            else:
                first[partition] = min(first.get(partition, message.offset() or 0), message.offset() or 0)
        self.rewind(first | {each: start for each, start in self._starts.items() if each in first})
        return kept

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self.state = SourceState(broker_up=False, lag=self.state.lag, at=time.monotonic())
        if error.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001
            self._refused = error.str()
        log.warning("Kafka client", error=error.str(), code=error.name())

    def _on_statistics(self, text: str) -> None:
        self.state = read_statistics(text, time.monotonic())


def _check(errors: Iterable[KafkaError | None]) -> None:
    for error in errors:
        if error is None:
            continue
        if error.fatal() or error.code() == KafkaError.FENCED_INSTANCE_ID:
            raise WorkerFatal(_fatal_text(error))
        if error.code() not in TRANSIENT and not error.retriable():
            raise WorkerFatal(f"Kafka refuses to be read: {error.str()} ({error.name()})")
        log.warning("reading", error=error.str(), code=error.name())


def _fatal_text(error: KafkaError) -> str:
    return f"Kafka's client cannot go on: {error.str()} ({error.name()})"


def _pairs(partitions: Iterable[TopicPartition]) -> list[Partition]:
    return [(each.topic, each.partition) for each in partitions]
