"""Records of a batch, as columns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message
from numpy.typing import NDArray

__all__ = ["Partition", "Records", "by_topic"]

Partition = tuple[str, int]
Envelope = tuple[tuple[tuple[str, bytes | None], ...], int | None]


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one topic, in the order read (within a partition: log order).

    Attributes:
        topic: where they come from.
        partitions: int32 (n,).
        offsets: int64 (n,).
        keys: n keys as stored.
        values: n values as stored, ``None`` for a tombstone.
        envelope: gives headers and Kafka's timestamp (milliseconds, ``None`` without one) of the record at an index;
            only dead letters need them.
    """

    topic: str
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    keys: list[bytes | None]
    values: list[bytes | None]
    envelope: Callable[[int], Envelope] = lambda _: ((), None)

    def __len__(self) -> int:
        return len(self.keys)

    def ends(self) -> dict[Partition, int]:
        """Return the offset after the last record of each partition."""
        numbers = np.unique(self.partitions).tolist()
        return {(self.topic, number): int(self.offsets[self.partitions == number][-1]) + 1 for number in numbers}

    def where(self, mask: NDArray[np.bool_]) -> "Records":
        """Choose records, bool (n,)."""
        if mask.all():
            return self
        index = np.flatnonzero(mask).tolist()
        return Records(
            self.topic,
            self.partitions[mask],
            self.offsets[mask],
            [self.keys[i] for i in index],
            [self.values[i] for i in index],
            lambda chosen: self.envelope(index[chosen]),
        )


def by_topic(messages: list[Message]) -> list[Records]:
    """Turn messages without errors into columns, a topic at a time, in the order read."""
    topics = [message.topic() for message in messages]
    names = dict.fromkeys(topics)
    if len(names) <= 1:
        return [_records(str(topic), messages) for topic in names]
    return [
        _records(str(name), [message for message, topic in zip(messages, topics, strict=True) if topic == name])
        for name in names
    ]


def _records(topic: str, messages: list[Message]) -> Records:
    return Records(
        topic,
        np.fromiter((message.partition() for message in messages), dtype=np.int32, count=len(messages)),
        np.fromiter((message.offset() for message in messages), dtype=np.int64, count=len(messages)),
        [message.key() for message in messages],
        [message.value() for message in messages],
        lambda index: _envelope(messages[index]),
    )


def _envelope(message: Message) -> Envelope:
    kind, timestamp = message.timestamp()
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])
    return tuple(headers), None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp
