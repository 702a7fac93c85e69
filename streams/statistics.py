"""What librdkafka says about itself, as the worker needs it."""

import json
from dataclasses import dataclass, field

__all__ = ["SourceState", "read_statistics"]


@dataclass(frozen=True, slots=True)
class SourceState:
    """What the client last said about itself.

    Attributes:
        broker_up: at least one broker connection stands.
        lag: records behind the newest committed one, by partition.
        at: monotonic time of the statement, 0 before the first one.
        passed: by partition, the offset up to which all there was to read has been read; where records wait in the
            client's queue, there is none.
    """

    broker_up: bool
    lag: dict[tuple[str, int], int]
    at: float
    passed: dict[tuple[str, int], int] = field(default_factory=dict)


def read_statistics(text: str, at: float) -> SourceState:
    """Read a consumer's statistics (librdkafka's STATISTICS.md).

    Args:
        text: JSON, as the client gives it.
        at: monotonic time, seconds.
    """
    statistics = json.loads(text)
    partitions = {
        (topic, int(number)): partition
        for topic, entry in statistics["topics"].items()
        for number, partition in entry["partitions"].items()
        if partition["desired"] and partition["ls_offset"] >= 0
    }
    return SourceState(
        broker_up=any(broker["state"] == "UP" for broker in statistics["brokers"].values()),
        lag={each: _lag(partition) for each, partition in partitions.items()},
        at=at,
        passed={
            each: partition["next_offset"] for each, partition in partitions.items() if partition["fetchq_cnt"] == 0
        },
    )


def _lag(partition: dict[str, int]) -> int:
    """Count the records not yet read. Transaction markers are none: at the end of the log nothing is left to read."""
    newest = partition["ls_offset"]
    if partition["fetchq_cnt"] == 0 and partition["next_offset"] >= newest:
        return 0
    return max(0, newest - max(partition["app_offset"], partition["lo_offset"], 0))
