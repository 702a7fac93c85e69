import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.artefacts import ArtefactError, read_artefact, shipped, write_artefact
from detectors.consensus.baseline import BaselineRule
from detectors.consensus.bursts import BURST, LASTING, STAYING
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.encoding import FILE, decode_model, encode_model
from detectors.consensus.fit import FitError, FitSettings, NormalSteps, fit_consensus
from detectors.consensus.passes import MIN_EVENT_SCALE, MIN_LOG_SCALE, fleet_scale
from detectors.offline import Steps, score_steps
from detectors.protocol import Detector
from detectors.thresholds import ThresholdError
from features.batch import WindowBatch
from tests.detectors.consensus_samples import FIELDS, START_MS, fitted, fleet, scored


def disturbed(nodes: int, steps: int, seed: int, at: int, column: int, factor: float, length: int = 1) -> tuple:
    """A fresh fleet in which node n0 shows ``factor`` times its usual value for ``length`` steps."""
    run = fleet(nodes, steps, seed)
    rows = run.rows.copy()
    first = [i for i, key in enumerate(run.keys) if key == "n0"][at : at + length]
    rows[first, column] = rows[first, column] * factor + (factor if column in {0, 3} else 0)
    times = {int(run.ts_ms[i]) for i in first}
    return type(run)(run.fields, run.keys, run.ts_ms, rows, run.used, run.log), times


def flagged(detector: ConsensusDetector, run: NormalSteps) -> set[tuple[str, int]]:
    """Which steps are anomalous, by node and time."""
    found = score_steps(cast("Detector", detector), Steps(run.keys, run.ts_ms, run.rows, 1000)).flagged
    return {(run.keys[place], int(run.ts_ms[place])) for place in np.flatnonzero(found).tolist()}


@pytest.mark.parametrize(("column", "factor"), [(1, 10.0), (3, 2.0)])
def test_a_strong_fault_is_seen_at_its_first_step_on_nodes_the_model_never_saw(column: int, factor: float) -> None:
    run, times = disturbed(5, 150, 77, 100, column, factor)

    found = flagged(fitted(), run)

    assert {("n0", at) for at in times} <= found
    assert {node for node, _ in found} == {"n0"}


@pytest.mark.parametrize(("column", "factor"), [(0, 60.0), (1, 3.0)])
def test_a_moderate_fault_is_seen_once_it_is_more_than_a_burst_and_a_burst_is_not(column: int, factor: float) -> None:
    lasting, times = disturbed(5, 150, 77, 100, column, factor, length=BURST + 5)
    burst, _ = disturbed(5, 150, 77, 100, column, factor, length=BURST)

    found = flagged(fitted(), lasting)

    assert min(at for _, at in found) <= min(times) + 1000 * (BURST + 1)
    assert {node for node, _ in found} == {"n0"}
    assert flagged(fitted(), burst) == set()
    assert max(score for score, _, _ in scored(fitted(), burst).values()) > fitted().threshold, "its score is high"


def test_what_lasts_raises_a_score_that_was_not_high_and_bears_it_out() -> None:
    detector, deaf = (ConsensusDetector(fitted().model, fitted().metadata) for _ in range(2))
    detector.lasting_threshold, deaf.lasting_threshold = 5.0, math.inf
    run, times = disturbed(5, 170, 77, 100, 1, 1.5, length=40)
    heard, unheard = scored(detector, run), scored(deaf, run)

    raised = {at for at in heard if heard[at][0] != unheard[at][0]}

    assert {node for node, _ in raised} == {"n0"}
    assert {at for _, at in raised} <= times | {max(times) + 1000 * step for step in range(1, LASTING)}
    assert min(at for _, at in raised) >= min(times) + 1000 * (LASTING // 2), "half of its steps are not calm"
    assert any(unheard[at][0] < detector.threshold for at in raised)
    for at in raised:
        reading = detector.readings(heard[at][2], heard[at][1][None, :])[0, STAYING]
        as_rare = detector.threshold * (reading / detector.lasting_threshold) ** detector.lasting_power
        assert heard[at][0] == pytest.approx(as_rare)
        assert as_rare > detector.threshold
        assert reading > detector.lasting_threshold
    assert raised <= flagged(detector, run)


def test_one_second_spikes_of_the_tail_that_normal_telemetry_has_raise_no_alarm() -> None:
    run = fleet(8, 600, 1234)
    scores = [score for score, _, _ in scored(fitted(), run).values()]

    assert flagged(fitted(), run) == set()
    assert 0.7 < np.median(scores) < 1.4, "1 is the median of normal telemetry"


def test_a_verdict_is_its_windows_alone_to_the_bit() -> None:
    detector = fitted(know_nodes=True)
    run, _ = disturbed(5, 140, 77, 100, 1, 3.0, length=8)
    each = [(window, before) for score, before, window in scored(detector, run).values() if score > 2.0]
    assert len(each) > 8

    alone = [bool(detector.confirm(window, before[None, :])[0]) for window, before in each]
    readings = np.concatenate([detector.readings(window, before[None, :]) for window, before in each])
    shares = np.concatenate([detector.shares(window, before[None, :]) for window, before in each])

    together = WindowBatch.stack(np.concatenate([window.tensor() for window, _ in each]))
    states = np.stack([before for _, before in each])
    np.testing.assert_array_equal(detector.readings(together, states), readings)
    np.testing.assert_array_equal(detector.shares(together, states), shares)
    np.testing.assert_array_equal(detector.confirm(together, states), alone)
    assert len(set(alone)) == 2, "some are borne out, some are not"


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 399), max_size=12))
@pytest.mark.parametrize("know_nodes", [False, True])
def test_scores_and_states_do_not_depend_on_how_the_log_is_cut_to_the_bit(know_nodes: bool, cuts: list[int]) -> None:
    detector, run = fitted(know_nodes=know_nodes), fleet(5, 80, 9)
    whole, cut = scored(detector, run), scored(detector, run, tuple(set(cuts)))

    assert whole.keys() == cut.keys()
    for place, (score, before, _) in whole.items():
        assert cut[place][0] == score, place
        np.testing.assert_array_equal(cut[place][1], before)


def test_contributions_name_the_feature_its_value_and_what_was_expected() -> None:
    detector = fitted()
    run, times = disturbed(3, 120, 5, 100, 1, 4.0)
    (at,) = times
    score, before, window = scored(detector, run)["n0", at]

    (reasons,) = detector.contributions(window, before[None, :])

    assert score > detector.threshold
    # p50 moved away from its level and from p99, which moves with it.
    assert {reasons[0].feature, reasons[1].feature} == {"latency_p50", "latency_p99"}
    assert sum(reason.share for reason in reasons) <= 1.0 + 1e-6
    p50 = next(reason for reason in reasons if reason.feature == "latency_p50")
    assert p50.value == pytest.approx(float(window.last()[0, 1]))
    assert p50.expected_low < p50.expected_high < p50.value


def test_a_fault_of_minutes_hardly_moves_the_baseline_and_a_change_that_stays_is_learned_anew() -> None:
    rule = BaselineRule(np.array([0.1]), settle=100, relearn=900)
    state = rule.start(np.full((1, 30, 1), 2.0))
    for _ in range(120):
        state, due = rule.moved(state, np.array([[2.0]]))
    before = state[0, 3]
    for step in range(180):
        state, due = rule.moved(state, np.array([[5.0]]))
        assert not due.any(), step
    assert abs(state[0, 3] - before) < 0.25, "three minutes at thirty scales away moved it by more than 2.5 scales"
    for _ in range(721):
        state, due = rule.moved(state, np.array([[5.0]]))
    assert due.tolist() == [True]


def test_a_count_of_rare_events_has_a_wider_scale_than_a_count_that_never_moves() -> None:
    values = np.zeros((1000, 4))
    values[:, 1], values[[3, 700], 2], values[:, 3] = np.log1p(3.0), np.log1p(1.0), 7.0

    scale = fleet_scale(values, ["a", "b"] * 500, np.array([True, True, True, False]))

    assert scale.tolist() == [MIN_EVENT_SCALE, MIN_LOG_SCALE, MIN_EVENT_SCALE, MIN_LOG_SCALE]


def test_known_nodes_begin_with_their_own_settled_baseline_and_others_with_none() -> None:
    detector = fitted(know_nodes=True)
    known, unknown = detector.prime(["n3", "stranger"])

    assert known[:2].tolist() == [4, detector.model.rule.memory]
    assert not unknown.any()
    assert not fitted().model.known


def test_an_artefact_comes_back_to_the_bit_and_scores_the_same(tmp_path: Path) -> None:
    detector = fitted(know_nodes=True)
    detector.save(tmp_path)
    loaded = ConsensusDetector.load(tmp_path)
    run = fleet(4, 60, 3)

    assert {at: each[0] for at, each in scored(loaded, run).items()} == {
        at: each[0] for at, each in scored(detector, run).items()
    }
    assert (loaded.version, loaded.threshold, loaded.levels) == (detector.version, detector.threshold, detector.levels)
    assert loaded.reading_thresholds == detector.reading_thresholds
    assert loaded.lasting_power == detector.lasting_power
    assert loaded.sudden_threshold > detector.threshold
    assert loaded.threshold < loaded.levels[0] < loaded.levels[1]


def test_the_same_data_gives_the_same_model_version(tmp_path: Path) -> None:
    versions = set()
    for place in ("a", "b"):
        detector = fit_consensus(fleet(9, 120, 4), FitSettings(know_nodes=False))
        detector.save(tmp_path / place)
        versions.add(detector.version)
    assert len(versions) == 1


def test_damaged_models_are_refused_in_words(tmp_path: Path) -> None:
    encoded = encode_model(fitted().model)
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(encoded[: int(rng.integers(0, len(encoded)))])
        with pytest.raises(ArtefactError, match="train it again"):
            decode_model(tmp_path, bytes(broken))
    poisoned = replace(fitted().model, rule=replace(fitted().model.rule, scale=np.full(4, np.nan)))
    with pytest.raises(ArtefactError, match="not finite"):
        decode_model(tmp_path, encode_model(poisoned))


def test_an_artefact_whose_weights_come_from_another_run_does_not_load(tmp_path: Path) -> None:
    fitted().save(tmp_path / "a")
    other = read_artefact(tmp_path / "a", "consensus")
    write_artefact(tmp_path / "b", other.metadata, {FILE: encode_model(fitted(know_nodes=True).model)})
    (tmp_path / "a" / FILE).write_bytes((tmp_path / "b" / FILE).read_bytes())
    with pytest.raises(ArtefactError, match=r"checksum|bytes"):
        ConsensusDetector.load(tmp_path / "a")


@pytest.mark.parametrize(
    "odd",
    [
        {"levels": []},
        {"levels": {}},
        {"levels": [[], 1.0]},
        {"sudden_threshold": {}},
        {"sudden_threshold": "high"},
        {"lasting": {}},
        {"lasting": {"threshold": 0.0, "power": 1.0}},
        {"lasting": {"threshold": 1.0, "power": -1}},
        {"lasting": {"threshold": [], "power": 1.0}},
    ],
)
def test_parameters_that_cannot_be_used_are_refused_though_their_checksum_is_right(
    tmp_path: Path, odd: dict[str, object]
) -> None:
    whole = read_artefact(shipped("consensus"), "consensus")
    write_artefact(tmp_path, msgspec.structs.replace(whole.metadata, parameters=odd), whole.files)
    with pytest.raises(ArtefactError, match="parameters cannot be used"):
        ConsensusDetector.load(tmp_path)


def test_a_model_of_more_fields_than_its_metadata_names_is_refused(tmp_path: Path) -> None:
    whole = read_artefact(shipped("consensus"), "consensus")
    write_artefact(tmp_path, msgspec.structs.replace(whole.metadata, fields=("queue_depth",)), whole.files)
    with pytest.raises(ArtefactError, match="more fields than its 1"):
        ConsensusDetector.load(tmp_path)


def test_too_little_to_learn_from_is_said_in_words() -> None:
    with pytest.raises(FitError, match="30 steps in a row"):
        fit_consensus(fleet(10, 20, 1), FitSettings())
    with pytest.raises((ThresholdError, FitError)):
        fit_consensus(fleet(1, 45, 1), FitSettings())


@pytest.mark.parametrize(("nodes", "steps"), [(1, 1000), (2, 500), (3, 400)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_recording_as_short_as_the_errors_say_carries_a_threshold(nodes: int, steps: int, seed: int) -> None:
    assert fit_consensus(fleet(nodes, steps, seed), FitSettings()).threshold > 1.0


def test_no_windows_give_no_scores() -> None:
    empty = WindowBatch.empty(30, len(FIELDS))
    detector = fitted()
    state = np.zeros((0, detector.state_width), dtype=np.float32)
    before = detector.advance(empty, state, np.empty(0, dtype=np.int64))
    assert detector.score(empty, before).shape == detector.confirm(empty, before).shape == (0,)
    assert START_MS > 0


@pytest.mark.parametrize("ill", [True, False])
def test_a_member_that_is_back_after_a_minute_is_judged_by_its_first_step(ill: bool) -> None:
    run, times = disturbed(5, 200, 78, 160, 1, 10.0 if ill else 1.0)
    seconds = (run.ts_ms - START_MS) // 1000
    away = np.array([key == "n0" for key in run.keys]) & (seconds >= 100) & (seconds < 160)
    kept = run.take(~away)

    found = score_steps(cast("Detector", fitted()), Steps(kept.keys, kept.ts_ms, kept.rows, 1000))

    back = [place for place, key in enumerate(kept.keys) if key == "n0" and int(kept.ts_ms[place]) in times]
    assert np.isfinite(found.scores[back]).all(), "it has a verdict at once"
    assert found.flagged[back].tolist() == [ill]
    later = [i for i, key in enumerate(kept.keys) if key == "n0" and int(kept.ts_ms[i]) > max(times) + 15_000]
    assert not found.flagged[later].any()
