"""The reliability detector: trained on a simulated fleet, exact in any batch, honest about labels that do not fit."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from detectors.artefacts import ArtefactError
from detectors.protocol import Detector
from detectors.reliability.detector import MODEL_FILE, ReliabilityDetector
from detectors.reliability.training import (
    AlarmBudget,
    DataGateError,
    NodeRows,
    Recipe,
    calibrate,
    check_gates,
    train_reliability,
)
from features.batch import WindowBatch
from schemas.metrics import Incident
from schemas.streams import NODE
from vigil.simulator import NodeFleet, simulate_nodes

START = 1_760_054_400_000
QUICK = Recipe(trees=60, learning_rate=0.15, negatives=0.5, threads=1)

Data = tuple[NodeRows, list[Incident]]


@pytest.fixture(scope="module")
def data() -> Data:
    fleet = simulate_nodes(NodeFleet(12, lookalikes=0.5), 4 * 1_440, 22, START, 3.0)
    rows = NodeRows(NODE.features, fleet.node_ids(), fleet.ts_ms, fleet.matrix())
    return rows, list(fleet.incidents)


@pytest.fixture(scope="module")
def detector(data: Data) -> ReliabilityDetector:
    return train_reliability(*data, recipe=QUICK)


@pytest.fixture(scope="module")
def windows(data: Data) -> WindowBatch:
    rows, incidents = data
    node = incidents[0].node_id
    mine = np.flatnonzero(np.asarray(rows.node_ids) == node)
    values, ts_ms = rows.values[mine], rows.ts_ms[mine]
    at = np.arange(len(values) - 29)[:, None] + np.arange(30)
    return WindowBatch.stack(values[at], ts_ms[at])


def test_it_finds_incidents_on_later_days_and_on_nodes_it_never_saw(detector: ReliabilityDetector) -> None:
    for part in ("test", "test_unseen_nodes"):
        figures = detector.metadata.metrics[part]
        assert figures["average_precision"] > 3.0 * figures["base_rate"], part
    test = detector.metadata.metrics["test"]
    assert test["incidents_caught"] >= 0.8 * test["incidents"]
    assert test["expected_calibration_error"] < 0.06


def half_a_day_late(rows: NodeRows, incidents: list[Incident]) -> list[Incident]:
    shift = 12 * 3_600_000
    return [
        Incident(
            node_id=one.node_id,
            start_ms=one.start_ms + shift,
            end_ms=None if one.end_ms is None else one.end_ms + shift,
            kind=one.kind,
            severity=one.severity,
        )
        for one in incidents
        if one.start_ms + shift < rows.ts_ms[-1]
    ]


def on_the_wrong_nodes(rows: NodeRows, incidents: list[Incident]) -> list[Incident]:
    names = sorted(set(rows.node_ids))
    other = dict(zip(names, names[5:] + names[:5], strict=True))
    return [
        Incident(
            node_id=other[one.node_id],
            start_ms=one.start_ms,
            end_ms=one.end_ms,
            kind=one.kind,
            severity=one.severity,
        )
        for one in incidents
    ]


@pytest.mark.parametrize("misalign", [half_a_day_late, on_the_wrong_nodes])
def test_labels_that_do_not_belong_to_the_rows_cannot_look_learnable(data: Data, misalign: object) -> None:
    """The check that would have caught the reference's bug: labels misaligned with rows leave nothing to learn."""
    rows, incidents = data
    wrong = misalign(rows, incidents)
    try:
        figures = train_reliability(rows, wrong, recipe=QUICK).metadata.metrics["test"]
    except ValueError as error:
        assert "labels and rows do not match" in str(error)  # noqa: PT017 - either outcome is right, silence is not
    else:
        assert figures["average_precision"] < 2.0 * figures["base_rate"]


def test_a_score_is_the_same_bits_in_any_batch(detector: ReliabilityDetector, windows: WindowBatch) -> None:
    whole = detector.score(windows)
    assert whole.dtype == np.float64
    assert 0.0 <= whole.min() < whole.max() <= 1.0
    some = windows.take(np.arange(300))
    for size in (1, 2, 5, 8, 33, 128):
        parts = [detector.score(some.take(np.arange(at, min(at + size, 300)))) for at in range(0, 300, size)]
        assert np.concatenate(parts).tobytes() == whole[:300].tobytes(), size
    order = np.random.default_rng(1).permutation(len(windows))
    assert detector.score(windows.take(order)).tobytes() == whole[order].tobytes()


def test_no_windows_give_no_scores(detector: ReliabilityDetector) -> None:
    none = WindowBatch.empty(30, len(NODE.features))
    assert detector.score(none).shape == (0,)
    assert detector.contributions(none) == []


def test_it_is_a_detector(detector: ReliabilityDetector) -> None:
    as_detector: Detector = detector
    assert (as_detector.name, as_detector.window, as_detector.state_width) == ("reliability", 30, 0)
    assert as_detector.fields == NODE.features
    assert as_detector.threshold < as_detector.levels[0] < as_detector.levels[1] < 1.0


def test_contributions_name_the_fields_that_raise_the_probability(
    detector: ReliabilityDetector, windows: WindowBatch
) -> None:
    scores = detector.score(windows)
    top = windows.take(np.argsort(-scores)[:50])
    explained = detector.contributions(top)
    assert len(explained) == 50
    for place, contributions in enumerate(explained):
        assert 1 <= len(contributions) <= 5
        assert 0.3 < sum(one.share for one in contributions) <= 1.0
        assert all(a.share >= b.share for a, b in pairwise(contributions))
        for one in contributions:
            measured = top.tensor()[place, :, NODE.features.index(one.feature)]
            assert one.value == measured[-1]
            assert measured.min() <= one.expected_low <= one.expected_high <= measured.max()


def test_what_is_planted_is_what_is_blamed(detector: ReliabilityDetector, windows: WindowBatch) -> None:
    calmest = windows.take(np.argsort(detector.score(windows))[:1]).tensor()
    memory = NODE.features.index("memory_usage")
    leaking = calmest.copy()
    leaking[0, :, memory] = np.linspace(60.0, 97.0, 30)
    before, after = detector.score(WindowBatch.stack(np.concatenate([calmest, leaking])))
    assert after > 5.0 * before
    assert detector.contributions(WindowBatch.stack(leaking))[0][0].feature == "memory_usage"


def test_an_artefact_reads_back_with_the_same_scores(
    detector: ReliabilityDetector, windows: WindowBatch, tmp_path: Path
) -> None:
    detector.save(tmp_path)
    again = ReliabilityDetector.load(tmp_path)
    assert again.version == detector.version
    assert again.version.startswith("reliability-")
    assert again.threshold == detector.threshold
    assert again.score(windows).tobytes() == detector.score(windows).tobytes()
    assert json.loads((tmp_path / MODEL_FILE).read_bytes())["learner"]["objective"]["name"] == "binary:logistic"


def test_a_changed_artefact_is_refused(detector: ReliabilityDetector, tmp_path: Path) -> None:
    detector.save(tmp_path)
    model = tmp_path / MODEL_FILE
    model.write_bytes(model.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(ArtefactError, match="checksum"):
        ReliabilityDetector.load(tmp_path)


def test_the_same_seed_grows_the_same_trees_on_any_number_of_threads(data: Data, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    short = replace(QUICK, trees=8)
    one = train_reliability(*data, recipe=short, progress=lambda done, total: seen.append((done, total)))
    two = train_reliability(*data, recipe=replace(short, threads=2))
    other = train_reliability(*data, recipe=replace(short, seed=1))
    one.save(tmp_path / "one")
    two.save(tmp_path / "two")
    other.save(tmp_path / "other")
    assert one.version == two.version != other.version
    assert seen == [(done, 8) for done in range(1, 9)]


def test_an_alarm_budget_costs_recall_and_saves_alarms(data: Data, detector: ReliabilityDetector) -> None:
    sparing = train_reliability(*data, recipe=QUICK, rule=AlarmBudget(0.1))
    assert sparing.threshold > detector.threshold
    kept, usual = (one.metadata.metrics["validation"] for one in (sparing, detector))
    assert kept["false_episodes_per_node_day"] <= 0.1 < usual["false_episodes_per_node_day"]


def test_data_gates_name_what_is_wrong(data: Data) -> None:
    rows, incidents = data
    few = NodeRows(rows.fields, list(rows.node_ids)[:9_999], rows.ts_ms[:9_999], rows.values[:9_999])
    with pytest.raises(DataGateError, match="9999 rows; training needs at least 10000"):
        check_gates(few, incidents)
    with pytest.raises(DataGateError, match="0 rows lie in an incident"):
        check_gates(rows, [])
    holes = rows.values.copy()
    holes[5, NODE.features.index("disk_io")] = np.nan
    with pytest.raises(DataGateError, match="null or non-finite values in disk_io"):
        check_gates(replace(rows, values=holes), incidents)


def test_calibration_recovers_the_true_odds_and_refuses_reversed_ones() -> None:
    rng = np.random.default_rng(2)
    margin = rng.normal(0.0, 2.0, 50_000)
    positive = rng.random(50_000) < 1.0 / (1.0 + np.exp(-(0.7 * margin - 1.5)))
    slope, offset = calibrate(margin, positive)
    assert slope == pytest.approx(0.7, abs=0.03)
    assert offset == pytest.approx(-1.5, abs=0.04)
    with pytest.raises(ValueError, match="labels and rows do not match"):
        calibrate(-margin, positive)
