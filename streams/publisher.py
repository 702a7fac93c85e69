"""Outputs and consumer offsets in one Kafka transaction, with every error class of the transactional producer handled.

What may follow which error is librdkafka's (see ``streams.calls``); the codes that mean "no longer a member of the
group" are KIP-447's.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, Protocol

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from streams.calls import AbortableError, FencedError, HungError, RetriableError, classified, within
from streams.errors import StreamsError, WorkerFatal
from streams.kafka import Properties
from streams.stopping import StopRequest

__all__ = ["BatchAbandonedError", "Membership", "OutputRecord", "Publisher", "RecordTooLargeError"]

CONNECT_SECONDS = 1.0
CALL_SECONDS = 5.0  # one wait inside a transactional call; the call is repeated, so this only bounds a stop request
HUNG_SECONDS = 2 * CALL_SECONDS
FLUSH_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

NOT_A_MEMBER = frozenset({KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID})
TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})

log = structlog.get_logger("vigil.publisher")

Headers = list[tuple[str, str | bytes | None]]


class OutputRecord(NamedTuple):
    """One record to publish; ``partition`` -1 for the one that the key falls on."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int = -1


class BatchAbandonedError(StreamsError):
    """This batch must not be published again from here: read on from what the group has committed."""


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
        properties: librdkafka properties, ``transactional.id`` and ``transaction.timeout.ms`` among them.
        stop: ends waiting for a Kafka that is away.
        count: told the end of each transaction: ``committed``, ``aborted``, ``abandoned`` or ``expired``.
        alive: called between attempts, however long Kafka is away: waiting is no standstill.
    """

    def __init__(
        self,
        properties: Properties,
        *,
        stop: StopRequest,
        count: Callable[[str], None] = lambda _: None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._properties = properties
        self._expires_s = float(properties.get("transaction.timeout.ms", 60_000)) / 1000
        self._stop = stop
        self._count = count
        self._alive = alive
        self._producer = self._make()
        self._opened = False

    def open(self) -> None:
        """Fence every earlier producer of the same transactional id and finish its transactions.

        Waits for Kafka as long as it takes.

        Raises:
            BatchAbandonedError: asked to stop before Kafka answered.
            WorkerFatal: Kafka refuses, for good.
        """
        self._connect()
        self._until_done(
            "init_transactions",
            lambda: self._producer.init_transactions(CALL_SECONDS),
            give_up=lambda: self._stop.requested,
        )
        self._opened = True

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
            BatchAbandonedError: no longer a member of the group; or asked to stop while Kafka is away; or the broker
                ended the transaction for its age, so that nobody here knows whether it was committed.
            RecordTooLargeError: Kafka refuses a record for its size.
            WorkerFatal: fenced by a newer worker, or another error that this process cannot get over.
        """
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                self._attempt(records, offsets, membership)
            except AbortableError as failure:
                self._abort()
                self._raise_if_hopeless(failure.error)
                log.warning("transaction aborted, publishing the same batch again", error=str(failure))
                self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except HungError as failure:
                # Nothing was committed, and a new producer fences the hanging one: publish again with that.
                log.warning("the producer hangs, going on with a new one", error=str(failure))
                self._replace()
            except FencedError as failure:
                self._raise_fenced(failure, time.monotonic() - began)
            else:
                self._count("committed")
                return

    def serve(self) -> None:
        """Pass on what the client has to log; call it where nothing is published for a while."""
        try:
            classified(lambda: self._producer.poll(0))
        except FencedError as failure:
            self._raise_fenced(failure, 0)

    def close(self) -> None:
        """Forget whatever is not delivered and end the client; use nothing of this object afterwards.

        A transaction is open only where Kafka went away; the next producer of the same id, or the broker, aborts it.
        """
        self._producer.purge()
        del self._producer  # the client ends with its last reference; its own close() would wait for Kafka

    def _connect(self) -> None:
        """Have a broker at hand when the coordinator is asked for: librdkafka would ask again after 500 ms only.

        Twice, since it closes the connection that it got the first list of brokers over.
        """
        try:
            for _ in range(2):
                self._producer.list_topics(timeout=CONNECT_SECONDS)
        except KafkaException as error:  # what is wrong, init_transactions says, and waits for
            log.debug("no broker yet", error=error.args[0].str())

    def _make(self) -> Producer:
        # No delivery callback: a record that is not delivered makes the transaction abortable with that record's error,
        # and the Python client mangles a fatal error that arrives while it runs callbacks.
        return Producer(dict(self._properties), logger=logging.getLogger("vigil.librdkafka"))

    def _attempt(
        self,
        records: Sequence[OutputRecord],
        offsets: Sequence[TopicPartition],
        membership: Membership,
    ) -> None:
        if not self._opened:
            self.open()
        producer = self._producer
        classified(producer.begin_transaction)
        for record in records:
            self._produce(record)
        # Flushed first: a transaction on Apache Kafka then costs 6 ms; sent with records still in flight, 40-90 ms.
        while classified(lambda: producer.flush(FLUSH_SECONDS)):
            self._pause(0)
        metadata = membership.group_metadata()
        if metadata is None:
            # Without a member id the broker takes offsets from anybody (it must, for old clients): never send them.
            self._abort()
            self._count("abandoned")
            raise BatchAbandonedError("this worker is no longer a member of its group")
        # The one call that ignores its timeout (librdkafka issues 5456 and 5511): it hangs when the broker that
        # coordinates the group went away.
        self._until_done(
            "send_offsets_to_transaction",
            lambda: within(
                HUNG_SECONDS,
                lambda: producer.send_offsets_to_transaction(list(offsets), metadata, CALL_SECONDS),
            ),
        )
        self._until_done("commit_transaction", lambda: producer.commit_transaction(CALL_SECONDS))

    def _produce(self, record: OutputRecord) -> None:
        while True:
            try:
                classified(
                    lambda: self._producer.produce(
                        record.topic, record.value, record.key, record.partition, headers=record.headers
                    )
                )
            except BufferError:  # the local queue is full: wait for deliveries
                classified(lambda: self._producer.poll(0.1))
                self._pause(0)
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
                classified(call)
            except RetriableError as failure:
                log.warning("waiting for Kafka", call=name, error=str(failure))
                self.serve()  # the client knows why: a refused password, a certificate
                self._pause(pause, give_up)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                return

    def _pause(self, seconds: float, give_up: Callable[[], bool] | None = None) -> None:
        if self._stop.overdue if give_up is None else give_up():
            raise BatchAbandonedError("asked to stop while Kafka is away")
        self._alive()
        self._stop.pause(seconds)

    def _replace(self) -> None:
        self._producer = self._make()
        self._opened = False

    def _raise_fenced(self, failure: FencedError, seconds: float) -> NoReturn:
        """Tell a producer fenced by a newer worker from one whose transaction the broker ended for its age.

        The broker cannot have ended a younger one. After an older one the next attempt opens a new producer, unless the
        consumer finds first that another worker of this name is in the group: then that ends this worker.
        """
        if seconds < self._expires_s:
            raise WorkerFatal(
                f"fenced: a newer worker publishes under the same transactional id, or ended its transaction: {failure}"
            ) from failure
        self._count("expired")
        self._replace()
        raise BatchAbandonedError(f"the transaction was open for {seconds:.0f} s and Kafka ended it: {failure}")

    def _raise_if_hopeless(self, error: KafkaError) -> None:
        """Tell the aborted transactions that must not be tried again as they are."""
        if error.code() in NOT_A_MEMBER:
            self._count("abandoned")
            raise BatchAbandonedError(f"this worker is no longer a member of its group: {error.str()}")
        if error.code() == KafkaError.FENCED_INSTANCE_ID:
            raise WorkerFatal(f"another worker runs under the same kafka.group_instance_id: {error.str()}")
        if error.code() in TOO_LARGE:
            raise RecordTooLargeError(error.str())
