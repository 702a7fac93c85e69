"""Figures over rows: threshold-free ones and those at a threshold. No point adjustment anywhere."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, lgamma, log, sqrt

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.metrics import average_precision

__all__ = [
    "AtThreshold",
    "at_threshold",
    "average_precision",
    "mean",
    "precision_recall_curve",
    "rate_interval",
    "roc_auc",
    "share",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """Figures of flagged rows; NaN where a ratio has nothing to divide by.

    Attributes:
        precision: share of the flagged rows that are anomalous; 0 when none is flagged.
        recall: share of the anomalous rows that are flagged.
        f1: harmonic mean of the two.
        detection_accuracy: arithmetic mean of the two, as the reference report defines it.
        false_positive_rate: share of the normal rows that are flagged.
    """

    precision: float
    recall: float
    f1: float
    detection_accuracy: float
    false_positive_rate: float


def at_threshold(positive: Bools, flagged: Bools) -> AtThreshold:
    """Compare flagged rows with anomalous ones, bool (n,) both."""
    hits, alarms = int(np.sum(positive & flagged)), int(np.sum(flagged))
    if not positive.any():
        return AtThreshold(NAN, NAN, NAN, NAN, share(alarms, len(positive)))
    precision, recall = hits / alarms if alarms else 0.0, hits / int(np.sum(positive))
    return AtThreshold(
        precision=precision,
        recall=recall,
        f1=2.0 * precision * recall / (precision + recall) if hits else 0.0,
        detection_accuracy=(precision + recall) / 2.0,
        false_positive_rate=share(alarms - hits, int(np.sum(~positive))),
    )


def roc_auc(positive: Bools, scores: Floats) -> float:
    """Return the chance that an anomalous row scores above a normal one, ties counted half; NaN without either.

    Args:
        positive: bool (n,).
        scores: float64 (n,).
    """
    ones = int(np.sum(positive))
    zeros = len(positive) - ones
    if not ones or not zeros:
        return NAN
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2.0  # mean rank of equal scores, from 1
    return float((np.sum(rank[place][positive]) - ones * (ones + 1) / 2.0) / (ones * zeros))


def precision_recall_curve(positive: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """Return precision and recall at every different score, from the highest down, float64 (k,) each."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[last]
    return hits / (last + 1.0), hits / max(int(np.sum(positive)), 1)


def mean(values: list[float]) -> float:
    """Return the mean of the values that are numbers; NaN when none is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else NAN


def share(part: int, whole: int) -> float:
    """Return a ratio of counts; NaN of nothing."""
    return part / whole if whole else NAN


def rate_interval(count: int, exposure: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a Poisson rate (Garwood, Biometrika 1936).

    Args:
        count: events seen, independent of each other.
        exposure: how long, or how much, was looked at; the rates are per unit of it.
        confidence: how often such an interval holds the true rate, at least.

    Returns:
        The lowest and the highest rate; infinity where nothing was looked at.
    """
    if not exposure > 0.0:
        return 0.0, float("inf")
    tail = (1.0 - confidence) / 2.0
    largest = count + 10.0 * sqrt(count + 1.0) + 10.0
    high = _falls_to(lambda expected: _at_most(count, expected), tail, largest)
    low = _falls_to(lambda expected: _at_most(count - 1, expected), 1.0 - tail, largest) if count else 0.0
    return low / exposure, high / exposure


def _at_most(count: int, expected: float) -> float:
    """Return the chance of at most ``count`` events where ``expected`` > 0 are expected."""
    return sum(exp(each * log(expected) - expected - lgamma(each + 1.0)) for each in range(count + 1))


def _falls_to(chance: Callable[[float], float], level: float, largest: float) -> float:
    """Return where a falling function of what is expected, between 0 and ``largest``, passes ``level``."""
    low, high = 0.0, largest
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if chance(middle) > level else (low, middle)
    return high
