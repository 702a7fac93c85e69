"""Training windows: cut per node in event-time order, split by time, never shuffled across the split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from features.batch import WindowBatch
from features.windows import WindowStore

MIN_TRAINING: Final = 100
MIN_VALIDATION: Final = 50
_APPEND_ROWS: Final = 50_000


class TrainingDataError(ValueError):
    """The recording cannot train the network: too little of it, or of the wrong shape."""


@dataclass(frozen=True, slots=True)
class TrainingWindows:
    """Windows of normal telemetry.

    Attributes:
        values: float32 (n, window, F), raw units, oldest step first.
        start_ms: int64 (n,), event time of each window's oldest step.
        end_ms: int64 (n,), event time of each window's newest step.
        source: where the telemetry came from, for the artefact's metadata.
    """

    values: NDArray[np.float32]
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    source: str = ""

    def __post_init__(self) -> None:
        """Raise ``TrainingDataError`` when the shapes do not belong together or a value is not finite."""
        if self.values.ndim != 3:
            raise TrainingDataError(f"windows of shape {self.values.shape}: they must be (n, window, features)")
        if not len(self.values) == len(self.start_ms) == len(self.end_ms):
            raise TrainingDataError(
                f"{len(self.values)} windows, {len(self.start_ms)} starts and {len(self.end_ms)} ends: give one each"
            )
        if not np.isfinite(self.values).all():
            at = int(np.flatnonzero(~np.isfinite(self.values).all(axis=(0, 1)))[0])
            raise TrainingDataError(f"feature {at} holds values that are not finite: drop those rows")

    def __len__(self) -> int:
        return len(self.values)

    def take(self, chosen: NDArray[np.bool_]) -> Self:
        """Return the windows where ``chosen`` bool (n,) is true."""
        return type(self)(self.values[chosen], self.start_ms[chosen], self.end_ms[chosen], self.source)

    def split(self, validation_share: float) -> tuple[Self, Self]:
        """Split in time: training windows end before validation windows start, so they share no row.

        Args:
            validation_share: share of the windows, by end time, that come after the cut.

        Raises:
            TrainingDataError: either part would be too small.
        """
        if not 0 < validation_share < 1:
            raise TrainingDataError(f"validation_share {validation_share} must lie between 0 and 1")
        if not len(self):
            raise TrainingDataError("no windows: give a recording with at least one run of steps as long as a window")
        cut = np.sort(self.end_ms)[max(round(len(self) * (1 - validation_share)) - 1, 0)]
        training, validation = self.take(self.end_ms <= cut), self.take(self.start_ms > cut)
        if len(training) < MIN_TRAINING or len(validation) < MIN_VALIDATION:
            raise TrainingDataError(
                f"{len(training)} windows to train on and {len(validation)} to validate: at least {MIN_TRAINING} and "
                f"{MIN_VALIDATION} are needed; give a longer recording or a smaller stride"
            )
        return training, validation


def windows_in_sequence(values: NDArray[np.float32], *, step_ms: int = 1000, source: str = "") -> TrainingWindows:
    """Give windows (n, window, F) that follow each other without overlap their event times, from 0 on."""
    n, window = values.shape[:2]
    starts = np.arange(n, dtype=np.int64) * window * step_ms
    return TrainingWindows(values, starts, starts + (window - 1) * step_ms, source)


def windows_from_rows(
    node_ids: Sequence[str] | NDArray[Any],
    ts_ms: NDArray[np.int64],
    rows: NDArray[np.floating],
    *,
    window: int = 30,
    stride: int = 5,
    step_ms: int = 1000,
    source: str = "",
) -> TrainingWindows:
    """Cut a recording into windows with the same store, and so by the same rules, as a worker does.

    Args:
        node_ids: text, node of each row, n of them.
        ts_ms: int64 (n,), event times; rows may be in any order.
        rows: float (n, F), raw units.
        window: steps in a window.
        stride: of each node's windows, every how many is kept.
        step_ms: nominal milliseconds between a node's steps.
        source: where the rows came from, for the artefact's metadata.

    Raises:
        TrainingDataError: lengths differ, or ``stride`` is not positive.
    """
    n = len(ts_ms)
    if not len(node_ids) == n == len(rows):
        raise TrainingDataError(f"{len(node_ids)} node ids, {n} times, {len(rows)} rows: give one each")
    if stride < 1:
        raise TrainingDataError(f"stride {stride} must be at least 1")
    order = np.argsort(ts_ms, kind="stable")
    nodes, codes = np.unique(np.asarray(node_ids, dtype=np.str_), return_inverse=True)
    store = WindowStore(rows.shape[1], window=window, step_ms=step_ms, capacity=max(len(nodes), 1))
    seen = np.zeros(len(nodes), dtype=np.int64)
    parts: list[TrainingWindows] = []
    for start in range(0, n, _APPEND_ROWS):
        chosen = order[start : start + _APPEND_ROWS]
        batch = store.append(
            np.zeros(len(chosen), dtype=np.int32),
            [str(nodes[code]) for code in codes[chosen]],
            ts_ms[chosen].astype(np.int64),
            rows[chosen].astype(np.float32),
        ).windows
        parts.append(_strided(batch, codes[chosen][batch.records], seen, stride))
    return TrainingWindows(
        np.concatenate([part.values for part in parts] or [np.empty((0, window, rows.shape[1]), dtype=np.float32)]),
        np.concatenate([part.start_ms for part in parts] or [np.empty(0, dtype=np.int64)]),
        np.concatenate([part.end_ms for part in parts] or [np.empty(0, dtype=np.int64)]),
        source,
    )


def _strided(batch: WindowBatch, nodes: NDArray[np.int64], seen: NDArray[np.int64], stride: int) -> TrainingWindows:
    """Keep every ``stride``-th window of each node, counting on from ``seen``, which is moved on in place."""
    order = np.argsort(nodes, kind="stable")
    counts = np.bincount(nodes, minlength=len(seen))
    ranks = np.empty(len(nodes), dtype=np.int64)
    ranks[order] = np.arange(len(nodes)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = batch.take((seen[nodes] + ranks) % stride == 0)
    seen += counts
    return TrainingWindows(kept.tensor(), kept.start_ms(), kept.end_ms())
