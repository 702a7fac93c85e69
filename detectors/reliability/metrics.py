"""How good warnings are: by row, by incident, and as probabilities. No point adjustment anywhere."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.labels import Labels

Scores = NDArray[np.float64]
_MINUTES_A_DAY = 1_440.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one set of rows.

    Attributes:
        rows, base_rate: how many rows, and the share that is positive: what a random score reaches.
        average_precision: area under the precision-recall curve over rows.
        incidents, incidents_caught: incidents with rows in the set, and those with an alarm within their rows.
        false_positive_rate: share of the negative rows that are flagged.
        false_episodes_per_node_day: runs of flagged negative rows, a node-day of rows.
        median_lead_minutes: from the first alarm to the reported start, over caught incidents; negative when late,
            NaN when none is caught.
        caught_by_kind: caught and all incidents of each kind.
        median_lead_by_kind: the same of each kind's caught incidents.
        leads: minutes from the first alarm to the reported start of the caught incidents of each kind, ascending.
    """

    rows: int
    base_rate: float
    average_precision: float
    incidents: int
    incidents_caught: int
    false_positive_rate: float
    false_episodes_per_node_day: float
    median_lead_minutes: float
    caught_by_kind: dict[str, tuple[int, int]]
    median_lead_by_kind: dict[str, float]
    leads: dict[str, tuple[float, ...]]


def average_precision(positive: NDArray[np.bool_], scores: Scores) -> float:
    """Return the average precision: the mean precision at each positive row, equal scores counted together.

    NaN when no row is positive.
    """
    total = int(positive.sum())
    if not total:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    gained = np.diff(np.concatenate([[0], hits[last]]))
    return float(np.sum(gained * hits[last] / (last + 1.0)) / total)


def false_episodes(flagged: NDArray[np.bool_], positive: NDArray[np.bool_], nodes: NDArray[Any]) -> int:
    """Count runs of flagged negative rows; rows must be in time order within each node, nodes together or not."""
    order = np.argsort(nodes, kind="stable")
    false = (flagged & ~positive)[order]
    same = np.concatenate([[False], nodes[order][1:] == nodes[order][:-1]])
    before = np.concatenate([[False], false[:-1]]) & same
    return int(np.count_nonzero(false & ~before))


def best_by_incident(scores: Scores, labels: Labels) -> dict[int, float]:
    """Return the highest score within each incident's rows, by the incident's place in ``labels.incidents``."""
    best = np.full(len(labels.incidents), -np.inf)
    np.maximum.at(best, labels.incident[labels.positive], scores[labels.positive])
    return {place: float(best[place]) for place in np.flatnonzero(best > -np.inf).tolist()}


def evaluate(
    scores: Scores,
    flagged: NDArray[np.bool_],
    labels: Labels,
    nodes: NDArray[Any],
    ts_ms: NDArray[np.int64],
    step_ms: int,
) -> Evaluation:
    """Measure scores and alarms against labels.

    Args:
        scores: float64 (n,), larger is more likely an incident.
        flagged: bool (n,), the alarms.
        labels: of the same rows.
        nodes: (n,), something equal for the rows of one node.
        ts_ms: int64 (n,), ascending within each node.
        step_ms: nominal time between two rows of a node, which makes rows node-days.
    """
    positive = labels.positive
    negatives = int((~positive).sum())
    first = np.full(len(labels.incidents), np.iinfo(np.int64).max)
    within = flagged & positive
    np.minimum.at(first, labels.incident[within], ts_ms[within])
    places = np.unique(labels.incident[positive]).tolist()
    caught = [place for place in places if first[place] < np.iinfo(np.int64).max]
    lead_of = {place: (labels.incidents[place].start_ms - int(first[place])) / 60_000.0 for place in caught}
    kinds: dict[str, list[int]] = {}
    for place in places:
        kinds.setdefault(labels.incidents[place].kind, []).append(place)
    by_kind = {kind: sorted(lead_of[place] for place in kinds[kind] if place in lead_of) for kind in sorted(kinds)}
    leads = list(lead_of.values())
    days = len(scores) * step_ms / 60_000.0 / _MINUTES_A_DAY
    return Evaluation(
        rows=len(scores),
        base_rate=float(positive.mean()) if len(scores) else float("nan"),
        average_precision=average_precision(positive, scores),
        incidents=len(places),
        incidents_caught=len(caught),
        false_positive_rate=float(np.count_nonzero(flagged & ~positive) / negatives) if negatives else float("nan"),
        false_episodes_per_node_day=false_episodes(flagged, positive, nodes) / days if days else float("nan"),
        median_lead_minutes=float(np.median(leads)) if leads else float("nan"),
        caught_by_kind={kind: (len(found), len(kinds[kind])) for kind, found in by_kind.items()},
        median_lead_by_kind={kind: float(np.median(found)) for kind, found in by_kind.items() if found},
        leads={kind: tuple(found) for kind, found in by_kind.items()},
    )


def expected_calibration_error(positive: NDArray[np.bool_], probability: Scores, bins: int = 20) -> float:
    """Return the mean gap between predicted and observed frequency over bins of equal width, weighted by rows."""
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    observed = np.bincount(place, positive, bins)
    predicted = np.bincount(place, probability, bins)
    return float(np.abs(observed - predicted).sum() / max(len(positive), 1))


def reliability_curve(
    positive: NDArray[np.bool_], probability: Scores, bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return mean probability, observed frequency and rows of each bin of equal width that has rows."""
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    rows = np.bincount(place, minlength=bins)
    said, seen = np.bincount(place, probability, bins), np.bincount(place, positive, bins)
    filled = np.flatnonzero(rows).tolist()
    return [(float(said[i] / rows[i]), float(seen[i] / rows[i]), int(rows[i])) for i in filled]


def brier_score(positive: NDArray[np.bool_], probability: Scores) -> float:
    """Return the mean squared difference between probability and outcome."""
    return float(np.mean((probability - positive) ** 2))
