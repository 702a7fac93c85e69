"""The reference generator of consensus rows: a test set that everyone can compute (SPEC section 3).

Rows are independent of each other: nothing here ramps up or lasts, and one ratio of two columns separates the classes
perfectly. That makes it a yardstick to compare detectors with published figures, and no evidence of use in production.
All functions take a ``numpy.random.Generator``; one seed gives one data set.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

FIELDS: Final = (
    "queue_depth",
    "proposals_pending",
    "proposals_committed",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "leader_changes",
    "quorum_size",
    "active_nodes",
    "network_tier",
    "dwcp_mode",
    "consensus_type",
)
CLASSES: Final = ("network_congestion", "leader_election_storm", "queue_overflow", "byzantine_attack")
CYCLE_STEPS: Final = 288
WINDOW: Final = 30
_BASE_MS: Final = np.array([5.0, 50.0])


class _Fault(NamedTuple):
    """One row of the table of anomaly classes: added constants, Poisson and exponential means, uniform ranges."""

    queue: tuple[float, float]
    pending: tuple[float, float]
    committed_loss: tuple[int, int]
    p50: tuple[float, float]
    p95: tuple[float, float, float]
    p99: tuple[float, float, float]
    leader_changes: float


_FAULTS: Final = (
    _Fault((0, 15), (0, 8), (5, 14), (5, 3), (2, 0.5, 2), (1.5, 0.5, 1.5), 0.2),
    _Fault((0, 25), (0, 20), (10, 19), (3, 2), (3, 1, 3), (2, 1, 2), 5),
    _Fault((40, 20), (15, 10), (15, 24), (4, 2), (2.5, 1, 2), (1.8, 0.5, 1.5), 1),
    _Fault((0, 30), (0, 25), (20, 29), (6, 4), (3, 1, 4), (2, 1, 3), 8),
)


@dataclass(frozen=True, slots=True)
class LabelledWindows:
    """Windows with what is wrong in them.

    Attributes:
        values: float32 (n, length, 12), raw units, oldest step first.
        kinds: int64 (n,), index into ``CLASSES``, -1 for a normal window.
        bad_steps: int64 (n,), number of anomalous rows in the window.
    """

    values: NDArray[np.float32]
    kinds: NDArray[np.int64]
    bad_steps: NDArray[np.int64]

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Bool (n,): the window holds an anomalous row."""
        return self.kinds >= 0


def normal_rows(rng: np.random.Generator, steps: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw one normal row for each step number ``i`` of the load cycle. Returns float32 (*steps.shape, 12)."""
    shape = steps.shape
    load = 0.7 + 0.3 * np.sin(2 * np.pi * steps / CYCLE_STEPS)
    wan = rng.random(shape) < 0.3
    queue = np.clip(rng.poisson(10 * load), 0, 50)
    pending = np.clip(rng.poisson(5 * load), 0, 20)
    committed = np.maximum(pending + rng.integers(-2, 4, shape, endpoint=True), 0)
    p50 = _BASE_MS[wan.astype(np.int64)] + rng.gamma(2, 2, shape) * load
    p95 = p50 * (1.5 + rng.uniform(0, 0.3, shape))
    p99 = p95 * (1.2 + rng.uniform(0, 0.2, shape))
    quorum = _quorum(rng, shape)
    active = quorum + rng.integers(0, 2, shape, endpoint=True)
    leader_changes = rng.poisson(0.1, shape)
    mode, protocol = rng.integers(0, 3, shape), rng.integers(0, 3, shape)
    columns = (queue, pending, committed, p50, p95, p99, leader_changes, quorum, active, wan, mode, protocol)
    return np.stack([column.astype(np.float32) for column in columns], axis=-1)


def anomalous_rows(rng: np.random.Generator, kinds: NDArray[np.int64]) -> NDArray[np.float32]:
    """Draw one anomalous row of each class in ``kinds`` (indices into ``CLASSES``). Returns float32 (n, 12)."""
    n = len(kinds)
    wan = rng.random(n) < 0.7
    queue_at, queue_mean = _column("queue")[kinds].T
    pending_at, pending_mean = _column("pending")[kinds].T
    loss_low, loss_high = _column("committed_loss")[kinds].astype(np.int64).T
    p50_at, p50_mean = _column("p50")[kinds].T
    queue = queue_at + rng.poisson(queue_mean)
    pending = pending_at + rng.poisson(pending_mean)
    committed = np.maximum(pending - rng.integers(loss_low, loss_high, endpoint=True), 0)
    p50 = _BASE_MS[wan.astype(np.int64)] * (p50_at + rng.exponential(p50_mean))
    p95 = p50 * _spread(rng, "p95", kinds)
    p99 = p95 * _spread(rng, "p99", kinds)
    leader_changes = rng.poisson(_column("leader_changes")[kinds])
    quorum = _quorum(rng, (n,))
    mode, protocol = rng.integers(0, 3, n), rng.integers(0, 3, n)
    columns = (queue, pending, committed, p50, p95, p99, leader_changes, quorum, quorum, wan, mode, protocol)
    return np.stack([column.astype(np.float32) for column in columns], axis=-1)


def normal_windows(rng: np.random.Generator, count: int, length: int = WINDOW) -> NDArray[np.float32]:
    """Return float32 (count, length, 12): one long run of normal rows cut into windows that share no row."""
    return normal_rows(rng, np.arange(count * length)).reshape(count, length, len(FIELDS))


def windows_with_bad_end(
    rng: np.random.Generator, count: int, bad_steps: tuple[int, int] = (1, 15), length: int = WINDOW
) -> LabelledWindows:
    """Make normal windows, and as many whose newest rows are anomalous, all of one class a window, in random order.

    Args:
        rng: source of randomness.
        count: windows in all; half of them, rounded down, are anomalous.
        bad_steps: least and greatest number of anomalous rows at the end of an anomalous window, uniform between.
        length: steps in a window.

    Raises:
        ValueError: ``bad_steps`` is not within 1..length.
    """
    low, high = bad_steps
    if not 1 <= low <= high <= length:
        raise ValueError(f"bad_steps {bad_steps} must be two rising numbers within 1..{length}")
    values, kinds = _half_anomalous(rng, count, length)
    bad = np.where(kinds >= 0, rng.integers(low, high, count, endpoint=True), 0)
    _overwrite(rng, values, kinds, np.arange(length) >= (length - bad)[:, None])
    return LabelledWindows(values, kinds, bad)


def windows_with_one_bad_step(rng: np.random.Generator, count: int, length: int = WINDOW) -> LabelledWindows:
    """Make normal windows, and as many with a single anomalous row at a random position, in random order."""
    values, kinds = _half_anomalous(rng, count, length)
    at = rng.integers(0, length, count)
    _overwrite(rng, values, kinds, (np.arange(length) == at[:, None]) & (kinds >= 0)[:, None])
    return LabelledWindows(values, kinds, (kinds >= 0).astype(np.int64))


def _half_anomalous(rng: np.random.Generator, count: int, length: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    starts = rng.integers(0, CYCLE_STEPS, count)
    values = normal_rows(rng, starts[:, None] + np.arange(length))
    kinds = np.where(np.arange(count) < count // 2, rng.integers(0, len(CLASSES), count), -1)
    return values, rng.permutation(kinds)


def _overwrite(
    rng: np.random.Generator, values: NDArray[np.float32], kinds: NDArray[np.int64], bad: NDArray[np.bool_]
) -> None:
    values[bad] = anomalous_rows(rng, np.broadcast_to(kinds[:, None], bad.shape)[bad])


def _column(name: str) -> NDArray[np.float64]:
    return np.array([getattr(fault, name) for fault in _FAULTS], dtype=np.float64)


def _spread(rng: np.random.Generator, name: str, kinds: NDArray[np.int64]) -> NDArray[np.float64]:
    at, low, high = _column(name)[kinds].T
    return np.asarray(at + rng.uniform(low, high), dtype=np.float64)


def _quorum(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int64]:
    return rng.choice(np.array([3, 5, 7]), size=shape, p=[0.5, 0.3, 0.2])
