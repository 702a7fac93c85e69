from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.artefacts import shipped
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.kinds import (
    CONFIDENCE,
    FIELDS,
    KINDS,
    MARGINS,
    MIN_CONFIDENCE,
    RECENT,
    UNKNOWN,
    columns_of,
    decided,
    name_kinds,
    strengths,
)
from detectors.protocol import Classifier
from detectors.scoring import StreamScorer
from features.batch import WindowBatch
from schemas.codec import RecordCodec
from schemas.outputs import Anomaly
from schemas.streams import CONSENSUS
from tests.detectors.consensus_samples import fitted, fleet, scored
from tests.fleet_samples import PeakDetector
from vigil.simulator import WHOLE_CLUSTER, ConsensusFleet, Fault, FaultPlan, simulate_consensus
from vigil.training.kinds import fit_confidence, sample

START_MS = 1_760_000_000_000
USUAL = {
    "queue_depth": 0.5, "proposals_pending": 0.3, "proposals_committed": 50.0, "latency_p50": 4.0, "latency_p95": 8.0,
    "latency_p99": 10.0, "leader_changes": 0.0, "quorum_size": 2.0, "active_nodes": 3.0,
}  # fmt: skip
SCALE = np.array([0.3, 0.2, 0.2, 0.15, 0.4, 0.4, 0.01, 0.01, 0.01])


def name(*steps: dict[str, float]) -> tuple[str | None, float | None]:
    """Name a window that is as usual but for its last steps, given as changes, the newest last."""
    usual = np.array([[USUAL[field] for field in FIELDS]])
    changed = [{}] * (RECENT - len(steps)) + list(steps)
    raw = np.array([[[float(step.get(field, USUAL[field])) for field in FIELDS] for step in changed]])
    relative = (np.log1p(raw) - np.log1p(usual)[:, None, :]) / SCALE
    return name_kinds(strengths(raw, relative, usual))[0]


DELAYED = {"latency_p50": 160.0, "latency_p95": 175.0, "latency_p99": 180.0, "queue_depth": 5, "proposals_pending": 4}
OVERLOADED = {
    "proposals_committed": 450,
    "latency_p50": 8.0,
    "latency_p95": 20.0,
    "latency_p99": 30.0,
    "queue_depth": 4,
}
STALLED = {
    "proposals_committed": 12, "latency_p50": 700.0, "latency_p95": 1200.0, "latency_p99": 1300.0, "leader_changes": 2,
    "queue_depth": 19, "proposals_pending": 15,
}  # fmt: skip
REVOTED = {
    "proposals_committed": 30, "latency_p50": 6.0, "latency_p95": 20.0, "latency_p99": 26.0, "queue_depth": 3,
    "proposals_pending": 6,
}  # fmt: skip
CUT_OFF = {"active_nodes": 1, "proposals_committed": 0, "latency_p50": 900.0, "latency_p95": 2000, "latency_p99": 2100}


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("network_congestion", [DELAYED] * 5),
        ("queue_overflow", [OVERLOADED] * 5),
        ("leader_election_storm", [STALLED, {}, STALLED, {}, {}]),
        ("byzantine_attack", [REVOTED] * 6),
        ("quorum_loss", [CUT_OFF]),
        ("quorum_loss", [STALLED, STALLED | {"active_nodes": 1}]),
    ],
)
def test_each_class_is_told_by_what_it_does(kind: str, steps: list[dict[str, float]]) -> None:
    named, confidence = name(*steps)
    assert named == kind
    assert confidence is not None
    assert confidence > 0.9


@pytest.mark.parametrize(
    ("what", "steps"),
    [
        ("a single burst of the tail", [{"latency_p95": 60.0, "latency_p99": 200.0}]),
        ("a peer that is gone", [{"active_nodes": 2}] * 5),
        ("elections stopped by a member that is gone", [STALLED | {"active_nodes": 2}] * 3),
        ("a busy processor: a few times slower, all quantiles alike", [
            {"latency_p50": 24.0, "latency_p95": 48.0, "latency_p99": 60.0, "queue_depth": 3, "proposals_pending": 2}
        ] * 6),
        ("a leader that changes hands harmlessly", [{"leader_changes": 1, "latency_p99": 30.0}]),
        ("nothing at all", [{}]),
    ],
)  # fmt: skip
def test_what_is_no_class_of_ours_stays_unknown(what: str, steps: list[dict[str, float]]) -> None:
    assert name(*steps) == UNKNOWN, what


def test_the_first_step_of_a_fault_is_named_less_surely_than_the_fourth() -> None:
    first, later = name(DELAYED), name(*[DELAYED] * 4)
    assert first[0] == later[0] == "network_congestion"
    assert (first[1] or 0.0) < (later[1] or 0.0)


def test_two_classes_that_fit_alike_cancel_each_other() -> None:
    even = np.zeros((1, len(KINDS)))
    even[0, :2] = 1.0
    assert name_kinds(even) == [UNKNOWN]
    assert decided(even)[1].tolist() == [0.0]


def test_confidence_rises_with_the_margin_and_a_guess_has_no_name() -> None:
    assert set(CONFIDENCE) == set(KINDS)
    for row in CONFIDENCE.values():
        assert len(row) == len(MARGINS)
        assert list(row) == sorted(row)
        assert all(0.0 < share < 1.0 for share in row)
    levels = np.linspace(0.0, 1.0, 101)
    for place in range(len(KINDS)):
        alone = np.zeros((len(levels), len(KINDS)))
        alone[:, place] = levels
        given_names = name_kinds(alone)
        assert all(confidence >= MIN_CONFIDENCE for kind, confidence in given_names if kind is not None)
        assert given_names[0] == given_names[20] == UNKNOWN
        assert given_names[-1][0] == KINDS[place]


def test_fields_are_found_by_name_in_any_order_and_other_telemetry_has_no_classes() -> None:
    places = columns_of([*reversed(FIELDS), "load"])
    assert places is not None
    assert places.tolist() == list(range(len(FIELDS) - 1, -1, -1))
    assert columns_of(FIELDS[:-1]) is None

    detector = fitted()
    (window, before) = next((window, before) for _, before, window in scored(detector, fleet(2, 40, 3)).values())
    assert detector.classify(window, before[None, :]) == [UNKNOWN]


def test_no_windows_have_no_names() -> None:
    detector = ConsensusDetector.load(shipped("consensus"))
    empty = WindowBatch.empty(detector.window, len(detector.fields))
    assert detector.classify(empty, np.zeros((0, detector.state_width), np.float32)) == []


@cache
def records() -> tuple[tuple[list[bytes], list[bytes]], tuple[Fault, ...]]:
    """Three clusters, one fault of each class in turn, 70 s apart after five quiet minutes."""
    layout = ConsensusFleet(3, members=3, wan_share=0.0).layout
    clusters = list(layout)
    faults = []
    for place, kind in enumerate((*KINDS, "member_down")):
        cluster = clusters[place % 3]
        at = START_MS + 300_000 + 70_000 * place
        target = layout[cluster][1] if kind in {"byzantine_attack", "member_down"} else WHOLE_CLUSTER
        faults.append(Fault(at, at + 25_000, kind, cluster, target, 0.8))
    run = simulate_consensus(ConsensusFleet(3, members=3, wan_share=0.0), 760, 77, START_MS, FaultPlan(tuple(faults)))
    made = list(run.records())
    return ([each.key for each in made], [each.value for each in made]), tuple(faults)


def anomalies(cuts: tuple[int, ...] = ()) -> list[Anomaly]:
    """What the worker would publish, the log cut into batches at ``cuts``."""
    (keys, values), _ = records()
    scorer = StreamScorer(CONSENSUS, [ConsensusDetector.load(shipped("consensus"))])
    codec, found = RecordCodec(CONSENSUS), []
    for a, b in pairwise([0, *sorted(cuts), len(keys)]):
        decoded = codec.decode(keys[a:b], values[a:b])
        nobody = np.zeros(len(decoded), np.int32)
        found += scorer.process(decoded, topic="t", partitions=nobody, offsets=a + decoded.index).anomalies
    return found


@cache
def whole() -> list[Anomaly]:
    return anomalies()


def test_simulated_faults_get_their_own_names_and_a_dead_member_none() -> None:
    _, faults = records()
    for fault in faults:
        names = [
            each.kind
            for each in whole()
            if each.cluster == fault.cluster and fault.start_ms <= each.ts_ms < fault.end_ms
        ]
        given_names = [each for each in names if each is not None]
        assert len(names) > 20, fault
        if fault.kind == "member_down":
            assert len(given_names) <= 0.1 * len(names), fault
        else:
            assert len(given_names) > 0.4 * len(names), fault
            assert np.mean([each == fault.kind for each in given_names]) > 0.8, fault


def test_an_anomaly_has_a_confidence_exactly_when_it_has_a_name() -> None:
    for each in whole():
        assert (each.kind is None) == (each.confidence is None)
        if each.confidence is not None:
            assert MIN_CONFIDENCE <= each.confidence <= 1.0
            assert each.confidence == round(each.confidence, 4)


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(1, 6_000), min_size=1, max_size=20, unique=True))
def test_names_do_not_depend_on_how_the_log_is_cut(cuts: list[int]) -> None:
    assert [(each.id, each.kind, each.confidence) for each in anomalies(tuple(cuts))] == [
        (each.id, each.kind, each.confidence) for each in whole()
    ]


def test_a_detector_that_names_nothing_publishes_anomalies_without_a_class() -> None:
    (keys, values), _ = records()
    decoded = RecordCodec(CONSENSUS).decode(keys, values)
    peak = PeakDetector()
    assert not isinstance(peak, Classifier)
    places = np.arange(len(decoded), dtype=np.int64)
    found = StreamScorer(CONSENSUS, [peak]).process(
        decoded, topic="t", partitions=np.zeros(len(decoded), np.int32), offsets=places
    )
    assert sum(each.detector == peak.name for each in found.anomalies) > 20
    assert {(each.kind, each.confidence) for each in found.anomalies if each.detector == peak.name} == {UNKNOWN}


def test_fitted_confidences_are_honest_about_how_little_they_saw() -> None:
    small = sample(ConsensusDetector.load(shipped("consensus")), 9, clusters=2, steps=900)
    table = fit_confidence([small])
    assert set(table) == set(KINDS)
    for row in table.values():
        assert list(row) == sorted(row)
        assert all(0.0 < share < 0.95 for share in row), "a handful of faults makes no one certain"
    assert small.weight.sum() == pytest.approx(len(np.unique(small.fault)))
