"""VUS-PR against the authors' package, and against the definition written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.evaluation.vus import runs, vus_pr

# Seed, buffer and figure: printed by the package vus 0.0.6 (RangeAUC_volume_opt, 250 thresholds) for series(seed). It
# works with our numpy but brings TensorFlow along, 2.8 GB in all, so that its figures stand here instead.
PRINTED = (
    (0, 0, 0.6102233771471521),
    (1, 1, 0.64839418143253),
    (2, 7, 0.2964248907496281),
    (3, 20, 0.30489424233479356),
    (4, 100, 0.9548751972885459),
    (5, 0, 0.6067705027731154),
    (6, 1, 0.42094623126338426),
    (7, 7, 0.25691494997543624),
    (8, 20, 0.8844486746720138),
    (9, 100, 0.9350795311819027),
)


def series(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Events that may touch each other and the ends, under noisy scores; every second time with many ties."""
    rng = np.random.default_rng(seed)
    n = (60, 300, 1000, 2500)[seed % 4]
    positive = np.zeros(n, bool)
    for start in rng.integers(0, n, 1 + seed % 5).tolist():
        positive[start : start + int(rng.integers(1, 40))] = True
    scores = rng.normal(size=n) + 1.5 * positive
    return positive, np.round(scores, 1) if seed % 2 else scores


def slow(positive: NDArray[np.bool_], scores: NDArray[np.float64], buffer: int, thresholds: int) -> float:
    """The paper's definition, row by row and threshold by threshold."""
    n, areas = len(positive), []
    starts, ends = (places.tolist() for places in runs(positive))
    for width in range(buffer + 1):
        weight = [float(each) for each in positive]
        ranges: list[list[int]] = []
        for start, end in zip(starts, ends, strict=True):
            for away in range(1, width // 2 + 1):
                for place in (start - away, end + away):
                    if 0 <= place < n:
                        weight[place] = min(1.0, weight[place] + (1 - away / width) ** 0.5)
            first, last = max(start - width // 2, 0), min(end + width // 2, n - 1)
            if ranges and start - width // 2 <= ranges[-1][1]:
                ranges[-1][1] = last
            else:
                ranges.append([first, last])
        area, before = 0.0, 0.0
        for rank in np.linspace(0, n - 1, thresholds).astype(int):
            limit = sorted(scores.tolist(), reverse=True)[rank]
            passed = [place for place in range(n) if scores[place] >= limit]
            gained = sum(weight[place] for place in passed)
            beyond = sum(weight[place] for place in passed if not positive[place])
            touched = sum(any(first <= place <= last for place in passed) for first, last in ranges) / len(ranges)
            recall = min(gained / (sum(positive) + beyond / 2), 1.0) * touched
            area += (recall - before) * gained / len(passed)
            before = recall
        areas.append(area)
    return float(np.mean(areas))


@pytest.mark.parametrize(("seed", "buffer", "figure"), PRINTED)
def test_vus_pr_is_what_the_authors_package_prints(seed: int, buffer: int, figure: float) -> None:
    assert vus_pr(*series(seed), buffer=buffer) == pytest.approx(figure, abs=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_vus_pr_equals_the_authors_package_where_it_is_installed() -> None:
    package = pytest.importorskip("vus.utils.metrics")
    for seed in range(10, 20):
        positive, scores = series(seed)
        theirs = package.metricor().RangeAUC_volume_opt(positive.astype(int), scores, 100)[-1]
        assert vus_pr(positive, scores) == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=25), st.integers(0, 9))
def test_vus_pr_equals_the_definition(rows: list[tuple[bool, int]], buffer: int) -> None:
    positive = np.array([label for label, _ in rows])
    scores = np.array([float(score) for _, score in rows])
    if positive.any():
        assert vus_pr(positive, scores, buffer=buffer, thresholds=12) == pytest.approx(
            slow(positive, scores, buffer, 12), abs=1e-12
        )
    else:
        assert np.isnan(vus_pr(positive, scores))


def test_a_near_miss_counts_in_part_and_a_far_one_hardly() -> None:
    positive = np.zeros(1000, bool)
    positive[400:450] = True
    assert vus_pr(positive, positive.astype(float)) == pytest.approx(1.0)
    late, far = (vus_pr(positive, np.roll(positive, by).astype(float)) for by in (20, 200))
    assert 0.6 < late < 0.9
    assert far < 0.1
    assert vus_pr(positive, np.roll(positive, 20).astype(float), buffer=0) < late
