"""The scores of all windows by their thresholds, as Prometheus sees them."""

import numpy as np
from prometheus_client import CollectorRegistry

from features.nodes import NO_LABEL
from streams.score_histogram import EDGES, ScoreHistogram
from streams.verdict_columns import VerdictColumns
from streams.verdicts import About


def columns(scores: list[float], detector: str = "peak", threshold: float = 2.0) -> VerdictColumns:
    count = len(scores)
    return VerdictColumns(
        About("s", detector, threshold, "v"),
        ["n"] * count,
        np.arange(count),
        np.array(scores, np.float64),
        [NO_LABEL] * count,
        {},
        [""] * count,
        np.zeros((0, 0), np.float32),
        np.full(count, -1, np.int32),
    )


def test_each_window_is_counted_once_in_the_bucket_of_its_score_by_threshold() -> None:
    registry = CollectorRegistry()
    histogram = ScoreHistogram(registry)
    histogram.observe(columns([0.1, 2.0, 2.1, 1000.0]))
    histogram.observe(columns([0.0, 0.3], threshold=1.0))
    histogram.observe(columns([5.0], "other", threshold=0.0))

    def below(edge: str, detector: str = "peak") -> float | None:
        return registry.get_sample_value("vigil_score_ratio_bucket", {"detector": detector, "le": edge})

    assert [below(edge) for edge in ("0.1", "0.2", "0.3", "1.0", "1.5", "100.0", "+Inf")] == [2, 2, 3, 4, 5, 5, 6]
    assert registry.get_sample_value("vigil_score_ratio_count", {"detector": "peak"}) == 6
    assert registry.get_sample_value("vigil_score_ratio_sum", {"detector": "peak"}) == 0.05 + 1 + 1.05 + 500 + 0.3
    assert (below("3.0", "other"), below("5.0", "other")) == (0, 1), "without a threshold the score itself"


def test_the_flagged_are_those_above_the_edge_of_one() -> None:
    assert 1.0 in EDGES
    assert sorted(EDGES) == list(EDGES)
