"""The reliability detector: trained on a simulated fleet, exact in any batch, honest about labels that do not fit."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from detectors.artefacts import ArtefactError
from detectors.offline import Steps, advanced_windows
from detectors.protocol import Classifier, Confirming, Detector, Foreseeing, NodeState, StatefulDetector, flag
from detectors.reliability.decision import Decision
from detectors.reliability.detector import MODEL_FILE, ReliabilityDetector
from detectors.reliability.outlook import KINDS_FILE
from detectors.reliability.training import (
    RULE,
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
QUICK = Recipe(trees=40, learning_rate=0.2, negatives=0.5, transplants=0.0, threads=1)

Data = tuple[NodeRows, list[Incident]]
Windows = tuple[WindowBatch, NodeState]


@pytest.fixture(scope="module")
def data() -> Data:
    fleet = simulate_nodes(NodeFleet(12, lookalikes=0.5), 4 * 1_440, 22, START, 3.0)
    rows = NodeRows(NODE.features, fleet.node_ids(), fleet.ts_ms, fleet.matrix())
    return rows, list(fleet.incidents)


@pytest.fixture(scope="module")
def detector(data: Data) -> ReliabilityDetector:
    return train_reliability(*data, recipe=QUICK)


@pytest.fixture(scope="module")
def windows(data: Data, detector: ReliabilityDetector) -> Windows:
    """All windows of one node that has an incident, with the states before them."""
    rows, incidents = data
    mine = np.flatnonzero(np.asarray(rows.node_ids) == incidents[0].node_id)
    steps = Steps([incidents[0].node_id] * len(mine), rows.ts_ms[mine], rows.values[mine], rows.step_ms)
    [(_, batch, before)] = advanced_windows(detector, steps)
    assert before is not None
    return batch, before


def test_it_finds_incidents_on_later_days_and_on_nodes_it_never_saw(detector: ReliabilityDetector) -> None:
    for part in ("test", "test_unseen_nodes"):
        figures = detector.metadata.metrics[part]
        assert figures["average_precision"] > 3.0 * figures["base_rate"], part
    test = detector.metadata.metrics["test"]
    assert test["incidents_caught"] >= 0.6 * test["incidents"]
    assert test["false_episodes_per_node_day"] < 2.0 * RULE.per_node_day
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


def test_scores_and_decisions_are_the_same_bits_in_any_batch(detector: ReliabilityDetector, windows: Windows) -> None:
    batch, before = windows
    whole, decided = detector.score(batch, before), detector.decided(batch, before)
    assert whole.dtype == np.float64
    assert 0.0 <= whole.min() < whole.max() <= 1.0
    assert (decided <= whole).all()
    for size in (1, 2, 5, 8, 33, 128):
        cuts = [np.arange(at, min(at + size, 300)) for at in range(0, 300, size)]
        scores = [detector.score(batch.take(cut), before[cut]) for cut in cuts]
        assert np.concatenate(scores).tobytes() == whole[:300].tobytes(), size
        looked = [detector.decided(batch.take(cut), before[cut]) for cut in cuts]
        assert np.concatenate(looked).tobytes() == decided[:300].tobytes(), size
    order = np.random.default_rng(1).permutation(len(batch))
    assert detector.score(batch.take(order), before[order]).tobytes() == whole[order].tobytes()


def test_an_alarm_stands_for_some_steps_and_ends_when_the_score_falls() -> None:
    decision = Decision(agree=3, look_back=1, fall=1.0)
    rising, double, steady, falling = [3.0, 2.0, 1.0, -4.0], [3.0, 3.0, -4.0, -4.0], [3.0] * 4, [1.0, 3.0, 4.0, 4.0]
    assert decision.of_margins(np.array([rising, double, steady, falling])).tolist() == [1.0, -4.0, 3.0, -1.0]
    for odd in ({"look_back": 16}, {"agree": 0}, {"fall": -1.0}):
        with pytest.raises(ValueError, match="agree and look_back together at most 17"):
            Decision(**odd)


def test_what_is_flagged_is_what_is_decided(detector: ReliabilityDetector, windows: Windows) -> None:
    batch, before = windows
    flagged = flag(detector, batch, detector.score(batch, before), before)
    assert flagged.tolist() == (detector.decided(batch, before) > detector.threshold).tolist()
    assert 0 < flagged.sum() < len(flagged)


def test_a_kind_is_told_with_confidence_or_not_at_all(data: Data, detector: ReliabilityDetector) -> None:
    rows, incidents = data
    kinds = {one.kind for one in incidents}
    right = told = 0
    for one in incidents:
        mine = np.flatnonzero(np.asarray(rows.node_ids) == one.node_id)
        steps = Steps([one.node_id] * len(mine), rows.ts_ms[mine], rows.values[mine], rows.step_ms)
        [(_, batch, before)] = advanced_windows(detector, steps)
        assert before is not None
        within = np.flatnonzero((batch.end_ms() >= one.start_ms) & (batch.end_ms() <= (one.end_ms or one.start_ms)))
        within = within[
            flag(detector, batch.take(within), detector.score(batch.take(within), before[within]), before[within])
        ]
        for kind, confidence in detector.classify(batch.take(within), before[within]):
            assert (kind is None) == (confidence is None)
            if kind is not None and confidence is not None:
                assert kind in kinds
                assert 0.5 <= confidence <= 1.0
                told, right = told + 1, right + (kind == one.kind)
    assert told > 50
    assert right > 0.6 * told


def test_when_an_incident_is_expected_is_a_band_of_minutes(detector: ReliabilityDetector, windows: Windows) -> None:
    bands = {band for band in detector.expected_in(*windows) if band is not None}
    assert len(bands) <= 1
    assert all(0.0 < low < high <= 30.0 for low, high in bands)


def test_states_are_asked_for(detector: ReliabilityDetector, windows: Windows) -> None:
    with pytest.raises(ValueError, match="give the states"):
        detector.score(windows[0])


def test_no_windows_give_no_scores(detector: ReliabilityDetector) -> None:
    none = WindowBatch.empty(30, len(NODE.features))
    assert detector.score(none).shape == detector.decided(none).shape == (0,)
    assert detector.contributions(none) == detector.classify(none) == detector.expected_in(none) == []


def test_it_is_a_detector(detector: ReliabilityDetector) -> None:
    as_detector: Detector = detector
    stateful: StatefulDetector = detector
    assert isinstance(detector, Confirming)
    assert isinstance(detector, Classifier)
    assert isinstance(detector, Foreseeing)
    assert not stateful.prime(["a"]).any()
    assert (as_detector.name, as_detector.window, as_detector.state_width) == ("reliability", 30, 1 + 2 * 17)
    assert as_detector.fields == NODE.features
    assert as_detector.threshold < as_detector.levels[0] < as_detector.levels[1] < 1.0


def test_contributions_name_the_fields_that_raise_the_probability(
    detector: ReliabilityDetector, windows: Windows
) -> None:
    batch, before = windows
    best = np.argsort(-detector.score(batch, before))[:50]
    top = batch.take(best)
    explained = detector.contributions(top, before[best])
    assert len(explained) == 50
    for place, contributions in enumerate(explained):
        assert 1 <= len(contributions) <= 5
        assert 0.3 < sum(one.share for one in contributions) <= 1.0
        assert all(a.share >= b.share for a, b in pairwise(contributions))
        for one in contributions:
            field = NODE.features.index(one.feature)
            assert one.value == top.last()[place, field]
            assert one.usual == before[best][place, 1 + field]
            assert 0.0 <= one.expected_low <= one.usual <= one.expected_high
            assert one.direction == ("up" if one.value > one.usual else "down" if one.value < one.usual else None)


def test_what_is_planted_is_what_is_blamed(detector: ReliabilityDetector, windows: Windows) -> None:
    batch, before = windows
    place = np.argsort(detector.score(batch, before))[:1]
    state = before[place]
    calmest = batch.take(place).tensor()
    memory = NODE.features.index("memory_usage")
    leaking = calmest.copy()
    leaking[0, :, memory] = np.linspace(60.0, 97.0, 30)
    calm, after = detector.score(WindowBatch.stack(np.concatenate([calmest, leaking])), np.repeat(state, 2, axis=0))
    assert after > 5.0 * calm
    [blamed, *_] = detector.contributions(WindowBatch.stack(leaking), state)[0]
    assert (blamed.feature, blamed.direction) == ("memory_usage", "up")


def test_an_artefact_reads_back_with_the_same_scores(
    detector: ReliabilityDetector, windows: Windows, tmp_path: Path
) -> None:
    detector.save(tmp_path)
    again = ReliabilityDetector.load(tmp_path)
    assert again.version == detector.version
    assert again.version.startswith("reliability-")
    assert again.threshold == detector.threshold
    assert again.score(*windows).tobytes() == detector.score(*windows).tobytes()
    assert again.classify(*windows) == detector.classify(*windows)
    assert json.loads((tmp_path / MODEL_FILE).read_bytes())["learner"]["objective"]["name"] == "binary:logistic"


def test_a_changed_artefact_is_refused(detector: ReliabilityDetector, tmp_path: Path) -> None:
    detector.save(tmp_path)
    model = tmp_path / MODEL_FILE
    model.write_bytes(model.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(ArtefactError, match="checksum"):
        ReliabilityDetector.load(tmp_path)


def test_an_artefact_without_a_file_that_its_parameters_speak_of_is_refused(detector: ReliabilityDetector) -> None:
    files = {MODEL_FILE: detector.trees}
    with pytest.raises(ValueError, match=f"parameters.kinds and {KINDS_FILE} belong together"):
        ReliabilityDetector(detector.metadata, files)


def test_trees_of_another_fleet_take_part_where_they_are_given(
    data: Data, detector: ReliabilityDetector, windows: Windows, tmp_path: Path
) -> None:
    leaning = train_reliability(*data, recipe=replace(QUICK, prior=0.5), prior=detector)
    leaning.save(tmp_path)
    again = ReliabilityDetector.load(tmp_path)
    assert again.plan.floor.tobytes() == detector.plan.floor.tobytes()
    assert again.score(*windows).tobytes() == leaning.score(*windows).tobytes() != detector.score(*windows).tobytes()
    assert again.metadata.training["prior"] == detector.version
    other = replace(data[0], fields=("other", *data[0].fields[1:]))
    with pytest.raises(ValueError, match="train without"):
        train_reliability(other, data[1], recipe=QUICK, prior=detector)


def test_the_same_seed_grows_the_same_trees_on_any_number_of_threads(data: Data, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    short = replace(QUICK, trees=8, transplants=0.5)
    one = train_reliability(*data, recipe=short, progress=lambda done, total: seen.append((done, total)))
    two = train_reliability(*data, recipe=replace(short, threads=2))
    other = train_reliability(*data, recipe=replace(short, seed=1))
    one.save(tmp_path / "one")
    two.save(tmp_path / "two")
    other.save(tmp_path / "other")
    assert one.version == two.version != other.version
    assert seen == [(done, 5 * 8) for done in range(1, 5 * 8 + 1)]


def test_an_alarm_budget_costs_recall_and_saves_alarms(data: Data, detector: ReliabilityDetector) -> None:
    sparing = train_reliability(*data, recipe=QUICK, rule=AlarmBudget(0.1))
    assert sparing.threshold > detector.threshold
    kept, usual = (one.metadata.metrics["cross_validation"] for one in (sparing, detector))
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
