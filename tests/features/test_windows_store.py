"""Single rules of the window store, each by an example with figures worked out by hand."""

from typing import Any

import numpy as np
import pytest

from features import MAX_TS_MS, Appended, StepStatus, Watermark, WindowRules, WindowStore

START_MS = 1_700_000_000_000
W, WARMING, DUPLICATE, LATE = StepStatus.WINDOW, StepStatus.WARMING, StepStatus.DUPLICATE, StepStatus.LATE


def store(**changes: Any) -> WindowStore:
    return WindowStore(1, **({"window": 3, "step_ms": 1000, "gap_steps": 2, "late_steps": 2} | changes))


def append(
    target: WindowStore, *seconds: float, key: str = "a", partition: int = 0, rows: list[float] | None = None
) -> Appended:
    """Append steps of one node; by default a step's value is its second."""
    values = np.array(rows if rows is not None else seconds, np.float32)[:, None]
    ts_ms = np.array([START_MS + round(1000 * s) for s in seconds])
    return target.append(np.full(len(seconds), partition, np.int32), [key] * len(seconds), ts_ms, values)


def values(appended: Appended) -> list[list[float]]:
    return [[float(v) for v in window] for window in appended.windows.tensor()[:, :, 0]]


def test_a_window_comes_out_with_every_step_once_there_are_enough() -> None:
    appended = append(store(), 0, 1, 2, 3)
    assert appended.status.tolist() == [WARMING, WARMING, W, W]
    assert values(appended) == [[0, 1, 2], [1, 2, 3]]
    assert appended.windows.records.tolist() == [2, 3]
    assert (appended.windows.start_ms() - START_MS).tolist() == [0, 1000]
    assert (appended.windows.end_ms() - START_MS).tolist() == [2000, 3000]
    assert appended.counts == {W: 2, WARMING: 2, DUPLICATE: 0, LATE: 0, StepStatus.APPLIED: 0}
    assert appended.count(W) == 2
    assert len(appended) == 4


def test_consecutive_windows_share_their_rows() -> None:
    target = store()
    append(target, 0, 1)
    assert len(append(target, *range(2, 102)).windows.rows) == 102


def test_a_short_gap_is_carried_with_the_last_real_row_at_even_times() -> None:
    appended = append(store(), 0, 3.3, 4)
    assert appended.status.tolist() == [WARMING, W, W]
    assert values(appended) == [[0, 0, np.float32(3.3)], [0, np.float32(3.3), 4]]
    assert appended.gaps == 2
    end = appended.windows.ends[0]
    assert (appended.windows.ts_ms[end - 2 : end + 1] - START_MS).tolist() == [1100, 2200, 3300]
    assert appended.windows.carried[end - 2 : end + 1].tolist() == [True, True, False]


def test_a_long_gap_starts_the_window_again_and_keeps_the_detector_state() -> None:
    target = store(state_width=1)
    target.state[append(target, 0, 1, 2).windows.slots] = 7
    appended = append(target, 6, 7, 8)
    assert appended.restarts == 1
    assert appended.status.tolist() == [WARMING, WARMING, W]
    assert values(appended) == [[6, 7, 8]]
    assert target.state[appended.windows.slots].tolist() == [[7]]


def test_after_a_gap_that_is_neither_carried_nor_too_long_the_window_goes_on() -> None:
    target = store(resume_ms=60_000)
    append(target, 0, 1, 2)
    appended = append(target, 62, 63, 124)
    assert values(appended) == [[1, 2, 62], [2, 62, 63]]
    assert (appended.windows.start_ms() - START_MS).tolist() == [1000, 2000]
    assert not appended.windows.carried.any()
    assert (appended.gaps, appended.restarts) == (0, 1)
    assert appended.status.tolist() == [W, W, WARMING]


def test_the_longest_gap_that_is_carried_is_gap_steps() -> None:
    assert append(store(), 0, 3).gaps == 2
    assert append(store(), 0, 3.499).gaps == 2
    assert append(store(), 0, 3.5).restarts == 1


def test_faster_steps_than_nominal_are_steps_all_the_same() -> None:
    assert values(append(store(), 0, 0.25, 0.5)) == [[0, 0.25, 0.5]]


def test_a_repeated_step_is_dropped_whatever_it_says() -> None:
    appended = append(store(), 0, 1, 1, 2, 1, rows=[0, 1, 99, 2, 99])
    assert appended.status.tolist() == [WARMING, WARMING, DUPLICATE, W, DUPLICATE]
    assert values(appended) == [[0, 1, 2]]


def test_a_late_step_fills_its_hole_and_its_window_ends_at_it() -> None:
    appended = append(store(), 0, 1, 3, 2.1, 4)
    assert appended.status.tolist() == [WARMING, WARMING, W, W, W]
    late = float(np.float32(2.1))
    assert values(appended) == [[1, 1, 3], [0, 1, late], [late, 3, 4]]
    assert (appended.filled, appended.gaps) == (1, 1)


def test_steps_carried_after_a_filled_hole_repeat_it() -> None:
    assert values(append(store(), 0, 3, 1, 4, 5)) == [[0, 0, 3], [1, 3, 4], [3, 4, 5]]
    assert values(append(store(window=4), 0, 3, 1, 4)) == [[0, 0, 0, 3], [1, 1, 3, 4]]


def test_a_late_step_fills_nothing_when_it_is_too_old_or_too_far_from_the_beat() -> None:
    target = store()
    assert append(target, 0, 2, 3, 4, 1).status[-1] == LATE
    assert append(store(), 0, 3, 1.51).filled == 1
    assert append(store(), 0, 2.4, 0.6).status[-1] == LATE


def test_the_nearer_of_two_holes_is_filled_and_the_older_of_equals() -> None:
    target = store()
    append(target, 0, 3)
    appended = append(target, 1.5, 4, 5, rows=[1.5, 4, 5])
    assert (appended.filled, appended.status[0]) == (1, WARMING)
    assert values(appended) == [[1.5, 3, 4], [3, 4, 5]]
    end = append(target, 6).windows
    assert len(end) == 1


def test_late_and_repeated_steps_of_one_node_change_nothing_for_another_in_the_batch() -> None:
    alone, beside = store(), store()
    for second in range(12):
        moment = START_MS + 1000 * second
        calm = append(alone, second, key="calm")
        both = beside.append(
            np.zeros(4, np.int32),
            ["noisy", "calm", "noisy", "noisy"],
            np.array([moment, moment, moment, moment - 2000]),
            np.array([[1], [second], [2], [3]], np.float32),
        )
        own = both.windows.take(both.windows.records == 1)
        assert own.tensor().tobytes() == calm.windows.tensor().tobytes()
        assert both.status[1] == calm.status[0]
        assert both.status[2] == DUPLICATE


def test_a_node_with_thousands_of_steps_in_one_batch_gets_all_its_windows() -> None:
    target = store()
    appended = append(target, *range(5000))
    assert appended.count(W) == 4998
    assert values(appended)[-1] == [4997, 4998, 4999]
    assert values(append(target, 5000)) == [[4998, 4999, 5000]]


def test_the_same_key_in_two_partitions_is_two_nodes() -> None:
    target = store()
    append(target, 0, 1, partition=0)
    assert append(target, 2, partition=1).status.tolist() == [WARMING]
    assert append(target, 2, partition=0).status.tolist() == [W]
    assert target.partitions == [0, 1]
    target.drop_partition(0)
    assert (len(target), target.partitions, target.slot_of(0, "a")) == (1, [1], None)
    assert append(target, 3, partition=0).created == 1


def test_a_node_is_forgotten_when_two_others_have_gone_on_for_longer_than_idle_ms() -> None:
    target = store(idle_ms=10_000, state_width=1)
    append(target, 0, key="gone")
    target.state[:] = 5
    append(target, 0, 10, key="b")
    assert append(target, 0, 10, key="c").evicted == []
    append(target, 11, key="b")
    appended = append(target, 11, key="c")
    assert appended.evicted == [(0, "gone")]
    assert appended.evictions == 1
    assert append(target, 12, key="gone").created == 1
    slot = target.slot_of(0, "gone")
    assert slot is not None
    assert target.state[slot] == 0


def test_one_clock_far_ahead_makes_nobody_be_forgotten() -> None:
    target = store(idle_ms=10_000)
    append(target, 0, key="a")
    append(target, 0, key="b")
    append(target, 10**9, key="ahead")
    append(target, 1, key="b")
    assert append(target, 1, key="a").created == 0
    assert len(target) == 3
    assert target.watermark(0) == Watermark("ahead", START_MS + 10**12, START_MS + 1000, START_MS)


def test_a_node_whose_clock_lags_far_behind_keeps_its_windows() -> None:
    target = store(idle_ms=10_000)
    for second in range(5):
        append(target, 10**6 + second, key="b")
        append(target, 10**6 + second, key="c")
        appended = append(target, second, key="slow")
    assert values(appended) == [[2, 3, 4]]
    assert appended.evictions == 0


def test_a_clock_set_back_is_blind_for_idle_ms_and_then_starts_again() -> None:
    target = store(idle_ms=10_000)
    for second in range(30):
        append(target, second, key="b")
        append(target, second, key="c")
        status = append(target, second + 5000 if second < 5 else second, key="a").status
        assert status[0] == (LATE if 5 <= second < 15 else W if second in {2, 3, 4} or second >= 17 else WARMING), (
            second
        )


def test_memory_of_a_node_of_twelve_features_stays_under_three_kilobytes() -> None:
    target = WindowStore(12, capacity=4096, state_width=12)
    keys = [f"node-{i:06d}" for i in range(4096)]
    target.append(np.zeros(4096, np.int32), keys, np.full(4096, START_MS), np.zeros((4096, 12), np.float32))
    assert len(target) == 4096
    assert 35 * 12 * 4 < target.nbytes / 4096 <= 3072


def test_slots_are_used_again_and_memory_does_not_grow_with_nodes_that_come_and_go() -> None:
    target = store(idle_ms=10_000, capacity=8)
    for second in range(0, 2_000, 4):
        append(target, second, key="b")
        append(target, second, key="c")
        append(target, second, key=f"pod-{second}")
    assert target.capacity == 8
    assert len(target) <= 6


def test_growing_keeps_every_node() -> None:
    target = store(capacity=1, state_width=1)
    for i in range(100):
        append(target, 0, 1, key=f"node-{i}", rows=[i, i + 0.5])
    target.state[:] += 1
    last = [append(target, 2, key=f"node-{i}", rows=[-i]) for i in range(100)]
    assert [values(appended)[0] for appended in last] == [[i, i + 0.5, -i] for i in range(100)]
    assert target.capacity == 128


def test_an_empty_batch_is_nothing() -> None:
    target = store()
    appended = append(target)
    assert (len(appended), len(appended.windows), appended.windows.tensor().shape) == (0, 0, (0, 3, 1))
    assert target.watermark(0) is None


def test_a_batch_belongs_to_the_caller_when_the_store_moves_on() -> None:
    target = store()
    windows = append(target, 0, 1, 2).windows
    append(target, *range(3, 40))
    assert windows.tensor()[:, :, 0].tolist() == [[0, 1, 2]]


def test_newest_times_are_told() -> None:
    target = store()
    append(target, 0, 4)
    assert target.newest_ms(target.slots_of(0)).tolist() == [START_MS + 4000]


@pytest.mark.parametrize("ts_ms", [0, -1, MAX_TS_MS, 2**63 - 1, -(2**63)])
def test_times_out_of_range_are_refused_and_nothing_is_appended(ts_ms: int) -> None:
    target = store()
    with pytest.raises(ValueError, match=r"ts_ms of record 1 \(b\) is .*it must be in \(0, 4102444800000\)"):
        target.append(np.zeros(2, np.int32), ["a", "b"], np.array([START_MS, ts_ms]), np.zeros((2, 1), np.float32))
    assert len(target) == 0


def test_the_first_and_the_last_possible_time_are_accepted() -> None:
    target = store()
    ends = np.array([1, MAX_TS_MS - 1])
    appended = target.append(np.zeros(2, np.int32), ["a", "a"], ends, np.zeros((2, 1), np.float32))
    assert (appended.restarts, appended.status.tolist()) == (1, [WARMING, WARMING])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("partitions", {"partitions": np.zeros(1, np.int32)}),
        ("ts_ms", {"ts_ms": np.ones((2, 1), np.int64)}),
        ("rows", {"rows": np.zeros((2, 3), np.float32)}),
        ("offsets", {"offsets": np.zeros(3, np.int64)}),
        ("partitions", {"partitions": np.array([0, -1], np.int32)}),
    ],
)
def test_arguments_of_a_wrong_shape_are_named(name: str, change: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "partitions": np.zeros(2, np.int32),
        "keys": ["a", "b"],
        "ts_ms": np.ones(2, np.int64),
        "rows": np.zeros((2, 1), np.float32),
    }
    with pytest.raises(ValueError, match=f"^{name} "):
        store().append(**(given | change))


@pytest.mark.parametrize(
    "change",
    [{"window": 0}, {"step_ms": 0}, {"gap_steps": -1}, {"late_steps": -1}, {"state_width": -1}, {"idle_ms": 0}],
)
def test_settings_out_of_range_are_named(change: dict[str, int]) -> None:
    [(name, value)] = change.items()
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be in"):
        store(**change)


def test_a_node_must_not_be_forgotten_within_a_gap_that_is_carried() -> None:
    with pytest.raises(ValueError, match=r"idle_ms is 2999: .* at least \(gap_steps \+ 1\) \* step_ms = 3000"):
        store(idle_ms=2999)


def test_a_capacity_out_of_range_is_named() -> None:
    with pytest.raises(ValueError, match="capacity is 0; it must be in"):
        store(capacity=0)


def test_rules_tell_how_many_steps_are_kept() -> None:
    rules = WindowRules(
        features=1, window=30, step_ms=1000, gap_steps=5, late_steps=5, idle_ms=1_800_000, state_width=0
    )
    assert (rules.depth, rules.head) == (35, 29)
