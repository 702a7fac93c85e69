"""How far from their thresholds the scores of all windows are, as a Prometheus histogram."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from streams.verdict_columns import VerdictColumns

__all__ = ["EDGES", "ScoreHistogram"]

EDGES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0)
"""Upper ends of the buckets, of score by threshold: dense below 1, where a detector that drifts is seen first."""


class ScoreHistogram(Collector):
    """Counts whole columns at once; the client's own histogram takes one value a call.

    Args:
        registry: where it lives.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}
        registry.register(self)

    def observe(self, columns: VerdictColumns) -> None:
        """Count the scores of some verdicts. From one thread."""
        about = columns.about
        ratios = columns.scores / about.threshold if about.threshold else columns.scores
        places = np.searchsorted(EDGES, ratios, side="left")
        counts = self._counts.get(about.detector, np.zeros(len(EDGES) + 1, np.int64))
        self._sums[about.detector] = self._sums.get(about.detector, 0.0) + float(ratios.sum())
        # A new array: a scrape on another thread sees all of a batch or nothing.
        self._counts[about.detector] = counts + np.bincount(places, minlength=len(counts))

    def describe(self) -> list[Metric]:
        """Name the metric."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """Yield one histogram a detector."""
        family = self._family()
        names = (*(str(edge) for edge in EDGES), "+Inf")
        for detector, counts in list(self._counts.items()):
            buckets = [(name, float(total)) for name, total in zip(names, np.cumsum(counts).tolist(), strict=True)]
            family.add_metric((detector,), buckets, self._sums[detector])
        yield family

    @staticmethod
    def _family() -> HistogramMetricFamily:
        return HistogramMetricFamily(
            "vigil_score_ratio", "Score by threshold of every window scored; above 1 is flagged.", labels=("detector",)
        )
