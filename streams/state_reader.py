"""Reads partitions of the state topic from the beginning to the end of what is committed."""

from collections.abc import Collection, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.patience import Patience
from streams.state import EPOCH_HEADER, Saved, SavedPartition, sort_saved

__all__ = ["read_state"]

READ_SECONDS: Final = 0.02
READ_MOST: Final = 10_000


def read_state(
    consumer: Consumer,
    topic: str,
    group: str,
    wanted: Mapping[int, Collection[str]],
    patience: Patience,
    *,
    ends: Mapping[int, int] | None = None,
) -> tuple[dict[int, dict[str, SavedPartition]], bool]:
    """Read the newest record of each key.

    An open transaction (of a worker that crashed a moment ago) ends a partition early: what comes before it is as good,
    the replay is only longer. Where that is nothing although something is wanted, its end is waited for.

    Args:
        consumer: of committed records, with ``enable.partition.eof``; it is assigned here.
        topic: the state topic.
        group: whose state.
        wanted: the numbers to read, each with the source topics that must have a progress record.
        patience: how long.
        ends: offsets that count as the very end; the high watermarks as the fetches tell them when not given.

    Returns:
        What each number holds, by source topic; and whether all of it was read to the very end, so that no transaction
        was open over any of it.
    """
    records: dict[int, dict[bytes, Saved]] = {number: {} for number in wanted}
    saved: dict[int, dict[str, SavedPartition]] = {}
    known = dict(ends or {})
    whole = True
    if wanted:
        consumer.assign([TopicPartition(topic, number, 0) for number in wanted])
    while len(saved) < len(wanted):
        patience.check("reading the state topic")
        for message in patience.until_done("consume", lambda: consumer.consume(READ_MOST, READ_SECONDS)):
            number = int(message.partition() or 0)
            error = message.error()
            if error is None:
                _keep(message, records[number])
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 -- a public constant of the client
                patience.check_error("reading the state topic", error)
            elif number not in saved:
                found = sort_saved(records[number], group)
                if number not in known:
                    _, known[number] = consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
                at_end = (message.offset() or 0) >= known[number]
                if at_end or not _lacking(found, wanted[number]):
                    saved[number] = found
                    whole &= at_end
    return saved, whole


def _lacking(found: Mapping[str, SavedPartition], topics: Collection[str]) -> bool:
    """Tell whether something was committed of which the state partition knows nothing."""
    return any(topic not in found or found[topic].progress is None for topic in topics)


def _keep(message: Message, records: dict[bytes, Saved]) -> None:
    key, value = message.key() or b"", message.value()
    if value is None:
        records.pop(key, None)
        return
    epoch = dict(message.headers() or []).get(EPOCH_HEADER) or b""
    digits = epoch.decode("ascii", "replace") if isinstance(epoch, bytes) else epoch
    records[key] = Saved(int(digits) if digits.isdecimal() else 0, value)
