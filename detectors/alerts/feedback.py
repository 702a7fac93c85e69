"""How feedback moves the level from which a node's anomalies open an alert."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from schemas.controls import Feedback

__all__ = ["HIGHEST", "STEPS", "levels"]

STEPS: Final = {"noise": 1.25, "expected": 1.1, "real": 0.8}
"""What one alert's feedback does to its node's level: real takes back what noise did."""
HIGHEST: Final = 3.0
"""No feedback raises a level beyond; 1, the detector's own threshold, is the lowest."""


def levels(feedback: Iterable[Feedback]) -> dict[str, float]:
    """Return the level of each node that has another one than 1: score by threshold, 1 to ``HIGHEST``.

    Args:
        feedback: at most one on each alert.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in feedback:
        counts[one.node_id][one.verdict] += 1
    found = {node: _level(tally) for node, tally in counts.items()}
    return {node: level for node, level in found.items() if level != 1.0}


def _level(tally: Counter[str]) -> float:
    level = 1.0
    for verdict, step in STEPS.items():
        level *= step ** tally[verdict]
    return round(min(max(level, 1.0), HIGHEST), 4)
