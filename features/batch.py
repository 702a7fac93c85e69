"""Windows of one batch, as index ranges into shared timelines: what a detector is given to score."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class WindowBatch:
    """n windows of ``length`` steps, in the order of the records that completed them.

    Window ``i`` is ``rows[ends[i] - length + 1 : ends[i] + 1]``, oldest step first. Windows of consecutive steps of one
    node share rows, so a batch holds about one row a record instead of ``length``. Rows that belong to no window of
    the batch are possible (the start of a node that is still warming up) and always finite when the input was.

    Arrays are the batch's own: they stay as they are when the store moves on. ``slots`` is different: it indexes
    ``WindowStore.state`` and holds until the next ``append``.

    Attributes:
        length: steps in a window, for instance 30.
        rows: float32 (R, F), C-contiguous; timelines of the touched nodes, oldest step first.
        ts_ms: int64 (R,), event time of each row, Unix epoch in milliseconds.
        carried: bool (R,), true where a missing step repeats the last real row.
        ends: int64 (n,), index in ``rows`` of each window's newest step.
        records: int64 (n,), ascending; index of the appended record each window belongs to.
        slots: int64 (n,), slot of each window's node in the store.
    """

    length: int
    rows: NDArray[np.float32]
    ts_ms: NDArray[np.int64]
    carried: NDArray[np.bool_]
    ends: NDArray[np.int64]
    records: NDArray[np.int64]
    slots: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def features(self) -> int:
        """Number of features F in a step."""
        return int(self.rows.shape[1])

    def tensor(self) -> NDArray[np.float32]:
        """Copy the windows out: float32 (n, length, F), C-contiguous."""
        if not len(self):
            return np.empty((0, self.length, self.features), np.float32)
        rows = np.ascontiguousarray(self.rows)
        step, cell = rows.strides
        shape = (len(rows) - self.length + 1, self.length, self.features)
        # One fancy index over overlapping views copies each window as one contiguous block, not row by row.
        every = as_strided(rows, shape, (step, step, cell), writeable=False)
        return every[self.ends - (self.length - 1)]

    def latest(self, steps: int) -> Self:
        """Leave of each window its last steps; the timelines are shared, not copied.

        Raises:
            ValueError: a window has fewer.
        """
        if not 1 <= steps <= self.length:
            raise ValueError(f"windows have {self.length} steps; {steps} of them cannot be chosen")
        return replace(self, length=steps)

    def last(self) -> NDArray[np.float32]:
        """Newest step of each window: float32 (n, F)."""
        return self.rows[self.ends]

    def start_ms(self) -> NDArray[np.int64]:
        """Event time of each window's oldest step: int64 (n,), milliseconds."""
        return self.ts_ms[self.ends - (self.length - 1)]

    def end_ms(self) -> NDArray[np.int64]:
        """Event time of each window's newest step: int64 (n,), milliseconds."""
        return self.ts_ms[self.ends]

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Choose windows by position or mask; the timelines are shared, not copied."""
        return replace(self, ends=self.ends[index], records=self.records[index], slots=self.slots[index])

    def detached(self) -> Self:
        """Copy the windows out of the timelines that they share, each by itself: what is kept holds no other rows."""
        places = (self.ends[:, None] + np.arange(1 - self.length, 1)).reshape(-1)
        return replace(
            self,
            rows=self.rows[places],
            ts_ms=self.ts_ms[places],
            carried=self.carried[places],
            ends=np.arange(1, len(self) + 1, dtype=np.int64) * self.length - 1,
        )

    def with_rows(self, rows: NDArray[np.float32]) -> Self:
        """Give the same windows other values: float32 (R, G), row for row, for instance scaled ones.

        Raises:
            ValueError: the number of rows differs.
        """
        if rows.ndim != 2 or len(rows) != len(self.rows):
            raise ValueError(f"rows has shape {rows.shape}; give ({len(self.rows)}, features)")
        return replace(self, rows=rows)

    @classmethod
    def empty(cls, length: int, features: int) -> Self:
        """Build a batch without windows."""
        return cls.stack(np.empty((0, length, features), np.float32))

    @classmethod
    def stack(cls, windows: ArrayLike, ts_ms: NDArray[np.int64] | None = None) -> Self:
        """Build a batch of separate windows that share nothing: for training sets, tests and measurements.

        Args:
            windows: (n, length, F), cast to float32.
            ts_ms: int64 (n, length), event times; by default steps one second apart from 1000 on, the same in every
                window.

        Raises:
            ValueError: when the shapes do not fit.
        """
        values = np.ascontiguousarray(windows, np.float32)
        if values.ndim != 3 or values.shape[1] < 1:
            raise ValueError(f"windows has shape {values.shape}; give (n, length, features) with length >= 1")
        n, length, features = values.shape
        if ts_ms is None:
            ts_ms = np.broadcast_to(1000 * np.arange(1, length + 1, dtype=np.int64), (n, length))
        if ts_ms.shape != (n, length):
            raise ValueError(f"ts_ms has shape {ts_ms.shape}; give {(n, length)}, one time a step")
        return cls(
            length=length,
            rows=values.reshape(n * length, features),
            ts_ms=np.ascontiguousarray(ts_ms, np.int64).reshape(-1),
            carried=np.zeros(n * length, np.bool_),
            ends=np.arange(n, dtype=np.int64) * length + (length - 1),
            records=np.arange(n, dtype=np.int64),
            slots=np.arange(n, dtype=np.int64),
        )
