import math

import pytest

from streams.backlog import FEWEST, SAID_SECONDS, Backlog


def worked_off(lag: int, rate: int, grows: int = 0, seconds: int = 30) -> Backlog:
    """A backlog looked at every second: ``rate`` records are done, ``grows`` come."""
    backlog = Backlog()
    for second in range(seconds):
        backlog.observe(max(0, lag - (rate - grows) * second), rate * second, 100.0 + second)
    return backlog


def test_the_time_left_is_what_is_left_by_how_fast_it_shrinks() -> None:
    pace = worked_off(1_000_000, 5_000, grows=1_000, seconds=31).pace
    assert pace.behind
    assert pace.records_per_second == pytest.approx(5_000)
    assert pace.lag == 1_000_000 - 30 * 4_000
    assert pace.seconds_left == pytest.approx(pace.lag / 4_000)
    assert pace.done == 150_000


def test_a_backlog_that_grows_has_no_end() -> None:
    assert math.isinf(worked_off(100_000, 1_000, grows=2_000).pace.seconds_left)


def test_a_batch_or_two_is_no_backlog() -> None:
    backlog = worked_off(0, 10_000)
    pace = backlog.observe(40_000, 300_000, 130.0)
    assert not pace.behind
    assert pace.seconds_left == 0.0


def test_a_few_records_are_none_however_slow_they_are() -> None:
    assert not worked_off(FEWEST - 1, 1, seconds=3).pace.behind


def test_it_ends_when_next_to_nothing_is_left_and_does_not_flicker() -> None:
    backlog = worked_off(200_000, 10_000, seconds=18)
    assert backlog.pace.behind
    assert backlog.observe(20_000, 180_000, 118.0).behind, "less than 5 seconds of work, but it has not caught up"
    done = backlog.observe(3_000, 197_000, 119.7)
    assert not done.behind
    assert done.done == 0
    assert not backlog.observe(30_000, 198_000, 119.8).behind


def test_it_is_said_now_and_then() -> None:
    backlog = worked_off(1_000_000, 1_000, seconds=10)
    said = [at for at in range(200, 240) if backlog.due(float(at))]
    assert said == [200, 200 + SAID_SECONDS, 200 + 2 * SAID_SECONDS, 200 + 3 * SAID_SECONDS]
    assert not Backlog().due(0.0)
