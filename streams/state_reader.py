"""Reads partitions of the state topic from the beginning to the end of what is committed."""

from collections.abc import Collection, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from streams.patience import Patience
from streams.state import EPOCH_HEADER, WORKER_HEADER, Saved, SavedPartition, sort_saved

__all__ = ["open_writers", "read_state", "saved_in"]

READ_SECONDS: Final = 0.02
READ_MOST: Final = 10_000


def read_state(
    consumer: Consumer,
    topic: str,
    group: str,
    wanted: Mapping[int, Collection[str]],
    patience: Patience,
) -> tuple[dict[int, dict[str, SavedPartition]], dict[int, int]]:
    """Read the newest record of each key.

    An open transaction (of a worker that crashed a moment ago) ends a partition early: what comes before it is as good,
    the replay is only longer. Where that is nothing although something is wanted, its end is waited for.

    Args:
        consumer: of committed records, with ``enable.partition.eof``; it is assigned here.
        topic: the state topic.
        group: whose state.
        wanted: the numbers to read, each with the source topics that must have a progress record.
        patience: how long.

    Returns:
        What each number holds, by source topic; and the offset after the last committed record of each.
    """
    records: dict[int, dict[bytes, Saved]] = {number: {} for number in wanted}
    saved: dict[int, dict[str, SavedPartition]] = {}
    ends: dict[int, int] = {}
    stops: dict[int, int] = {}
    if wanted:
        consumer.assign([TopicPartition(topic, number, 0) for number in wanted])
    while len(saved) < len(wanted):
        for message in _consumed(consumer, patience):
            number, offset = int(message.partition() or 0), int(message.offset() or 0)
            if message.error() is None:
                _keep(message, records[number])
            elif number not in saved:
                found = sort_saved(records[number], group)
                if number not in ends:
                    _, ends[number] = consumer.get_watermark_offsets(TopicPartition(topic, number), cached=True)
                if offset >= ends[number] or not _lacking(found, wanted[number]):
                    saved[number], stops[number] = found, offset
    return saved, stops


def saved_in(message: Message) -> Saved | None:
    """Return what a record of the state topic holds, ``None`` when it deletes what its key held."""
    value, epoch = message.value(), _header(message, EPOCH_HEADER)
    return None if value is None else Saved(int(epoch) if epoch.isdecimal() else 0, value)


def open_writers(
    consumer: Consumer,
    topic: str,
    spans: Mapping[int, tuple[int, int]],
    keys: Mapping[int, Collection[bytes]],
    patience: Patience,
) -> set[str]:
    """Return the transactional ids under which records of these keys were written that are not committed.

    Args:
        consumer: of all records, committed or not; it is assigned here.
        topic: the state topic.
        spans: by number, where committed records end and the very end.
        keys: by number, whose records count.
        patience: how long.
    """
    left = {number: end for number, (stop, end) in spans.items() if stop < end}
    consumer.assign([TopicPartition(topic, number, spans[number][0]) for number in left])
    found = set()
    while left:
        for message in _consumed(consumer, patience):
            number, offset = int(message.partition() or 0), int(message.offset() or 0)
            if message.error() is None and message.key() in keys[number]:
                found.add(_header(message, WORKER_HEADER))
            if offset + (message.error() is None) >= left.get(number, 0):
                left.pop(number, None)
    return found - {""}


def _consumed(consumer: Consumer, patience: Patience) -> list[Message]:
    """Return records, and ends of partitions as messages with an error."""
    patience.check("reading the state topic")
    messages = patience.until_done("consume", lambda: consumer.consume(READ_MOST, READ_SECONDS))
    for message in messages:
        if (error := message.error()) is not None and not _is_end(message):
            patience.check_error("reading the state topic", error)
    return [each for each in messages if each.error() is None or _is_end(each)]


def _is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 -- a public constant


def _header(message: Message, name: str) -> str:
    value = dict(message.headers() or []).get(name) or b""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _lacking(found: Mapping[str, SavedPartition], topics: Collection[str]) -> bool:
    """Tell whether something was committed of which the state partition knows nothing."""
    return any(topic not in found or found[topic].progress is None for topic in topics)


def _keep(message: Message, records: dict[bytes, Saved]) -> None:
    key, saved = message.key() or b"", saved_in(message)
    if saved is None:
        records.pop(key, None)
    else:
        records[key] = saved
