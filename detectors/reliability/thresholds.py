"""Thresholds that mean something: a recall of incidents, or a budget of false alarms. From validation rows only."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.labels import Labels
from detectors.reliability.metrics import best_by_incident, false_episodes

_CANDIDATES = 400


@dataclass(frozen=True, slots=True)
class RecallTarget:
    """The highest threshold (so the best precision) that still catches this share of the validation incidents."""

    share: float = 0.98

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"recall target {self.share} must be in (0, 1]")

    def __str__(self) -> str:
        return f"highest threshold that catches {self.share:.0%} of the validation incidents"


@dataclass(frozen=True, slots=True)
class AlarmBudget:
    """The lowest threshold (so the best recall) within this many false episodes a node-day of validation."""

    per_node_day: float = 0.5

    def __post_init__(self) -> None:
        if not self.per_node_day > 0.0:
            raise ValueError(f"alarm budget {self.per_node_day} must be positive")

    def __str__(self) -> str:
        return f"lowest threshold with at most {self.per_node_day:g} false episodes a node-day of validation"


def fit_threshold(
    scores: NDArray[np.float64], labels: Labels, nodes: NDArray[Any], step_ms: int, rule: RecallTarget | AlarmBudget
) -> float:
    """Choose the threshold that the rule asks for; a score is flagged when it is greater.

    Args:
        scores: float64 (n,) of the validation rows, in time order within each node.
        labels: theirs.
        nodes: (n,), equal for the rows of one node.
        step_ms: nominal time between two rows of a node.
        rule: what the user asks for.

    Raises:
        ValueError: a recall target without incidents in the validation part, or no rows at all.
    """
    if not len(scores):
        raise ValueError("no validation rows to fit a threshold on; give more data")
    if isinstance(rule, RecallTarget):
        best = sorted(best_by_incident(scores, labels).values(), reverse=True)
        if not best:
            raise ValueError("no incident in the validation part to fit a recall target on; give more data or a budget")
        return math.nextafter(best[math.ceil(rule.share * len(best) - 1e-9) - 1], -math.inf)
    allowed = rule.per_node_day * len(scores) * step_ms / 86_400_000.0
    # Episodes do not fall steadily with the threshold (long ones break up), so it comes down from the top.
    ladder = np.unique(np.quantile(scores, 1.0 - np.geomspace(1.0 / len(scores), 0.5, _CANDIDATES)))[::-1]
    chosen = float(scores.max())
    for candidate in ladder.tolist():
        if false_episodes(scores > candidate, labels.positive, nodes) > allowed:
            break
        chosen = candidate
    return chosen
