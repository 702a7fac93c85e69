"""Waiting for Kafka inside a rebalance: calls are repeated until they succeed, up to a deadline or a stop request."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

from streams.errors import WorkerFatal
from streams.publisher import BatchAbandonedError
from streams.stopping import StopRequest

__all__ = ["Patience"]

PAUSE_SECONDS: Final = 0.2

AWAY: Final = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})  # noqa: SLF001 -- as documented
"""No broker answers: there is no group either, and nobody to take the partitions away."""

REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)

log = structlog.get_logger("vigil.recovery")

T = TypeVar("T")


class Patience:
    """One deadline for everything that is done for an assignment; time without any broker does not count.

    Args:
        what: what is being read, for the messages.
        within_s: from now on.
        stop: ends the waiting.
        alive: called now and then while it lasts.
    """

    def __init__(self, what: str, within_s: float, *, stop: StopRequest, alive: Callable[[], None]) -> None:
        self._what, self._within_s = what, within_s
        self._stop, self._alive = stop, alive
        self._looked = time.monotonic()
        self._deadline = self._looked + within_s
        self.obstacle = ""
        """Why it takes so long, where that is known: part of the last message."""

    def until_done(self, name: str, call: Callable[[], T]) -> T:
        """Call until it succeeds.

        Raises:
            WorkerFatal: Kafka refuses, or did not answer in time.
            BatchAbandonedError: asked to stop meanwhile.
        """
        while True:
            try:
                return call()
            except KafkaException as error:
                self.check_error(name, error.args[0])
                self.pause(name)

    def check_error(self, call: str, error: KafkaError) -> None:
        """Tell an error that may pass, and is logged, from one that will not, which is raised as ``WorkerFatal``."""
        if error.fatal() or error.code() in REFUSED:
            raise WorkerFatal(f"Kafka refuses {self._what}: {call}: {error.str()} ({error.name()})")
        log.warning("waiting for Kafka", call=call, error=error.str())
        if error.code() in AWAY:
            self._deadline += time.monotonic() - self._looked
        self.check(call)

    def pause(self, call: str) -> None:
        """Wait a moment before another attempt; raises as ``check`` does."""
        self.check(call)
        self._stop.pause(PAUSE_SECONDS)

    def check(self, call: str) -> None:
        """Raise where nothing may be begun any more: ``WorkerFatal`` at the deadline, else ``BatchAbandonedError``."""
        self._alive()
        self._looked = time.monotonic()
        if self._stop.requested:
            raise BatchAbandonedError("asked to stop while windows are restored")
        if self._looked > self._deadline:
            why = f"; {self.obstacle}" if self.obstacle else ""
            raise WorkerFatal(
                f"{call}: windows could not be restored within {self._within_s:g} s, "
                f"half of kafka.max_poll_interval_ms{why}"
            )
