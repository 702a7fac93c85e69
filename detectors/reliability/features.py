"""Features of a 30-step window and of the node's slow baseline: what the reliability model sees of a node.

Every feature is made by additions, multiplications, divisions, square roots and comparisons, element by element, so a
window's features are the same to the bit in any batch. Trees do not care about monotone transforms: no logarithms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import NodeState
from detectors.reliability.baseline import NodeBaseline
from features.batch import WindowBatch
from schemas.streams import NODE

Array = NDArray[np.float32]

RECENT = 5
"""Steps that count as "now" in changes and ratios."""

DAY = 1_440
"""Steps of one minute in a day."""

MOST_MEMORY = 1 << 24
"""Longest memory of a baseline: float32 counts no further in steps of one."""

MIN_WINDOW = 2 * RECENT
"""Steps that a window must have."""

STATISTICS: tuple[str, ...] = ("last", "mean5", "mean", "std", "ratio", "z", "high")
"""Statistics of each field. now = mean of the newest five steps (mean5), before = mean of the older ones:
ratio = (now + floor) / (before + floor); z = (now - before) / (deviation of the older ones + floor); high = steps above
the field's level. Maxima, slopes and more of the kind were tried: they add columns and nothing else."""

AGAINST_DAY: tuple[str, ...] = (
    "off",
    "off_1",
    "off_2",
    "off_3",
    "off_both",
    "off_either",
    "off_fall",
    "off5",
    "off30",
    "times5",
    "times30",
)
"""Statistics of each field against the node's slow baseline, whose location is "usual".
off = (newest step - usual) / (scale + floor), off_1 to off_3 = the same of the steps before; both, either = smaller and
larger of the two newest; fall = newest - largest of the three before: an incident that is over shows at once. off5,
off30 = of the means of the newest five and of all steps; times = (mean + floor) / (usual + floor)."""

OF_FIELDS: tuple[str, ...] = ("z", "off", "off_both", "off5", "off30")
"""Statistics that are looked at across fields."""

ACROSS: tuple[str, ...] = ("second", "third", "fifth", "sum", "over_1", "over_2")
"""What is made of one of ``OF_FIELDS`` over all fields: the second, third and fifth largest, the sum of all held within
0 to 4, and how many are above 1 and 2. One odd field is often nothing; several at once are not, whichever they are."""

FALLING: frozenset[str] = frozenset({"availability_score"})
"""Fields of which a low value is bad: across fields their deviation counts the other way round."""

CODES: frozenset[str] = frozenset(NODE.codes)
"""Fields whose numbers stand for texts: not looked at across fields."""


@dataclass(frozen=True, slots=True)
class FeaturePlan:
    """Which features to make of which fields, with the two levels a field that are learnt from the training rows.

    Attributes:
        fields: the window's fields, in order.
        pairs: (numerator, denominator) places of fields whose ratio is a feature of its own.
        floor: float32 (F,), what is too small to matter in a ratio: a tenth of the field's training median, or of its
            mean where more than half of the values are zero.
        high: float32 (F,), 97th percentile of the training rows without incident.
        memory: steps that a node's slow baseline remembers.
    """

    fields: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    floor: Array
    high: Array
    memory: int = DAY

    @classmethod
    def fit(cls, fields: tuple[str, ...], rows: NDArray[np.floating[Any]]) -> Self:
        """Learn the levels from rows (n, F) of the training part without incidents.

        Raises:
            ValueError: ``rows`` does not have one column a field, or none at all.
        """
        if rows.ndim != 2 or rows.shape[1] != len(fields) or not len(rows):
            raise ValueError(f"rows has shape {rows.shape}; give (n, {len(fields)}), n > 0, one column a field")
        size = np.abs(rows)
        middle = np.median(size, axis=0)
        scale = np.where(middle > 0.0, middle, size.mean(axis=0))
        floor = np.where(scale > 0.0, 0.1 * scale, 1.0)
        names = [("latency_p95", "latency_p50"), ("latency_p99", "latency_p50"), ("latency_p99", "latency_p95")]
        pairs = tuple((fields.index(a), fields.index(b)) for a, b in names if a in fields and b in fields)
        return cls(fields, pairs, floor.astype(np.float32), np.quantile(rows, 0.97, axis=0).astype(np.float32))

    @property
    def baseline(self) -> NodeBaseline:
        """The slow baseline that the features are made against."""
        return NodeBaseline(self.floor, self.memory)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of every feature, ``field:statistic``, in the order of ``window_features``."""
        plain = [f"{field}:{statistic}" for statistic in STATISTICS for field in self.fields]
        ratios = [
            f"{self.fields[a]}:{kind}:{self.fields[b]}" for kind in ("over", "over_change") for a, b in self.pairs
        ]
        day = [f"{field}:{statistic}" for statistic in AGAINST_DAY for field in self.fields]
        across = [f"across:{statistic}:{what}" for statistic in OF_FIELDS for what in ACROSS]
        return (*plain, *ratios, *day, *across)

    @property
    def field_of(self) -> NDArray[np.int64]:
        """Place of the raw field each feature belongs to: int64 (width,).

        That of a ratio is its numerator; -1 for what is made across fields.
        """
        own = list(range(len(self.fields)))
        ratios, across = [a for a, _ in self.pairs] * 2, [-1] * (len(OF_FIELDS) * len(ACROSS))
        return np.array(own * len(STATISTICS) + ratios + own * len(AGAINST_DAY) + across, dtype=np.int64)

    @property
    def signs(self) -> Array:
        """How a deviation of each field counts across fields, float32 (F,): 1, -1 where low is bad, 0 for codes."""
        return np.array(
            [0.0 if name in CODES else -1.0 if name in FALLING else 1.0 for name in self.fields], np.float32
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the artefact's metadata."""
        return {
            "pairs": [list(pair) for pair in self.pairs],
            "floor": self.floor.tolist(),
            "high": self.high.tolist(),
            "memory": self.memory,
        }

    @classmethod
    def from_dict(cls, fields: tuple[str, ...], values: dict[str, Any]) -> Self:
        """Rebuild a plan from ``to_dict``. Raises ``ValueError`` when the values do not fit the fields."""
        try:
            pairs = tuple((int(a), int(b)) for a, b in values["pairs"])
            with np.errstate(over="ignore"):
                floor = np.array(values["floor"], dtype=np.float32)
                high = np.array(values["high"], dtype=np.float32)
            memory = int(values["memory"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"the feature plan needs pairs, floor, high and memory as numbers ({error})") from error
        width = len(fields)
        if floor.shape != (width,) or high.shape != (width,) or any(not 0 <= i < width for pair in pairs for i in pair):
            raise ValueError(f"the feature plan does not fit {width} fields: {floor.shape}, {high.shape}, {pairs}")
        if not (np.isfinite(floor).all() and (floor > 0.0).all() and np.isfinite(high).all()):
            raise ValueError("the feature plan's floors must be positive and its levels finite")
        if not 1 <= memory <= MOST_MEMORY:
            raise ValueError(f"the feature plan's memory is {memory} steps; it must be within 1..{MOST_MEMORY}")
        return cls(fields, pairs, floor, high, memory)


def window_features(windows: WindowBatch, plan: FeaturePlan, before: NodeState) -> Array:
    """Make the features of each window.

    Args:
        windows: n windows of at least ten steps over ``plan.fields``.
        plan: what to make.
        before: float32 (n, plan.baseline.width), each node's baseline before the window's newest step.

    Returns:
        float32 (n, len(plan.names)), finite.

    Raises:
        ValueError: the windows are too short or have other fields.
    """
    if windows.features != len(plan.fields) or windows.length < MIN_WINDOW:
        raise ValueError(
            f"windows of {windows.length} steps and {windows.features} fields; "
            f"the plan needs >= {MIN_WINDOW} steps and {len(plan.fields)} fields"
        )
    # Time first: every statistic is then a chain of whole-array operations over (n, F).
    steps = np.ascontiguousarray(windows.tensor().transpose(1, 0, 2))
    parts = _statistics(steps, plan)
    blocks = [parts[name] for name in STATISTICS]
    now, mean = parts["mean5"], parts["mean"]
    over = [_ratio(now[:, a], now[:, b], plan, a, b) for a, b in plan.pairs]
    usual = [_ratio(mean[:, a], mean[:, b], plan, a, b) for a, b in plan.pairs]
    change = [a / np.maximum(b, np.float32(1e-6)) for a, b in zip(over, usual, strict=True)]
    day = _against_day(steps, now, mean, plan, before)
    parts |= zip(AGAINST_DAY, day, strict=True)
    across = [column for name in OF_FIELDS for column in _across(parts[name], plan.signs)]
    return np.column_stack([*blocks, *over, *change, *day, *across]).astype(np.float32, copy=False)


def deviations(features: Array, plan: FeaturePlan) -> Array:
    """Return how far each field is off in rows of ``window_features``, float32 (n, F), from 0 to 4."""
    first = plan.names.index(f"{plan.fields[0]}:off5")
    return _held(features[:, first : first + len(plan.fields)] * plan.signs)


def _statistics(steps: Array, plan: FeaturePlan) -> dict[str, Array]:
    """Return every statistic, float32 (n, F) each, of steps (length, n, F)."""
    length = len(steps)
    older, newer = steps[:-RECENT], steps[-RECENT:]
    sum_old, sum_new = _fold(np.add, older), _fold(np.add, newer)
    before, now = _mean(sum_old, len(older)), _mean(sum_new, RECENT)
    mean = _mean(sum_old + sum_new, length)
    return {
        "last": steps[-1],
        "mean5": now,
        "mean": mean,
        "std": _deviation(steps, mean),
        "ratio": (now + plan.floor) / (before + plan.floor),
        "z": (now - before) / (_deviation(older, before) + plan.floor),
        "high": _fold(np.add, (steps > plan.high).astype(np.float32)),
    }


def _against_day(steps: Array, now: Array, mean: Array, plan: FeaturePlan, before: NodeState) -> list[Array]:
    """Return the statistics of ``AGAINST_DAY`` in their order, float32 (n, F) each."""
    usual, scale = plan.baseline.split(before)
    scale = scale + plan.floor
    off = [(step - usual) / scale for step in (steps[-1], steps[-2], steps[-3], steps[-4])]
    highest = np.maximum(np.maximum(off[1], off[2]), off[3])
    level = np.maximum(usual, np.float32(0.0)) + plan.floor
    return [
        *off,
        np.minimum(off[0], off[1]),
        np.maximum(off[0], off[1]),
        off[0] - highest,
        (now - usual) / scale,
        (mean - usual) / scale,
        (now + plan.floor) / level,
        (mean + plan.floor) / level,
    ]


def _across(deviation: Array, signs: Array) -> list[Array]:
    """Return ``ACROSS`` in its order, float32 (n,) each, of one deviation of every field, float32 (n, F)."""
    signed = (deviation * signs)[:, signs != 0.0]
    falling = np.sort(signed, axis=1)[:, ::-1]
    rank = [falling[:, min(place, falling.shape[1] - 1)] for place in (1, 2, 4)]
    above = [np.count_nonzero(signed > limit, axis=1).astype(np.float32) for limit in (1.0, 2.0)]
    return [*rank, _fold(np.add, _held(falling).T), *above]


def _held(deviation: Array) -> Array:
    return np.clip(deviation, np.float32(0.0), np.float32(4.0))


def _fold(operation: Callable[[Array, Array], Array], steps: Array) -> Array:
    """Combine the steps one after another, oldest first: the order of rounding is fixed."""
    total: Array = steps[0].copy()
    for step in steps[1:]:
        total = operation(total, step)
    return total


def _mean(total: Array, count: int) -> Array:
    return total * np.float32(1.0 / count)


def _deviation(steps: Array, mean: Array) -> Array:
    """Return the standard deviation about a mean, two passes."""
    total = np.zeros_like(mean)
    for step in steps:
        away = step - mean
        total += away * away
    deviation: Array = np.sqrt(_mean(total, len(steps)))
    return deviation


def _ratio(above: Array, below: Array, plan: FeaturePlan, a: int, b: int) -> Array:
    """Return a ratio of two fields that is finite for zeros (floors keep it tame)."""
    ratio: Array = (above + plan.floor[a]) / (np.maximum(below, np.float32(0.0)) + plan.floor[b])
    return ratio
