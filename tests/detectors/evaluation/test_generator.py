"""The reference generator's windows in a stream."""

from functools import cache

import numpy as np

from detectors.consensus.detector import ConsensusDetector
from detectors.evaluation.generator import (
    fit_on_generator,
    one_bad_step_in_stream,
    score_as_known,
    score_in_stream,
    worst_as_known,
)
from detectors.reference import normal_windows, windows_with_one_bad_step


@cache
def fitted() -> ConsensusDetector:
    return fit_on_generator(rows=3_000)


def test_a_window_in_a_stream_has_the_highest_verdict_of_its_own_steps() -> None:
    windows = windows_with_one_bad_step(np.random.default_rng(5), 20).values
    found, ends = score_in_stream(fitted(), windows), score_as_known(fitted(), windows)
    # The verdict at the end is one of them; the node's state moved in between, so it is not the very same.
    assert np.all(found > 0.95 * ends)


def test_a_bad_step_counts_at_whichever_step_it_comes() -> None:
    windows = normal_windows(np.random.default_rng(9), 30)
    usual = score_in_stream(fitted(), windows)
    places = np.arange(30)
    windows[places, places] *= 50.0  # window i is bad at its step i
    assert np.all(score_in_stream(fitted(), windows) > 10.0 * usual.max())


def test_no_verdict_sees_the_window_before() -> None:
    rng = np.random.default_rng(6)
    normal = normal_windows(rng, 10)
    loud = normal.copy()
    loud[::2] *= 50.0
    quiet, disturbed = (score_in_stream(fitted(), windows)[1::2] for windows in (normal, loud))
    assert disturbed.max() < 2.0 * quiet.max()
    assert score_in_stream(fitted(), loud)[::2].min() > 10.0 * quiet.max()


def test_a_bad_step_anywhere_is_seen_when_it_comes_and_not_when_it_is_long_past() -> None:
    made = windows_with_one_bad_step(np.random.default_rng(7), 600)
    streamed = one_bad_step_in_stream(fitted(), windows=600)["one_bad_step_in_stream_at_1_percent"]
    ends = score_as_known(fitted(), made.values)
    at_the_end = float(np.mean(ends[made.labels] > np.quantile(ends[~made.labels], 0.99)))
    assert streamed > 0.97
    assert at_the_end < streamed


def test_a_bad_step_anywhere_is_seen_by_the_worst_step_of_its_window() -> None:
    made = windows_with_one_bad_step(np.random.default_rng(8), 2_000)
    worst = worst_as_known(fitted(), made.values)
    assert np.mean(worst[made.labels] > np.quantile(worst[~made.labels], 0.99)) > 0.99


def test_the_worst_step_counts_alike_wherever_it_is() -> None:
    windows = normal_windows(np.random.default_rng(10), 1).repeat(31, axis=0)
    places = np.arange(30)
    windows[places, places] = 50.0 * windows[30, 0]  # bad at step i, all alike; the last is not
    worst = worst_as_known(fitted(), windows)
    np.testing.assert_allclose(worst[:30], worst[0], rtol=1e-9)
    assert worst[0] > 10.0 * worst[30]
