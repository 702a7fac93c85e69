import numpy as np
import pytest

from detectors.consensus.parts import EVENT, EVENTS_FROM, fit_metric


def views(count: int, events: int) -> np.ndarray:
    """One column of noise, one that moves by 100 in some views only, and one that never moves."""
    rng = np.random.default_rng(2)
    rare = np.zeros(count)
    rare[np.linspace(0, count - 1, events).astype(int)] = 100.0
    return np.stack([rng.normal(size=count), rare, np.zeros(count)], axis=1)


def test_an_event_that_normal_telemetry_shows_now_and_then_is_not_unheard_of() -> None:
    metric = fit_metric(views(2 * EVENTS_FROM, 4))

    known, twice, other = metric.distances(np.array([[0.0, 100.0, 0.0], [0.0, 200.0, 0.0], [0.0, 0.0, 5.0]]))

    assert known == pytest.approx(EVENT**2, rel=0.1)
    assert twice == pytest.approx(4 * EVENT**2, rel=0.1)
    assert other > EVENT**2, "what never moved stands out at once"


def test_in_little_telemetry_an_event_cannot_be_told_from_noise_and_stands_out() -> None:
    (found,) = fit_metric(views(EVENTS_FROM // 2, 1)).distances(np.array([[0.0, 100.0, 0.0]]))

    assert found > 100 * EVENT**2


def test_a_tail_that_reaches_far_widens_the_spread() -> None:
    rng = np.random.default_rng(4)
    spiky = np.where(rng.random(50_000) < 0.01, 30.0, 1.0) * rng.normal(size=50_000)
    metric = fit_metric(np.stack([spiky, rng.normal(size=50_000)], axis=1))

    assert metric.spread[0] > 3.0 * np.std(spiky)
    assert metric.spread[1] == pytest.approx(1.0, rel=0.1)
