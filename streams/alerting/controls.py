"""What people said about alerts: read whole from its topic, and kept current."""

import time
from collections.abc import Iterator
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from detectors.alerts.feedback import levels
from schemas.controls import Acknowledgement, Control, Feedback, Silence, control_key, decode_control, matches
from schemas.errors import UNREADABLE
from schemas.outputs import Alert
from streams.config import KafkaConfig
from streams.kafka import client_properties

__all__ = ["Controls", "ControlsReader"]

log = structlog.get_logger("vigil.alerts")

READ_MOST: Final = 1_000


class Controls:
    """The newest of each key. Pure."""

    def __init__(self) -> None:
        self._all: dict[str, Control] = {}
        self.version = 0
        """Grows with every record."""

    def put(self, key: str, control: Control | None) -> None:
        """Take in a record; ``None`` takes it back."""
        self.version += 1
        self._all.pop(key, None)
        if control is not None:
            self._all[key] = control

    def all(self) -> dict[str, Control]:
        """Return the newest of each key."""
        return dict(self._all)

    def silences(self) -> Iterator[Silence]:
        """Give the silences, whether they hold now or not."""
        return (one for one in self._all.values() if isinstance(one, Silence))

    def silence_of(self, alert: Alert, now_ms: int) -> Silence | None:
        """Return the silence that holds for an alert at a time of the wall clock, the one that ends last."""
        held = [one for one in self.silences() if matches(one, alert, now_ms)]
        return max(held, key=lambda one: one.ends_ms, default=None)

    def acknowledgements(self) -> Iterator[Acknowledgement]:
        """Give the newest acknowledgement of each alert."""
        return (one for one in self._all.values() if isinstance(one, Acknowledgement))

    def feedback(self) -> Iterator[Feedback]:
        """Give the newest feedback on each alert."""
        return (one for one in self._all.values() if isinstance(one, Feedback))

    def levels(self) -> dict[str, float]:
        """Return the levels that feedback gives nodes."""
        return levels(self.feedback())


class ControlsReader:
    """Follows the topic, without belonging to a group. For one thread.

    Args:
        kafka: where, and as whom.
        topic: of the controls.
    """

    def __init__(self, kafka: KafkaConfig, topic: str) -> None:
        self._topic = topic
        self.controls = Controls()
        self._consumer = Consumer(
            {
                **client_properties(kafka, "consumer"),
                "group.id": f"{kafka.group_id}.controls",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
            }
        )

    def read_all(self, *, timeout_s: float = 60.0) -> Controls:
        """Read the topic from its beginning to its end.

        Raises:
            KafkaException: it cannot be read, or not in time.
        """
        known = self._consumer.list_topics(self._topic, timeout=timeout_s).topics[self._topic]
        if known.error is not None:
            raise KafkaException(known.error)
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in known.partitions])
        left, deadline = set(known.partitions), time.monotonic() + timeout_s
        while left:
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 -- a public constant
            left -= self._read(0.1)[1]
        return self.controls

    def poll(self) -> bool:
        """Take in what is new, without waiting; tells whether anything is."""
        return self._read(0.0)[0] > 0

    def close(self) -> None:
        """Let go of Kafka."""
        self._consumer.close()

    def _read(self, wait_s: float) -> tuple[int, set[int]]:
        """Read some; returns how many records there were, and the partitions whose end was reached."""
        count, ended = 0, set[int]()
        for message in self._consumer.consume(READ_MOST, wait_s):
            error, number = message.error(), message.partition()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF and number is not None:  # noqa: SLF001 -- a public constant
                    ended.add(number)
                continue
            count += 1
            self._take(bytes(message.key() or b"").decode(errors="replace"), message.value())
        return count, ended

    def _take(self, key: str, value: bytes | str | None) -> None:
        if value is None:
            self.controls.put(key, None)
            return
        try:
            control = decode_control(value if isinstance(value, bytes) else value.encode())
        except UNREADABLE as error:
            log.warning("no control of alerts, passed over", topic=self._topic, key=key, error=str(error))
            return
        self.controls.put(control_key(control), control)
