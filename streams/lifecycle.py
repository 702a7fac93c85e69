"""A worker's life as a pure state machine: events in, actions out; no Kafka, no clock.

::

    STARTING --Opened--> JOINING --Assigned--> RUNNING --StopRequested--> DRAINING --Drained--> STOPPED
                            ^---- Revoked (all) ---|
    any phase --Failed--> FAILED

Invariants (tests check them after every event): partitions are held in JOINING, RUNNING and DRAINING only; every
partition that is held was restored once when it came and is dropped once when it goes; STOPPED and FAILED are final.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

__all__ = [
    "Action",
    "Assigned",
    "Drained",
    "Drop",
    "Event",
    "Failed",
    "Leave",
    "Lifecycle",
    "Opened",
    "Phase",
    "Restore",
    "Revoked",
    "StopRequested",
]

Partition: TypeAlias = tuple[str, int]


class Phase(StrEnum):
    """Where a worker is in its life."""

    STARTING = "starting"
    """Fences earlier producers of its name and waits for topics."""
    JOINING = "joining"
    """Waits for partitions."""
    RUNNING = "running"
    """Has partitions and scores."""
    DRAINING = "draining"
    """Was asked to stop: finishes its batch and leaves the group."""
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Opened:
    """Kafka answers, topics exist, earlier producers are fenced."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions came."""

    partitions: Sequence[Partition]


@dataclass(frozen=True, slots=True)
class Revoked:
    """Partitions go; ``lost`` when they already belong to another worker, so nothing of theirs may be committed."""

    partitions: Sequence[Partition]
    lost: bool = False


@dataclass(frozen=True, slots=True)
class StopRequested:
    """SIGTERM, SIGINT or ``Worker.stop``."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The group is left."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot go on."""

    reason: str


Event: TypeAlias = Opened | Assigned | Revoked | StopRequested | Drained | Failed


@dataclass(frozen=True, slots=True)
class Restore:
    """Bring the state of these partitions back before a record of theirs is read."""

    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget the state of these partitions."""

    partitions: tuple[Partition, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Finish the batch in hand and leave the group."""


Action: TypeAlias = Restore | Drop | Leave

FINAL = frozenset({Phase.STOPPED, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """State of the machine: phase, partitions held, and why it failed."""

    phase: Phase = Phase.STARTING
    held: frozenset[Partition] = field(default_factory=frozenset)
    reason: str = ""

    def after(self, event: Event) -> tuple["Lifecycle", tuple[Action, ...]]:
        """Return the next state and what must be done, in order."""
        if self.phase in FINAL:
            return self, ()
        match event:
            case Opened():
                return replace(self, phase=Phase.JOINING if self.phase is Phase.STARTING else self.phase), ()
            case Assigned(partitions):
                return self._assigned(partitions)
            case Revoked(partitions):
                return self._revoked(partitions)
            case StopRequested():
                return replace(self, phase=Phase.DRAINING), (() if self.phase is Phase.DRAINING else (Leave(),))
            case Drained() | Failed():
                return self._ended(event)

    def _assigned(self, partitions: Sequence[Partition]) -> tuple["Lifecycle", tuple[Action, ...]]:
        new = tuple(dict.fromkeys(each for each in partitions if each not in self.held))
        held = self.held.union(new)
        phase = Phase.RUNNING if held and self.phase is Phase.JOINING else self.phase
        return replace(self, phase=phase, held=held), ((Restore(new),) if new else ())

    def _revoked(self, partitions: Sequence[Partition]) -> tuple["Lifecycle", tuple[Action, ...]]:
        gone = tuple(dict.fromkeys(each for each in partitions if each in self.held))
        held = self.held.difference(gone)
        phase = Phase.JOINING if not held and self.phase is Phase.RUNNING else self.phase
        return replace(self, phase=phase, held=held), ((Drop(gone),) if gone else ())

    def _ended(self, event: Drained | Failed) -> tuple["Lifecycle", tuple[Action, ...]]:
        gone = (Drop(tuple(sorted(self.held))),) if self.held else ()
        if isinstance(event, Failed):
            return Lifecycle(phase=Phase.FAILED, reason=event.reason), gone
        return Lifecycle(phase=Phase.STOPPED), gone
