"""The window store: the last steps of every node, appended to a batch at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.appended import Appended, StepStatus
from features.batch import WindowBatch

__all__ = ["Appended", "SnapshotError", "StepStatus", "Watermark", "WindowBatch", "WindowStore"]


class SnapshotError(ValueError):
    """A snapshot cannot be restored: damaged, cut short, of another version or of other settings."""


class Watermark(NamedTuple):
    """Event-time progress of a partition (see docs/windows.md); plain values, so that it can be stored anywhere."""

    leader: str
    first_ms: int
    second_ms: int
    origin_ms: int


class WindowStore:
    """Public signatures first; the implementation follows."""

    def __init__(
        self,
        features: int,
        *,
        window: int = 30,
        step_ms: int = 1000,
        gap_steps: int = 5,
        late_steps: int = 5,
        idle_ms: int = 1_800_000,
        capacity: int = 1024,
        state_width: int = 0,
    ) -> None:
        self.state: NDArray[np.float32] = np.zeros((capacity, state_width), np.float32)
        raise NotImplementedError

    def append(
        self,
        partitions: NDArray[np.int32],
        keys: Sequence[str],
        ts_ms: NDArray[np.int64],
        rows: NDArray[np.float32],
        *,
        offsets: NDArray[np.int64] | None = None,
    ) -> Appended:
        """Append records in log order; with offsets, records already in a restored node's state are APPLIED."""
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        raise NotImplementedError

    def slots_of(self, partition: int) -> NDArray[np.int64]:
        """Slots of the nodes of a partition."""
        raise NotImplementedError

    def slot_of(self, partition: int, key: str) -> int | None:
        """Slot of a node, or None."""
        raise NotImplementedError

    def key_of(self, slot: int) -> str:
        """Key of the node in a slot."""
        raise NotImplementedError

    def newest_ms(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Event time of the newest step of each node: int64 (n,)."""
        raise NotImplementedError

    def watermark(self, partition: int) -> Watermark | None:
        """Event-time progress of a partition, None before its first record."""
        raise NotImplementedError

    def set_watermark(self, partition: int, watermark: Watermark) -> None:
        """Restore the event-time progress of a partition."""
        raise NotImplementedError

    def drop_partition(self, partition: int) -> None:
        """Forget every node of a partition and its watermark."""
        raise NotImplementedError

    def snapshot(self, slots: Sequence[int] | NDArray[np.int64]) -> bytes:
        """Serialise nodes (one or many): keys, steps, detector state, applied offsets. Not the watermark."""
        raise NotImplementedError

    def snapshot_partition(self, partition: int) -> bytes:
        """Serialise every node of a partition and its watermark."""
        raise NotImplementedError

    def restore(self, snapshot: bytes, *, partition: int | None = None) -> NDArray[np.int64]:
        """Put nodes back, replacing those of the same key; returns their slots. Raises SnapshotError."""
        raise NotImplementedError
