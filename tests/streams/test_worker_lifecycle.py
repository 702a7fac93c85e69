from hypothesis import given
from hypothesis import strategies as st

from streams.lifecycle import (
    Assigned,
    Drained,
    Drop,
    Event,
    Failed,
    Leave,
    Lifecycle,
    Opened,
    Phase,
    Restore,
    Revoked,
    StopRequested,
)

A, B, C = ("t", 0), ("t", 1), ("u", 0)
partitions = st.lists(st.sampled_from([A, B, C]), max_size=3)
events: st.SearchStrategy[Event] = st.one_of(
    st.just(Opened()),
    partitions.map(Assigned),
    st.builds(Revoked, partitions, st.booleans()),
    st.just(StopRequested()),
    st.just(Drained()),
    st.just(Failed("why")),
)


@given(st.lists(events, max_size=30))
def test_whatever_happens_each_partition_is_restored_once_when_it_comes_and_dropped_once_when_it_goes(
    history: list[Event],
) -> None:
    state, restored, left = Lifecycle(), set[tuple[str, int]](), 0
    for event in history:
        before = state
        state, actions = state.after(event)
        for action in actions:
            match action:
                case Restore(which):
                    assert restored.isdisjoint(which)
                    restored.update(which)
                case Drop(which):
                    assert restored.issuperset(which)
                    restored.difference_update(which)
                case Leave():
                    left += 1
        assert restored == state.held
        assert left <= 1
        if before.phase in {Phase.STOPPED, Phase.FAILED}:
            assert (state, actions) == (before, ())
        if state.phase in {Phase.STARTING, Phase.STOPPED, Phase.FAILED} and before.phase is not Phase.STARTING:
            assert not state.held or state.phase is Phase.STARTING
        assert (state.phase is Phase.RUNNING) <= bool(state.held)


def through(*history: Event) -> Lifecycle:
    state = Lifecycle()
    for event in history:
        state, _ = state.after(event)
    return state


def test_a_worker_runs_while_it_has_partitions_and_joins_while_it_has_none() -> None:
    assert through().phase is Phase.STARTING
    assert through(Opened()).phase is Phase.JOINING
    assert through(Opened(), Assigned([])).phase is Phase.JOINING
    assert through(Opened(), Assigned([A, B])).phase is Phase.RUNNING
    assert through(Opened(), Assigned([A, B]), Revoked([A])).phase is Phase.RUNNING
    assert through(Opened(), Assigned([A]), Revoked([A], lost=True)).phase is Phase.JOINING


def test_a_stop_is_asked_for_once_and_ends_with_nothing_held() -> None:
    state = through(Opened(), Assigned([A, B]))
    state, actions = state.after(StopRequested())
    assert (state.phase, actions) == (Phase.DRAINING, (Leave(),))
    assert state.after(StopRequested()) == (state, ())
    state, actions = state.after(Revoked([A, B]))
    assert (state.phase, actions) == (Phase.DRAINING, (Drop((A, B)),))
    state, actions = state.after(Drained())
    assert (state, actions) == (Lifecycle(Phase.STOPPED), ())


def test_a_failure_keeps_its_reason_and_drops_what_was_held() -> None:
    state, actions = through(Opened(), Assigned([B, A])).after(Failed("fenced"))
    assert (state.phase, state.reason, actions) == (Phase.FAILED, "fenced", (Drop((A, B)),))
    assert state.after(Drained())[0].phase is Phase.FAILED
