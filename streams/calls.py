"""One call of the transactional producer: its error as the class that librdkafka says it is, and an end to hanging.

librdkafka sorts the errors of its transactional calls into three: *retriable* (call again), *abortable* (abort, then
publish again) and *fatal* (this producer is dead, most often fenced by a newer one). The rules are those of its manual,
"Transactional Producer".
"""

import threading
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import NoReturn, TypeVar

from confluent_kafka import KafkaError, KafkaException

from streams.errors import StreamsError, WorkerFatal

__all__ = ["AbortableError", "FencedError", "HungError", "RetriableError", "classified", "within"]

T = TypeVar("T")

FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 -- public constants of the client
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_TXN_STATE,  # the answer to a commit of a transaction that the broker has aborted meanwhile
    }
)


class RetriableError(StreamsError):
    """Kafka is away or slow: the same call may be made again."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.error = error


class AbortableError(StreamsError):
    """The transaction must be aborted before anything else."""

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.error = error


class FencedError(StreamsError):
    """A newer producer of the same transactional id exists, or the broker ended the transaction for taking too long."""


class HungError(StreamsError):
    """A call did not come back."""


def classified(call: Callable[[], T]) -> T:
    """Make one call of the producer.

    Raises:
        RetriableError, AbortableError, FencedError: as librdkafka says.
        WorkerFatal: any other error; this process cannot get over it.
    """
    try:
        return call()
    except KafkaException as raised:
        error: KafkaError = raised.args[0]
        if error.fatal():
            if error.code() in FENCED:
                raise FencedError(error.str()) from raised
            raise WorkerFatal(f"Kafka's client cannot go on: {error.str()} ({error.name()})") from raised
        if error.txn_requires_abort():
            raise AbortableError(error) from raised
        if error.retriable() or error.code() == KafkaError._TIMED_OUT:  # noqa: SLF001 -- a public constant of the client
            raise RetriableError(error) from raised
        raise WorkerFatal(f"Kafka refuses the transaction: {error.str()} ({error.name()})") from raised


def within(seconds: float, call: Callable[[], T]) -> T:
    """Make a call that may never come back, on a thread of its own.

    Raises:
        HungError: it did not come back in time. The thread stays behind; what it does later must not matter.
    """
    outcome: SimpleQueue[Callable[[], T]] = SimpleQueue()

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 -- raised again in the calling thread
            outcome.put(partial(_raise, error))
        else:
            outcome.put(lambda: result)

    threading.Thread(target=work, name="bounded-call", daemon=True).start()
    try:
        answer = outcome.get(timeout=seconds)
    except Empty:
        raise HungError(f"no answer within {seconds:g} s") from None
    return answer()


def _raise(error: BaseException) -> NoReturn:
    raise error
