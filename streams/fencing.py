"""Ends transactions that dead workers left open, without waiting until the broker does."""

from collections.abc import Callable
from typing import Final

import structlog
from confluent_kafka import KafkaException, Producer

from streams.calls import RetriableError, classified
from streams.errors import StreamsError
from streams.patience import Patience

__all__ = ["Fencing"]

CALL_SECONDS: Final = 5.0

log = structlog.get_logger("vigil.recovery")


class Fencing:
    """Opens a producer under another worker's transactional id: what that one left open is aborted at once.

    Only for a worker whose partitions are ours now: the group has given it up, so it may commit nothing any more; if it
    lives on it ends as fenced, and is started again.

    Args:
        own: this worker's transactional id, which was opened when it started.
        producer: makes a producer for an id.
    """

    def __init__(self, own: str, producer: Callable[[str], Producer]) -> None:
        self._own, self._producer = own, producer

    def end(self, transactional_id: str, patience: Patience) -> None:
        """End the transaction of a worker; does nothing where that is this one."""
        if transactional_id == self._own:
            return
        log.warning("ending the transaction that a worker left open", transactional_id=transactional_id)
        producer = self._producer(transactional_id)
        while True:
            try:
                classified(lambda: producer.init_transactions(CALL_SECONDS))
            except RetriableError:
                patience.pause("init_transactions")
            except (StreamsError, KafkaException) as error:  # somebody else was faster: then it has ended too
                log.warning("not ended here", transactional_id=transactional_id, error=str(error))
                return
            else:
                return
