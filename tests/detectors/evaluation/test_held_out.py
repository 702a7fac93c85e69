"""The later part of a training recording: where it is cut, how it is scored, and what is said of it."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.fit import FitSettings, fit_consensus
from detectors.evaluation.held_out import Course, follow, held_out_figures, held_out_text, later_part
from detectors.evaluation.training_report import exceedances, write_training_report
from detectors.offline import Steps, score_steps
from tests.detectors.consensus_samples import fitted, fleet
from vigil.training.consensus import Trained, train_consensus

LIMIT = 5.0
OFTEN = FitSettings(false_alarms_per_node_day=200.0)


def course(scores: list[list[float]], later: int) -> Course:
    """Nodes that take turns, a step a second; from step ``later`` on nothing was fitted on."""
    rows = np.array(scores)
    nodes, steps = rows.shape
    return Course(
        node=np.tile(np.arange(nodes), steps),
        names=tuple(f"n{node}" for node in range(nodes)),
        ts_ms=np.repeat(1000 * np.arange(steps, dtype=np.int64), nodes),
        scores=rows.T.ravel(),
        readings=np.stack([rows.T.ravel()] * 3, axis=1),
        flagged=rows.T.ravel() > LIMIT,
        later=np.repeat(np.arange(steps) >= later, nodes),
        moments_ms=np.empty(0, dtype=np.int64),
        drift=np.empty((0, 1)),
        scales=np.empty((0, 1)),
    )


def test_the_cut_is_one_moment_for_all_nodes() -> None:
    ts_ms = np.array([5, 1, 2, 3, 4, 5, 1, 2, 3, 4], dtype=np.int64)
    assert later_part(ts_ms).tolist() == [True, False, False, False, False, True, *[False] * 4]
    assert later_part(ts_ms, 0.4).sum() == 4
    assert not later_part(np.full(7, 3, dtype=np.int64)).any()


def test_false_alarms_are_counted_after_the_cut_against_what_was_asked() -> None:
    quiet, loud = [1.0] * 100, [1.0] * 100
    loud[10] = loud[50] = loud[55] = loud[80] = 9.0  # before the cut, one episode of two steps, and one of one
    found = held_out_figures(course([quiet, loud], later=40), LIMIT, 100.0, 1000)
    assert (found["false_alarms"], found["flagged_steps"], found["steps"], found["nodes"]) == (2, 3, 120, 2)
    assert found["node_days"] == pytest.approx(120 / 86_400)
    assert found["false_alarms_per_node_day"] == pytest.approx(2 / (120 / 86_400))
    assert found["times_asked"] == pytest.approx(found["false_alarms_per_node_day"] / 100.0)
    assert found["interval_95"][0] < found["false_alarms_per_node_day"] < found["interval_95"][1]
    assert found["from_ms"] == 40_000
    assert "the last 20% by time, 2 false alarms in 0.00139 node-days" in held_out_text({"share": 0.2, **found})


def test_steps_without_a_verdict_are_no_time_without_a_false_alarm_and_new_nodes_are_told() -> None:
    late = [np.nan] * 60 + [1.0] * 40
    made = course([[1.0] * 100, late], later=50)
    joined = replace(made, later=made.later | (made.node == 1))
    found = held_out_figures(joined, LIMIT, 1.0, 1000)
    assert found["node_days"] == pytest.approx((50 + 40) / 86_400)
    assert (found["nodes"], found["new_nodes"]) == (2, 1)


def test_the_course_is_the_workers() -> None:
    steps = fleet(4, 120, 8)
    detector = fitted()
    went = follow(detector, steps, later_part(steps.ts_ms), 1000)
    scored = score_steps(detector, Steps(steps.keys, steps.ts_ms, steps.rows, 1000))
    np.testing.assert_array_equal(went.scores, scored.scores)
    np.testing.assert_array_equal(went.flagged, scored.flagged)
    assert went.names == ("n0", "n1", "n2", "n3")
    assert [went.names[node] for node in went.node.tolist()] == list(steps.keys)


def test_a_baseline_that_is_dragged_along_shows() -> None:
    steps = fleet(4, 600, 8)
    rows = steps.rows.copy()
    rows[steps.ts_ms > steps.ts_ms[0] + 100_000, 1] *= 3.0  # latency_p50
    moved = follow(fitted(), replace(steps, rows=rows), later_part(steps.ts_ms), 1000)
    calm = follow(fitted(), steps, later_part(steps.ts_ms), 1000)
    assert moved.drift[-1, 1] > 1.0 > np.abs(calm.drift[-1, 1])
    np.testing.assert_array_equal(moved.drift[:, 0], calm.drift[:, 0])
    assert np.all(np.diff(moved.moments_ms) > 0)
    assert moved.drift[0].tolist() == [0.0] * 4


@cache
def trained() -> Trained:
    return train_consensus(fleet(6, 500, 3), OFTEN)


def test_nothing_after_the_cut_is_fitted_on() -> None:
    steps = fleet(6, 500, 3)
    later = later_part(steps.ts_ms)
    rows = steps.rows.copy()
    rows[later & (steps.ts_ms // 1000 % 25 == 0)] *= 7.0
    disturbed = train_consensus(replace(steps, rows=rows), OFTEN)
    assert disturbed.tried.threshold == trained().tried.threshold == fit_consensus(steps.take(~later), OFTEN).threshold
    assert disturbed.held_out["false_alarms"] > trained().held_out["false_alarms"]
    assert disturbed.detector.threshold != trained().detector.threshold


def test_telemetry_that_stays_as_it_is_passes_about_as_often_as_asked() -> None:
    found = train_consensus(fleet(8, 1_000, 11), OFTEN).held_out
    assert found["asked_false_alarms_per_node_day"] == 200.0
    assert 1 / 3 < found["times_asked"] < 3.0


def test_figures_and_versions_stand_in_the_metadata_and_change_no_verdict(tmp_path: Path) -> None:
    plain = fit_consensus(fleet(6, 500, 3), OFTEN)
    trained().detector.save(tmp_path / "a")
    plain.save(tmp_path / "b")
    metadata = ConsensusDetector.load(tmp_path / "a").metadata
    assert metadata.model_version == plain.version
    assert metadata.metrics["held_out"] == trained().held_out
    assert {"numpy", "safetensors"} <= set(metadata.versions)
    assert {"asked", "tail_index", "peaks", "threshold"} <= set(metadata.threshold.fit)
    assert len(metadata.training["data_sha256"]) == 64


def test_a_recording_whose_first_part_carries_no_fit_is_trained_on_and_says_so(tmp_path: Path) -> None:
    brief, whole = fleet(320, 25, 1, "brief"), fleet(4, 500, 2)  # the first never have a window
    steps = replace(
        whole,
        keys=[*brief.keys, *whole.keys],
        ts_ms=np.concatenate([brief.ts_ms, whole.ts_ms + 60_000]),
        rows=np.concatenate([brief.rows, whole.rows]),
    )
    made = train_consensus(steps, FitSettings())
    assert list(made.held_out) == ["skipped"]
    assert "the first 80% alone are too few: no node has 30 steps in a row" in held_out_text(made.held_out)
    assert made.tried is made.detector
    page = write_training_report(made.detector, made.tried, made.course, tmp_path)[0]
    assert "not measured: the first 80%" in page.read_text()


def test_a_report_has_plots_and_the_figures(tmp_path: Path) -> None:
    made = trained()
    made.detector.save(tmp_path / "artefact")
    page, *plots = write_training_report(made.detector, made.tried, made.course, tmp_path / "report")
    assert [path.name for path in plots] == [
        f"training-{name}.png" for name in ("exceedance", "scores", "baselines", "scales")
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in plots)
    text = page.read_text()
    assert text.startswith(f"# {made.detector.version}\n")
    assert "for 200 false alarms a node-day" in text
    assert held_out_text(made.held_out) in text
    assert str(tmp_path) not in text


def test_exceedances_are_episodes_a_node_day() -> None:
    loud = [1.0] * 200
    loud[10], loud[50], loud[55], loud[120] = 3.0, 9.0, 4.0, 9.0
    made = course([loud, [1.0] * 200], later=100)
    day = 86_400 / 200
    assert exceedances(made, made.scores, ~made.later, np.array([2.0, 5.0, 10.0]), 1000).tolist() == [2 * day, day, 0.0]
    assert exceedances(made, made.scores, made.later, np.array([2.0]), 1000).tolist() == [day]
