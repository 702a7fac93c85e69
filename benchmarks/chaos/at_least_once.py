"""A worker that publishes and commits at least once: ``python -m benchmarks.chaos.at_least_once``, as ``vigil worker``.

For comparison only: the chaos run must see what it does wrong, and what exactly-once costs is measured against it.
"""

import sys
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaException, TopicPartition

from streams.calls import classified
from streams.kafka import Properties
from streams.publisher import BatchAbandonedError, Membership, OutputRecord, Publisher
from streams.source import Source
from streams.stopping import StopRequest
from streams.worker import Worker

__all__ = ["AtLeastOncePublisher"]

FLUSH_SECONDS = 1.0


class AtLeastOncePublisher(Publisher):
    """Publishes first and commits the consumer's offsets then, as a worker without transactions does."""

    def __init__(
        self,
        properties: Properties,
        *,
        stop: StopRequest,
        count: Callable[[str], None] = lambda _: None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        plain = {name: value for name, value in properties.items() if not name.startswith("transaction")}
        super().__init__({**plain, "enable.idempotence": True}, stop=stop, count=count, alive=alive)

    def open(self) -> None:
        """Fence nobody."""
        self._opened = True

    def publish(
        self, records: Sequence[OutputRecord], offsets: Sequence[TopicPartition], membership: Membership
    ) -> None:
        """Publish, wait for the brokers, and commit. Raises ``BatchAbandonedError`` when the group does not take it."""
        for record in records:
            self._produce(record)
        while classified(lambda: self._producer.flush(FLUSH_SECONDS)):
            self._pause(0)
        if not isinstance(membership, Source):
            raise TypeError("at-least-once commits with the worker's own consumer")
        try:
            membership.commit(offsets)
        except KafkaException as error:
            raise BatchAbandonedError(error.args[0].str()) from error
        self._count("committed")


if __name__ == "__main__":
    from vigil.__main__ import main

    Worker.publisher_class = AtLeastOncePublisher
    sys.argv = [sys.argv[0], "worker", *sys.argv[1:]]
    main()
