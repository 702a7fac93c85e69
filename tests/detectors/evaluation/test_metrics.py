"""Figures over rows, against scikit-learn and hand-made cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from detectors.evaluation.metrics import (
    at_threshold,
    average_precision,
    mean,
    precision_recall_curve,
    rate_interval,
    roc_auc,
)

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=60)


@given(ROWS)
def test_threshold_free_figures_equal_scikit_learns_with_ties(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([label for label, _ in rows])
    scores = np.array([float(score) for _, score in rows])
    if positive.any() and not positive.all():
        assert roc_auc(positive, scores) == pytest.approx(roc_auc_score(positive, scores))
        assert average_precision(positive, scores) == pytest.approx(average_precision_score(positive, scores))
        precision, recall = precision_recall_curve(positive, scores)
        assert np.sum(np.diff(recall, prepend=0.0) * precision) == pytest.approx(average_precision(positive, scores))
    else:
        assert np.isnan(roc_auc(positive, scores))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_figures_at_a_threshold_equal_scikit_learns(rows: list[tuple[bool, bool]]) -> None:
    positive, flagged = (np.array(column) for column in zip(*rows, strict=True))
    found = at_threshold(positive, flagged)
    if not positive.any():
        assert np.isnan(found.recall)
        assert found.false_positive_rate == np.mean(flagged)
        return
    precision, recall, f1, _ = precision_recall_fscore_support(positive, flagged, average="binary", zero_division=0)
    assert (found.precision, found.recall, found.f1) == pytest.approx((precision, recall, f1))
    assert found.detection_accuracy == pytest.approx((precision + recall) / 2)


def test_a_mean_passes_over_nodes_without_a_figure() -> None:
    assert mean([1.0, float("nan"), 2.0]) == 1.5
    assert np.isnan(mean([]))


@settings(deadline=None)
@given(st.integers(0, 2_000), st.floats(1e-3, 1e4))
def test_the_interval_of_a_rate_is_the_exact_one(count: int, exposure: float) -> None:
    low, high = rate_interval(count, exposure)
    assert low * exposure == pytest.approx(chi2.ppf(0.025, 2 * count) / 2 if count else 0.0)
    assert high * exposure == pytest.approx(chi2.ppf(0.975, 2 * count + 2) / 2)


def test_nothing_looked_at_bounds_no_rate() -> None:
    assert rate_interval(0, 0.0) == (0.0, float("inf"))
