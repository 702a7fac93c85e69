import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.consensus.bursts import BURST, CALM, JUDGED, LASTING, calmer_half, lasting, without_burst
from detectors.consensus.views import RECENT


def slow_without_burst(window: np.ndarray, evidence: np.ndarray, spare_newest: bool) -> np.ndarray:
    """The same, one step after another."""
    result = window.copy()
    for one, scores in zip(result, evidence, strict=True):
        first = len(one) - JUDGED
        candidates = range(BURST, JUDGED - 1 if spare_newest else JUDGED)
        worst = sorted(candidates, key=lambda step: -scores[step])[:BURST]
        least = min(scores[step] for step in worst)
        for step in sorted(worst):
            source = step - 1
            while source >= 0 and (source in worst or (source < BURST and scores[source] > least)):
                source -= 1
            one[first + step] = one[max(first + source, 0)]
    return result


@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(JUDGED + 1, 30), spare_newest=st.booleans())
def test_the_worst_of_the_last_steps_are_filled_with_what_came_before(
    seed: int, steps: int, spare_newest: bool
) -> None:
    rng = np.random.default_rng(seed)
    window, evidence = rng.normal(size=(4, steps, 3)), rng.random((4, JUDGED))

    found = without_burst(window, evidence, spare_newest=spare_newest)

    np.testing.assert_array_equal(found, slow_without_burst(window, evidence, spare_newest))


def test_a_spared_newest_step_stays_whatever_it_is() -> None:
    window = np.arange(30.0).reshape(1, 30, 1)
    evidence = np.zeros((1, JUDGED))
    evidence[0, -2:] = [5.0, 9.0]

    assert without_burst(window, evidence, spare_newest=True)[0, -1, 0] == 29.0
    assert without_burst(window, evidence, spare_newest=False)[0, -2:, 0].tolist() == [27.0, 27.0]


def test_a_burst_that_is_about_to_leave_the_last_steps_is_not_filled_with_its_own_beginning() -> None:
    window = np.arange(30.0).reshape(1, 30, 1)
    for begins in range(JUDGED - BURST + 1):
        evidence = np.zeros((1, JUDGED))
        evidence[0, begins : begins + BURST] = [7.0, 9.0, 8.0]
        bad = set(range(30 - JUDGED + begins, 30 - JUDGED + begins + BURST))

        (found,) = without_burst(window, evidence, spare_newest=False)

        assert not bad & set(found[-RECENT:, 0].astype(int).tolist()), begins


def test_the_calmer_half_hears_what_lasts_and_no_burst_however_far() -> None:
    usual = np.full((1, 10), 2.0)
    burst, lasting = usual.copy(), usual.copy()
    burst[0, 2:7] = 1e6
    lasting[0, 4:] = 32.0

    assert calmer_half(usual)[0] == pytest.approx(2.0)
    assert calmer_half(burst)[0] == pytest.approx(2.0)
    assert calmer_half(lasting)[0] == pytest.approx(2.0 ** (4 / 5) * 32.0 ** (1 / 5))
    assert calmer_half(np.zeros((1, 10)))[0] < 1e-6, "steps exactly at their centre are no error"


@given(seed=st.integers(0, 2**32 - 1))
def test_a_worse_step_never_lowers_the_calmer_half(seed: int) -> None:
    rng = np.random.default_rng(seed)
    evidence = rng.exponential(size=(1, 10))
    worse = evidence.copy()
    worse[0, rng.integers(10)] *= 10.0

    assert calmer_half(worse)[0] >= calmer_half(evidence)[0]


def test_what_was_far_off_before_is_nothing_new() -> None:
    usual, far = 9 * CALM, 90.0
    begun, drifted = np.full((1, 30), usual), np.full((1, 30), far)
    begun[0, -LASTING:] = far

    assert lasting(begun, 9)[0] == pytest.approx(far)
    assert lasting(drifted, 9)[0] == pytest.approx(9 * CALM)
    for steps in range(LASTING, 30):  # a fault is heard from its tenth step until it fills half of the steps before
        evidence = np.full((1, 30), usual)
        evidence[0, -steps:] = far
        assert (lasting(evidence, 9)[0] == pytest.approx(far)) == (steps <= LASTING + (30 - LASTING) // 2), steps


@given(seed=st.integers(0, 2**32 - 1))
def test_the_lasting_reading_is_never_above_the_calmer_half_of_the_last_steps(seed: int) -> None:
    evidence = np.random.default_rng(seed).exponential(20.0, size=(5, 30))

    assert np.all(lasting(evidence, 9) <= calmer_half(evidence[:, -LASTING:]))
