"""Window features: what they say, and that a window's features are its own in any batch."""

import numpy as np
import pytest

from detectors.reliability.features import AGAINST_DAY, STATISTICS, FeaturePlan, deviations, window_features
from features.batch import WindowBatch

FIELDS = ("latency_p50", "latency_p95", "latency_p99", "errors")


@pytest.fixture(scope="module")
def steps() -> np.ndarray:
    rng = np.random.default_rng(5)
    return rng.gamma(2.0, 3.0, (200, 30, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def plan(steps: np.ndarray) -> FeaturePlan:
    return FeaturePlan.fit(FIELDS, steps.reshape(-1, 4))


def made(steps: np.ndarray, plan: FeaturePlan) -> np.ndarray:
    """Features of windows that are the first of their nodes."""
    windows = WindowBatch.stack(steps)
    return window_features(windows, plan, plan.baseline.start(windows))


def value(features: np.ndarray, plan: FeaturePlan, name: str) -> np.ndarray:
    return features[:, plan.names.index(name)]


def test_statistics_equal_their_definition(steps: np.ndarray, plan: FeaturePlan) -> None:
    features = made(steps, plan)
    exact = steps.astype(np.float64)
    old, new = exact[:, :-5], exact[:, -5:]
    change = new.mean(1) - old.mean(1)
    floor = plan.floor.astype(np.float64)
    expected = {
        "last": exact[:, -1],
        "mean": exact.mean(1),
        "std": exact.std(1),
        "mean5": new.mean(1),
        "ratio": (new.mean(1) + floor) / (old.mean(1) + floor),
        "z": change / (old.std(1) + floor),
        "high": (exact > plan.high).sum(1),
    }
    assert set(expected) == set(STATISTICS)
    for statistic, values in expected.items():
        for place, field in enumerate(FIELDS):
            got = value(features, plan, f"{field}:{statistic}")
            np.testing.assert_allclose(got, values[:, place], rtol=2e-5, atol=2e-5, err_msg=f"{field}:{statistic}")


def test_what_is_measured_against_the_day_equals_its_definition(steps: np.ndarray, plan: FeaturePlan) -> None:
    windows = WindowBatch.stack(steps)
    before = plan.baseline.start(windows)
    usual, scale = (part.astype(np.float64) for part in plan.baseline.split(before))
    exact, floor = steps.astype(np.float64), plan.floor.astype(np.float64)
    off = [(exact[:, -1 - back] - usual) / (scale + floor) for back in range(4)]
    expected = {
        **{f"off{'' if not back else f'_{back}'}": off[back] for back in range(4)},
        "off_both": np.minimum(off[0], off[1]),
        "off_either": np.maximum(off[0], off[1]),
        "off_fall": off[0] - np.max(off[1:], axis=0),
        "off5": (exact[:, -5:].mean(1) - usual) / (scale + floor),
        "off30": (exact.mean(1) - usual) / (scale + floor),
        "times5": (exact[:, -5:].mean(1) + floor) / (usual + floor),
        "times30": (exact.mean(1) + floor) / (usual + floor),
    }
    assert tuple(expected) == AGAINST_DAY
    features = window_features(windows, plan, before)
    for statistic, values in expected.items():
        for place, field in enumerate(FIELDS):
            got = value(features, plan, f"{field}:{statistic}")
            np.testing.assert_allclose(got, values[:, place], rtol=2e-5, atol=2e-5, err_msg=f"{field}:{statistic}")


def test_latency_quantiles_are_related_to_each_other(plan: FeaturePlan) -> None:
    calm = np.broadcast_to(np.array([10.0, 20.0, 30.0, 0.0], np.float32), (1, 30, 4)).copy()
    calm[:, -5:, 2] = 90.0
    features = made(calm, plan)
    assert value(features, plan, "latency_p99:over:latency_p50")[0] == pytest.approx(9.0, rel=0.1)
    assert value(features, plan, "latency_p99:over_change:latency_p50")[0] == pytest.approx(90 / 40, rel=0.1)
    assert value(features, plan, "latency_p95:over_change:latency_p50")[0] == pytest.approx(1.0, rel=0.01)


def test_every_feature_is_named_once_and_knows_its_field(plan: FeaturePlan) -> None:
    assert len(set(plan.names)) == len(plan.names) == len(plan.field_of)
    for name, place in zip(plan.names, plan.field_of.tolist(), strict=True):
        assert name.startswith((FIELDS[place] if place >= 0 else "across") + ":")


def test_across_fields_the_most_deviating_count_whichever_they_are(plan: FeaturePlan) -> None:
    steps = np.tile(np.array([10.0, 20.0, 30.0, 5.0], np.float32), (2, 30, 1))
    steps[0, -5:, 1] += 100.0
    steps[0, -1, 3] += 1.0
    features = made(steps, plan)
    off = np.sort([value(features, plan, f"{field}:off")[0] for field in FIELDS])[::-1]
    assert value(features, plan, "across:off:second")[0] == off[1] > off[2]
    assert value(features, plan, "across:off:third")[0] == off[2]
    assert value(features, plan, "across:off:fifth")[0] == off[3]  # of four fields: the last
    assert value(features, plan, "across:off:sum")[0] == pytest.approx(np.clip(off, 0.0, 4.0).sum())
    assert value(features, plan, "across:off5:over_2")[0] == 1.0
    assert deviations(features, plan)[0].argmax() == 1
    assert not deviations(features, plan)[1].any()


def test_across_fields_a_low_availability_is_bad_and_codes_say_nothing() -> None:
    names = ("availability_score", "error_rate", "dwcp_mode")
    plan = FeaturePlan(names, (), np.ones(3, np.float32), np.ones(3, np.float32))
    assert plan.signs.tolist() == [-1.0, 1.0, 0.0]
    steps = np.tile(np.array([99.0, 1.0, 0.0], np.float32), (3, 30, 1))
    steps[0, -5:, 0], steps[1, -5:, 0], steps[2, -5:, 2] = 50.0, 150.0, 2.0
    assert deviations(made(steps, plan), plan).tolist() == [[4.0, 0.0, 0.0], [0.0] * 3, [0.0] * 3]


def test_a_windows_features_are_the_same_bits_in_any_batch(steps: np.ndarray, plan: FeaturePlan) -> None:
    whole = made(steps, plan)
    for size in (1, 2, 3, 7, 16, 64, 199):
        parts = [made(steps[start : start + size], plan) for start in range(0, 200, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes(), size


def test_constant_zero_and_extreme_windows_stay_finite(plan: FeaturePlan) -> None:
    windows = np.zeros((3, 30, 4), np.float32)
    windows[1] = 1e15
    windows[2, -1] = 1e15
    assert np.isfinite(made(windows, plan)).all()


def test_a_plan_survives_the_metadata_and_refuses_what_does_not_fit(plan: FeaturePlan) -> None:
    again = FeaturePlan.from_dict(FIELDS, plan.to_dict())
    assert again.names == plan.names
    assert again.floor.tobytes() == plan.floor.tobytes()
    assert again.high.tobytes() == plan.high.tobytes()
    with pytest.raises(ValueError, match="does not fit 3 fields"):
        FeaturePlan.from_dict(FIELDS[:3], plan.to_dict())
    with pytest.raises(ValueError, match="needs pairs, floor, high and memory"):
        FeaturePlan.from_dict(FIELDS, {"floor": [1.0]})


def test_windows_of_other_fields_or_too_short_are_refused(plan: FeaturePlan, steps: np.ndarray) -> None:
    blank = np.zeros((200, plan.baseline.width), np.float32)
    with pytest.raises(ValueError, match="3 fields"):
        window_features(WindowBatch.stack(steps[:, :, :3]), plan, blank)
    with pytest.raises(ValueError, match="9 steps"):
        window_features(WindowBatch.stack(steps[:, :9]), plan, blank)
