"""Which partitions stand still although there is something to read, and for how long. No Kafka, no clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Look", "Standstill", "Stuck"]

Partition: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Look:
    """One partition at one moment.

    Attributes:
        position: offset after the last record that was committed or replayed here, ``None`` before the first one.
        passed: offset up to which the client found nothing more to hand out; transaction markers and aborted records
            take offsets too, and are nothing to read.
        end: offset after the last committed record in the log, ``None`` when Kafka did not say: then nobody knows
            whether there is anything to read.
    """

    position: int | None
    passed: int
    end: int | None

    @property
    def unread(self) -> bool:
        """Whether the log holds something that this worker did not get over."""
        return self.end is not None and self.end > max(self.position or 0, self.passed)


@dataclass(frozen=True, slots=True)
class Stuck:
    """A partition that stands still.

    Attributes:
        position, end: as last looked at.
        seconds: for how long.
    """

    position: int | None
    end: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Since:
    look: Look
    at: float


@dataclass(frozen=True, slots=True)
class Standstill:
    """What was seen so far; ``after`` gives the next state.

    Attributes:
        since: by partition, the look since which it has not moved.
    """

    since: Mapping[Partition, _Since] = field(default_factory=dict)
    latest: Mapping[Partition, Look] = field(default_factory=dict)

    def after(self, looks: Mapping[Partition, Look], now: float) -> "Standstill":
        """Take the partitions held, as they are now (seconds of any clock); those left out are forgotten."""
        since = {}
        for partition, look in looks.items():
            before = self.since.get(partition)
            still = before is not None and before.look.unread and before.look.position == look.position
            since[partition] = before if before is not None and still and look.unread else _Since(look, now)
        return Standstill(since, dict(looks))

    def stuck(self, now: float, seconds: float) -> dict[Partition, Stuck]:
        """Return the partitions that have had something to read, and not moved, for so long."""
        found = {}
        for partition, since in self.since.items():
            look = self.latest[partition]
            if look.end is not None and look.unread and now - since.at >= seconds:
                found[partition] = Stuck(look.position, look.end, now - since.at)
        return found
