"""Outputs and consumer offsets in one Kafka transaction, with every error class of the transactional producer handled.

librdkafka sorts the errors of its transactional calls into three: *retriable* (call again), *abortable* (abort, then
publish again) and *fatal* (this producer is dead, most often fenced by a newer one). The rules are those of its manual,
"Transactional Producer"; the codes that mean "no longer a member of the group" are KIP-447's.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from streams.errors import StreamsError, WorkerFatal
from streams.kafka import Properties
from streams.stopping import StopRequest

__all__ = ["BatchAbandonedError", "Membership", "OutputRecord", "Publisher", "RecordTooLargeError"]

CALL_SECONDS = 5.0  # one wait inside a transactional call; the call is repeated, so this only bounds a stop request
FLUSH_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

NOT_A_MEMBER = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID})
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})

log = structlog.get_logger("vigil.publisher")

Headers = list[tuple[str, str | bytes | None]]


class OutputRecord(NamedTuple):
    """One record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers


class BatchAbandonedError(StreamsError):
    """The batch was not committed and never will be from here: its partitions are (or may be) another worker's now."""


class RecordTooLargeError(StreamsError):
    """The cluster does not take a record of this size: the transaction was aborted, publish smaller ones."""


class Membership(Protocol):
    """The consumer's side of a transaction."""

    def group_metadata(self) -> object | None:
        """Return what proves membership of the group right now, ``None`` when this worker is no member."""
        ...


class Publisher:
    """A transactional producer.

    Args:
        properties: librdkafka properties, ``transactional.id`` among them.
        stop: ends waiting for a Kafka that is away.
        count: told the end of each transaction: ``committed``, ``aborted`` or ``abandoned``.
    """

    def __init__(
        self, properties: Properties, *, stop: StopRequest, count: Callable[[str], None] = lambda _: None
    ) -> None:
        self._producer = Producer(
            {**properties, "on_delivery": self._on_delivery}, logger=logging.getLogger("vigil.librdkafka")
        )
        self._stop = stop
        self._count = count
        self._failed: KafkaError | None = None

    def open(self) -> None:
        """Fence every earlier producer of the same transactional id and finish its transactions.

        Waits for Kafka as long as it takes.

        Raises:
            BatchAbandonedError: asked to stop before Kafka answered.
            WorkerFatal: Kafka refuses, for good.
        """
        self._until_done(
            "init_transactions",
            lambda: self._producer.init_transactions(CALL_SECONDS),
            give_up=lambda: self._stop.requested,
        )

    def publish(
        self,
        records: Sequence[OutputRecord],
        offsets: Sequence[TopicPartition],
        membership: Membership,
    ) -> None:
        """Publish records and commit offsets, all or nothing; an aborted transaction is published again, unchanged.

        Args:
            records: outputs of one batch.
            offsets: next offset to read of each partition in the batch.
            membership: asked anew for every attempt, since the group's generation moves.

        Raises:
            BatchAbandonedError: no longer a member of the group, or asked to stop while Kafka is away.
            RecordTooLargeError: Kafka refuses a record for its size.
            WorkerFatal: fenced, or another error that this process cannot get over.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._attempt(records, offsets, membership)
            except _Abortable as failure:
                self._abort()
                self._raise_if_hopeless(failure.error)
                log.warning("transaction aborted, publishing the same batch again", error=failure.error.str())
                self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                self._count("committed")
                return

    def close(self) -> None:
        """Forget whatever is not delivered and end the client; use nothing of this object afterwards.

        A transaction is open only where Kafka went away; the next producer of the same id, or the broker, aborts it.
        """
        self._producer.purge()
        self._producer.poll(0)
        del self._producer  # the client ends with its last reference; its own close() would wait for Kafka

    def _attempt(
        self,
        records: Sequence[OutputRecord],
        offsets: Sequence[TopicPartition],
        membership: Membership,
    ) -> None:
        self._failed = None
        self._step(self._producer.begin_transaction)
        for record in records:
            self._produce(record)
        # Flushed first: a transaction on Apache Kafka then costs 6 ms; sent with records still in flight, 40-90 ms.
        while self._producer.flush(FLUSH_SECONDS) and self._failed is None:
            self._pause(0)
        if self._failed is not None:
            raise _Abortable(self._failed)
        metadata = membership.group_metadata()
        if metadata is None:
            # Without a member id the broker takes offsets from anybody (it must, for old clients): never send them.
            self._abort()
            self._count("abandoned")
            raise BatchAbandonedError("this worker is no longer a member of its group")
        self._until_done(
            "send_offsets_to_transaction",
            lambda: self._producer.send_offsets_to_transaction(list(offsets), metadata, CALL_SECONDS),
        )
        self._until_done("commit_transaction", lambda: self._producer.commit_transaction(CALL_SECONDS))

    def _produce(self, record: OutputRecord) -> None:
        while True:
            try:
                self._producer.produce(record.topic, record.value, record.key, headers=record.headers)
            except BufferError:  # the local queue is full: wait for deliveries
                self._producer.poll(0.1)
                if self._failed is not None:
                    raise _Abortable(self._failed) from None
            except KafkaException as error:
                raise _Abortable(error.args[0]) from error
            else:
                return

    def _abort(self) -> None:
        self._until_done("abort_transaction", lambda: self._producer.abort_transaction(CALL_SECONDS))
        self._count("aborted")

    def _until_done(self, name: str, call: Callable[[], object], *, give_up: Callable[[], bool] | None = None) -> None:
        """Call until it succeeds; a retriable error (Kafka is away, or slow) is no reason to end."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                self._step(call)
            except _Retriable as failure:
                log.warning("waiting for Kafka", call=name, error=failure.error.str())
                self._pause(pause, give_up)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                return

    def _pause(self, seconds: float, give_up: Callable[[], bool] | None = None) -> None:
        if self._stop.overdue if give_up is None else give_up():
            raise BatchAbandonedError("asked to stop while Kafka is away: nothing of the batch is committed")
        self._stop.pause(seconds)

    @staticmethod
    def _step(call: Callable[[], object]) -> None:
        """Make one transactional call; its error, if any, comes back as the class that librdkafka says it is."""
        try:
            call()
        except KafkaException as raised:
            error: KafkaError = raised.args[0]
            if error.fatal():
                raise WorkerFatal(_fatal_text(error)) from raised
            if error.txn_requires_abort():
                raise _Abortable(error) from raised
            if error.retriable() or error.code() == KafkaError._TIMED_OUT:  # noqa: SLF001 -- a public constant of the client
                raise _Retriable(error) from raised
            raise WorkerFatal(f"Kafka refuses the transaction: {error.str()} ({error.name()})") from raised

    def _raise_if_hopeless(self, error: KafkaError) -> None:
        """Tell the aborted transactions that must not be tried again as they are."""
        if error.code() in NOT_A_MEMBER:
            self._count("abandoned")
            raise BatchAbandonedError(f"this worker is no longer a member of its group: {error.str()}")
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            raise WorkerFatal(f"another worker runs under the same kafka.group_instance_id: {error.str()}")
        if error.code() in TOO_LARGE:
            raise RecordTooLargeError(error.str())

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and (self._failed is None or error.code() in TOO_LARGE):
            log.warning("a record was not delivered", topic=message.topic(), error=error.str())
            self._failed = error


class _Retriable(Exception):  # noqa: N818 -- private signals, not errors a caller sees
    def __init__(self, error: KafkaError) -> None:
        super().__init__(error)
        self.error = error


class _Abortable(_Retriable):
    """The transaction must be aborted before anything else."""


def _fatal_text(error: KafkaError) -> str:
    if error.code() in {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}:  # noqa: SLF001
        return (
            f"fenced: a newer worker publishes under the same transactional id, or the broker ended it: {error.str()}"
        )
    return f"Kafka's client cannot go on: {error.str()} ({error.name()})"
