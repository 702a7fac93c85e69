"""VUS-PR: volume under the surface of precision and recall over thresholds and over buffers around the events.

Paparrizos et al., "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly Detection",
VLDB 2022. An event counts as a range: rows before and after it, up to half a buffer away, count in part, less with
distance, and recall is scaled by the share of events that are touched at all. The volume averages over all buffers from
0 to ``BUFFER`` steps. Thresholds are taken at ``THRESHOLDS`` evenly spaced ranks, as the authors' package does, so that
figures are comparable with published ones to the digit.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BUFFER: Final = 100
THRESHOLDS: Final = 250


def vus_pr(positive: NDArray[np.bool_], scores: Floats, *, buffer: int = BUFFER, thresholds: int = THRESHOLDS) -> float:
    """Return the volume under the precision-recall surface of one series; NaN when no row is anomalous.

    Args:
        positive: bool (n,), in time order.
        scores: float64 (n,), larger is more anomalous.
        buffer: widest buffer, steps.
        thresholds: how many scores serve as thresholds.
    """
    if not positive.any():
        return float("nan")
    starts, ends = runs(positive)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    limits = ordered[np.linspace(0, len(scores) - 1, thresholds).astype(np.int64)]
    passed = np.searchsorted(-ordered, -limits, side="right")  # rows at or above each threshold
    areas = [_area(positive, scores, order, (starts, ends, width), (limits, passed)) for width in range(buffer + 1)]
    return float(np.mean(areas))


def runs(positive: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return the first and the last place of each run of true, int64 (k,) both."""
    change = np.diff(positive.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1) - 1


def _area(
    positive: NDArray[np.bool_],
    scores: Floats,
    order: Ints,
    events: tuple[Ints, Ints, int],
    cut: tuple[Floats, Ints],
) -> float:
    """Return the area under one curve: of events with buffers of one width."""
    limits, passed = cut
    weight = _weights(positive, *events)
    gained = np.cumsum(weight[order])[passed - 1]  # true positives, in part
    whole = int(np.sum(positive))
    beyond = np.cumsum(np.where(positive, 0.0, weight)[order])[passed - 1]
    recall = np.minimum(gained / (whole + beyond / 2.0), 1.0)
    highest = -np.sort(-_highest(scores, *events))
    touched = np.searchsorted(-highest, -limits, side="right") / len(highest)
    steps = np.diff(recall * touched, prepend=0.0)
    return float(np.dot(steps, gained / passed))


def _weights(positive: NDArray[np.bool_], starts: Ints, ends: Ints, width: int) -> Floats:
    """Return how far each row counts as anomalous: 1 in an event, sqrt(1 - distance / width) in its buffers."""
    weight = positive.astype(np.float64)
    away = np.arange(1, width // 2 + 1)
    part = np.broadcast_to(np.sqrt(1.0 - away / max(width, 1)), (len(starts), len(away)))
    for place in (ends[:, None] + away, starts[:, None] - away):
        inside = (place >= 0) & (place < len(weight))
        np.add.at(weight, place[inside], part[inside])
    return np.minimum(weight, 1.0)


def _highest(scores: Floats, starts: Ints, ends: Ints, width: int) -> Floats:
    """Return the highest score in each event with its buffers; events whose buffers meet count as one."""
    half = width // 2
    apart = ends[:-1] + half < starts[1:] - half
    first = np.maximum(starts[np.concatenate([[True], apart])] - half, 0)
    last = np.minimum(ends[np.concatenate([apart, [True]])] + half, len(scores) - 1)
    padded = np.append(scores, -np.inf)
    bounds = np.stack([first, last + 1], axis=1).ravel()
    return np.asarray(np.maximum.reduceat(padded, bounds)[::2], dtype=np.float64)
