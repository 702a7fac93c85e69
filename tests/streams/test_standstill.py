"""Which partitions stand still: a function of looks and times, whatever the clock."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from streams.standstill import Look, Standstill, Stuck

A, B = ("t", 0), ("t", 1)


def after(*looks: tuple[float, Look]) -> Standstill:
    state = Standstill()
    for now, look in looks:
        state = state.after({A: look}, now)
    return state


def test_a_partition_that_has_more_to_read_and_does_not_move_is_stuck_from_the_first_such_look() -> None:
    state = after((0, Look(5, 5, 9)), (30, Look(5, 5, 12)), (61, Look(5, 5, 20)))
    assert state.stuck(61, 60) == {A: Stuck(position=5, end=20, seconds=61)}
    assert state.stuck(61, 62) == {}


def test_one_that_moves_is_not_however_far_behind() -> None:
    assert after((0, Look(5, 0, 900)), (60, Look(6, 0, 990)), (90, Look(6, 0, 999))).stuck(90, 60) == {}


def test_one_with_nothing_to_read_is_not_however_long() -> None:
    assert after((0, Look(9, 9, 9)), (500, Look(9, 9, 9))).stuck(500, 60) == {}


def test_transaction_markers_at_the_end_of_the_log_are_nothing_to_read() -> None:
    assert after((0, Look(9, 12, 12)), (500, Look(9, 12, 12))).stuck(500, 60) == {}


def test_one_that_was_assigned_and_never_read_is_stuck() -> None:
    state = after((0, Look(None, 0, 3)), (60, Look(None, 0, 3)))
    assert state.stuck(60, 60) == {A: Stuck(position=None, end=3, seconds=60)}


def test_while_kafka_does_not_answer_no_time_passes() -> None:
    looks = [(0, Look(5, 5, 9)), (50, Look(5, 5, None)), (100, Look(5, 5, 9)), (150, Look(5, 5, 9))]
    assert after(*looks).stuck(150, 60) == {}
    assert after(*looks, (160, Look(5, 5, 9))).stuck(160, 60) == {A: Stuck(position=5, end=9, seconds=60)}


def test_a_partition_that_went_away_and_came_back_starts_anew() -> None:
    state = Standstill().after({A: Look(5, 0, 9), B: Look(1, 0, 9)}, 0).after({B: Look(1, 0, 9)}, 30)
    state = state.after({A: Look(5, 0, 9), B: Look(1, 0, 9)}, 60)
    assert set(state.stuck(60, 60)) == {B}


looks = st.builds(Look, st.integers(0, 3), st.integers(0, 6), st.none() | st.integers(0, 6))


@given(st.lists(st.tuples(st.floats(0.1, 40), looks), max_size=40))
def test_stuck_means_that_every_look_of_the_last_minute_found_it_in_the_same_place_with_more_to_read(
    steps: Sequence[tuple[float, Look]],
) -> None:
    now, state, history = 0.0, Standstill(), list[tuple[float, Look]]()
    for pause, look in steps:
        now += pause
        state = state.after({A: look}, now)
        history.append((now, look))
        still = _tail(history)
        expected = bool(still) and now - still[-1][0] >= 60
        assert bool(state.stuck(now, 60)) == expected


def _tail(history: Sequence[tuple[float, Look]]) -> Sequence[tuple[float, Look]]:
    """Return the newest looks, backwards, that found it unread and in one place."""
    found: list[tuple[float, Look]] = []
    for one in reversed(history):
        if not one[1].unread or one[1].position != history[-1][1].position:
            break
        found.append(one)
    return found
