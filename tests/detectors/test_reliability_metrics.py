"""Figures and thresholds of warnings, against hand-made cases and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from detectors.reliability.labels import label_rows
from detectors.reliability.metrics import (
    average_precision,
    brier_score,
    evaluate,
    expected_calibration_error,
    false_episodes,
)
from detectors.reliability.split import APART_MS, rotate, split_by_time_and_node
from detectors.reliability.thresholds import AlarmBudget, RecallTarget, fit_threshold
from schemas.metrics import Incident

MINUTE = 60_000
START = 1_760_000_000_000


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=60))
def test_average_precision_equals_scikit_learns_with_ties(rows: list[tuple[bool, int]]) -> None:
    positive = np.array([label for label, _ in rows])
    scores = np.array([float(score) for _, score in rows])
    if positive.any():
        assert average_precision(positive, scores) == pytest.approx(average_precision_score(positive, scores))
    else:
        assert np.isnan(average_precision(positive, scores))


def test_false_episodes_are_runs_within_a_node_outside_incidents() -> None:
    nodes = np.array(["a", "b"] * 6)
    flagged = np.array([1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1], bool)
    positive = np.zeros(12, bool)
    assert false_episodes(flagged, positive, nodes) == 2 + 3
    positive[:2] = True
    assert false_episodes(flagged, positive, nodes) == 2 + 2


def case() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Incident]]:
    """Two nodes over 400 minutes; an incident on "a" at 200-230 that the scores warn of from 190 on."""
    nodes = np.repeat(["a", "b"], 400)
    ts_ms = np.tile(START + np.arange(400, dtype=np.int64) * MINUTE, 2)
    scores = np.full(800, 0.1)
    scores[190:220] = 0.9
    scores[400 + 50 : 400 + 53] = 0.95
    incidents = [
        Incident(node_id="a", start_ms=START + 200 * MINUTE, end_ms=START + 230 * MINUTE, kind="leak", severity="info"),
        Incident(
            node_id="b", start_ms=START + 300 * MINUTE, end_ms=START + 310 * MINUTE, kind="crash", severity="info"
        ),
    ]
    return nodes, ts_ms, scores, incidents


def test_an_evaluation_counts_incidents_episodes_and_lead() -> None:
    nodes, ts_ms, scores, incidents = case()
    found = evaluate(scores, scores > 0.5, label_rows(nodes.tolist(), ts_ms, incidents), nodes, ts_ms, MINUTE)
    assert (found.incidents, found.incidents_caught) == (2, 1)
    assert found.caught_by_kind == {"leak": (1, 1), "crash": (0, 1)}
    assert found.median_lead_minutes == 10.0
    assert found.leads == {"crash": (), "leak": (10.0,)}
    assert found.median_lead_by_kind == {"leak": 10.0}
    assert found.false_episodes_per_node_day == pytest.approx(1 / (800 / 1440))
    assert found.false_positive_rate == pytest.approx(3 / (800 - 61 - 41))


def test_a_recall_target_gives_the_highest_threshold_that_reaches_it() -> None:
    nodes, ts_ms, scores, incidents = case()
    scores[400 + 305] = 0.4
    labels = label_rows(nodes.tolist(), ts_ms, incidents)
    every = fit_threshold(scores, labels, nodes, MINUTE, RecallTarget(1.0))
    half = fit_threshold(scores, labels, nodes, MINUTE, RecallTarget(0.5))
    assert every < 0.4 <= np.nextafter(every, 1.0)
    assert half < 0.9 <= np.nextafter(half, 1.0)


def test_an_alarm_budget_is_kept_and_used() -> None:
    rng = np.random.default_rng(3)
    scores = rng.random(20_000)
    nodes = np.repeat(["a", "b", "c", "d"], 5_000)
    ts_ms = np.tile(START + np.arange(5_000, dtype=np.int64) * MINUTE, 4)
    labels = label_rows(nodes.tolist(), ts_ms, [])
    threshold = fit_threshold(scores, labels, nodes, MINUTE, AlarmBudget(2.0))
    episodes = evaluate(scores, scores > threshold, labels, nodes, ts_ms, MINUTE).false_episodes_per_node_day
    assert 1.5 < episodes <= 2.0


def test_a_threshold_without_anything_to_fit_on_is_refused() -> None:
    nodes, ts_ms, scores, _ = case()
    labels = label_rows(nodes.tolist(), ts_ms, [])
    with pytest.raises(ValueError, match="no incident in the validation part"):
        fit_threshold(scores, labels, nodes, MINUTE, RecallTarget())
    with pytest.raises(ValueError, match="no validation rows"):
        fit_threshold(scores[:0], labels.take(np.arange(0)), nodes[:0], MINUTE, AlarmBudget())
    for wrong in (lambda: RecallTarget(0.0), lambda: AlarmBudget(0.0)):
        with pytest.raises(ValueError, match="must be"):
            wrong()


def test_calibration_figures_are_zero_for_the_true_probability_and_large_for_a_wrong_one() -> None:
    rng = np.random.default_rng(1)
    probability = rng.random(200_000)
    positive = rng.random(200_000) < probability
    assert expected_calibration_error(positive, probability) < 0.005
    assert expected_calibration_error(positive, probability**3) > 0.2
    assert brier_score(positive, probability) == pytest.approx(1 / 6, abs=0.002)


def test_the_split_keeps_time_and_nodes_apart() -> None:
    names = [f"n{place}" for place in range(8)]
    node_ids = np.repeat(names, 100)
    ts_ms = np.tile(START + np.arange(100, dtype=np.int64) * MINUTE, 8)
    split = split_by_time_and_node(node_ids.tolist(), ts_ms)
    assert split.held_out == {"n3", "n7"}
    parts = split.parts
    assert not (parts.train & parts.validation).any()
    assert not ((parts.train | parts.validation) & (parts.test | parts.unseen)).any()
    assert ts_ms[parts.train].max() < ts_ms[parts.validation].min() < ts_ms[parts.test].min()
    assert set(node_ids[parts.test]) == set(names)
    assert (parts.train.sum(), parts.validation.sum(), parts.test.sum()) == (6 * 55, 6 * 15, 8 * 30)


@pytest.mark.parametrize(("group", "test_from"), [(0, 0.7), (1, 0.4), (2, 0.1), (3, 0.0)])
def test_a_rotation_keeps_them_apart_too_and_tests_other_nodes_at_other_times(group: int, test_from: float) -> None:
    names = [f"n{place}" for place in range(8)]
    node_ids = np.repeat(names, 5_000)
    ts_ms = np.tile(START + np.arange(5_000, dtype=np.int64) * MINUTE, 8)
    parts = rotate(node_ids.tolist(), ts_ms, group, test_from)
    known = parts.train | parts.validation
    assert not (parts.train & parts.validation).any()
    assert not (known & (parts.test | parts.unseen)).any()
    assert set(node_ids[parts.unseen]) == {names[group], names[group + 4]}
    assert set(node_ids[parts.test]) == set(names)
    assert parts.test.mean() == pytest.approx(0.3, abs=0.001)
    tested = ts_ms[parts.test]
    near = (ts_ms[known] > tested.min() - APART_MS) & (ts_ms[known] < tested.max() + APART_MS)
    assert not near.any()
    assert parts.validation.sum() == pytest.approx(6 * 0.15 * 5_000, abs=6 * 181)
    with pytest.raises(ValueError, match=r"test_from of 0\.\.0\.7"):
        rotate(node_ids.tolist(), ts_ms, group, 0.8)
