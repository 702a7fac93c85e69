"""What the broker itself wrote down about a consumer group: one generation a rebalance, in `__consumer_offsets`."""

import struct
from functools import reduce
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from benchmarks.chaos.servers import ServerError

__all__ = ["generations"]

OFFSETS: Final = "__consumer_offsets"
GROUP_METADATA: Final = 2  # version of the keys that stand for a group, not for an offset
CALL_SECONDS: Final = 10.0


def generations(bootstrap: str, group: str) -> list[int]:
    """Return the generations that a group had, in order: each rebalance began a new one.

    A member with a stable name that comes back in time is written down too, under the generation that there is.

    Args:
        bootstrap: Kafka, with the right to read its offsets topic.
        group: whose.

    Raises:
        ServerError: the topic cannot be read.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{group}.generations",
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",
        }
    )
    found: list[int] = []
    try:
        count = len(consumer.list_topics(OFFSETS, timeout=CALL_SECONDS).topics[OFFSETS].partitions)
        place = TopicPartition(OFFSETS, _partition(group, count), 0)
        _, end = consumer.get_watermark_offsets(place, timeout=CALL_SECONDS)
        consumer.assign([place])
        at = 0
        while at < end:
            messages = consumer.consume(10_000, 0.5)
            for message in messages:
                if (error := message.error()) is not None:
                    raise ServerError(f"{OFFSETS} cannot be read: {error.str()}")
                generation = _generation(message.key() or b"", message.value() or b"", group)
                if generation is not None and generation not in found[-1:]:
                    found.append(generation)
            at = consumer.position([place])[0].offset  # past records that compaction removed, and ends of transactions
    finally:
        consumer.close()
    return found


def _partition(group: str, count: int) -> int:
    """Return the partition that Kafka keeps a group in: by Java's hash of the name."""
    code = reduce(lambda total, letter: (31 * total + ord(letter)) & 0xFFFFFFFF, group, 0)
    return int((code if code < 1 << 31 else (1 << 32) - code) % count)


def _generation(key: bytes, value: bytes, group: str) -> int | None:
    """Read Kafka's GroupMetadataKey and the start of its GroupMetadataValue."""
    name = group.encode()
    if key != struct.pack(">hh", GROUP_METADATA, len(name)) + name or not value:
        return None
    (length,) = struct.unpack_from(">h", value, 2)  # after the version: the protocol type's length
    (generation,) = struct.unpack_from(">i", value, 4 + length)
    return int(generation)
