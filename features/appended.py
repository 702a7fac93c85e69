"""What became of the records of one append."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from features.batch import WindowBatch


class StepStatus(IntEnum):
    """What the store did with one record. The values are stable."""

    WINDOW = 0
    """Accepted, and it completed a window."""
    WARMING = 1
    """Accepted; its node has fewer steps than a window since it appeared, or since its window started again."""
    DUPLICATE = 2
    """Dropped: its node has a real step of the same time."""
    LATE = 3
    """Dropped: older than its node's newest step, and fills no hole among the last steps."""
    APPLIED = 4
    """Skipped: its offset is already contained in the node's (restored) state."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A node that stopped reporting.

    Attributes:
        record: index of the appended record with which it became certain, of whichever node.
        partition: the node's.
        key: the node's.
        last_ms: event time of its newest step.
        offset: of its last record, -1 when offsets are not given.
        cluster, region: as its last record says.
    """

    record: int
    partition: int
    key: str
    last_ms: int
    offset: int
    cluster: str | None
    region: str | None


@dataclass(frozen=True, slots=True)
class Appended:
    """Outcome of ``WindowStore.append`` for n records.

    Summed over a log, every count is the same however the log was cut into batches.

    Attributes:
        windows: the complete windows, in the order of their records.
        status: uint8 (n,), a ``StepStatus`` each.
        gaps: missing steps that were carried.
        filled: late records that took the place of a carried step (accepted: WINDOW or WARMING).
        restarts: records after which a window started again because the gap was too long (accepted).
        created: nodes that appeared, or came back after they had been forgotten.
        evictions: nodes that were forgotten because they were idle.
        evicted: (partition, key) of the nodes that were forgotten and are not in the store after this batch.
        silences: nodes that stopped reporting, each silence once; in the order of the records that told of them.
        returned: records, ascending, that ended a silence, each with the event time of its node's newest step before.
    """

    windows: WindowBatch
    status: NDArray[np.uint8]
    gaps: int = 0
    filled: int = 0
    restarts: int = 0
    created: int = 0
    evictions: int = 0
    evicted: list[tuple[int, str]] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    returned: list[tuple[int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.status)

    def count(self, status: StepStatus) -> int:
        """Count the records with this status."""
        return int(np.count_nonzero(self.status == status))

    @property
    def counts(self) -> dict[StepStatus, int]:
        """Number of records by status; every status is a key."""
        found = np.bincount(self.status, minlength=len(StepStatus))
        return {status: int(found[status]) for status in StepStatus}
