"""Windows are index ranges into shared timelines, and every view of them agrees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import WindowBatch


def shared() -> WindowBatch:
    """Three windows of 2 steps over one timeline of 5 rows."""
    rows = np.arange(10, dtype=np.float32).reshape(5, 2)
    return WindowBatch(
        length=2,
        rows=rows,
        ts_ms=np.arange(100, 105),
        carried=np.array([False, True, False, False, False]),
        ends=np.array([1, 2, 4]),
        records=np.array([0, 3, 7]),
        slots=np.array([5, 5, 6]),
    )


def test_a_tensor_holds_each_window_oldest_step_first() -> None:
    tensor = shared().tensor()
    assert tensor.tolist() == [[[0, 1], [2, 3]], [[2, 3], [4, 5]], [[6, 7], [8, 9]]]
    assert (tensor.dtype, tensor.flags.c_contiguous) == (np.float32, True)


def test_views_agree_with_the_tensor() -> None:
    batch = shared()
    assert batch.last().tolist() == batch.tensor()[:, -1].tolist()
    assert batch.start_ms().tolist() == [100, 101, 103]
    assert batch.end_ms().tolist() == [101, 102, 104]
    assert (len(batch), batch.features) == (3, 2)


@given(st.lists(st.integers(0, 2), max_size=6))
def test_taking_windows_takes_their_steps_records_and_slots(index: list[int]) -> None:
    batch, chosen = shared(), np.array(index, np.int64)
    taken = batch.take(chosen)
    assert taken.tensor().tolist() == batch.tensor()[chosen].tolist()
    assert taken.records.tolist() == batch.records[chosen].tolist()
    assert taken.slots.tolist() == batch.slots[chosen].tolist()
    assert taken.rows is batch.rows


def test_detached_windows_are_the_same_and_hold_no_other_rows() -> None:
    alone = shared().take(np.array([1, 2])).detached()
    assert alone.tensor().tolist() == [[[2, 3], [4, 5]], [[6, 7], [8, 9]]]
    assert alone.carried.tolist() == [True, False, False, False]
    assert (alone.start_ms().tolist(), alone.end_ms().tolist()) == ([101, 103], [102, 104])
    assert alone.records.tolist() == [3, 7]
    assert len(alone.rows) == 4


def test_windows_are_taken_by_mask() -> None:
    assert shared().take(np.array([True, False, True])).records.tolist() == [0, 7]


def test_the_same_windows_can_be_given_other_values() -> None:
    batch = shared()
    scaled = batch.with_rows(batch.rows[:, :1] * 10)
    assert scaled.tensor().tolist() == [[[0], [20]], [[20], [40]], [[60], [80]]]
    with pytest.raises(ValueError, match=r"rows has shape \(4, 2\); give \(5, features\)"):
        batch.with_rows(batch.rows[1:])


def test_timelines_that_are_not_contiguous_give_the_same_tensor() -> None:
    batch = shared()
    wide = np.zeros((5, 4), np.float32)
    wide[:, ::2] = batch.rows
    assert batch.with_rows(wide[:, ::2]).tensor().tobytes() == batch.tensor().tobytes()


def test_stacked_windows_come_back_as_they_were() -> None:
    windows = np.arange(24, dtype=np.float64).reshape(2, 4, 3)
    batch = WindowBatch.stack(windows)
    assert batch.tensor().tolist() == windows.tolist()
    assert (batch.length, batch.start_ms().tolist(), batch.end_ms().tolist()) == (4, [1000, 1000], [4000, 4000])
    assert not batch.carried.any()
    times = np.array([[1, 2, 3, 9], [4, 5, 6, 7]])
    assert WindowBatch.stack(windows, times).end_ms().tolist() == [9, 7]


def test_the_latest_steps_of_windows_are_the_ends_of_the_windows() -> None:
    batch = shared()
    assert batch.latest(2).tensor().tobytes() == batch.tensor()[:, -2:].tobytes()
    assert batch.latest(batch.length).tensor().tobytes() == batch.tensor().tobytes()
    for steps in (0, batch.length + 1):
        with pytest.raises(ValueError, match=f"{steps} of them cannot be chosen"):
            batch.latest(steps)


def test_an_empty_batch_has_views_of_the_right_shape() -> None:
    batch = WindowBatch.empty(30, 12)
    assert batch.tensor().shape == (0, 30, 12)
    assert batch.last().shape == (0, 12)
    assert len(batch.start_ms()) == len(batch.take(np.empty(0, np.int64))) == len(batch) == 0


def test_windows_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"windows has shape \(2, 3\)"):
        WindowBatch.stack(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"windows has shape \(2, 0, 3\)"):
        WindowBatch.stack(np.zeros((2, 0, 3)))
    with pytest.raises(ValueError, match=r"ts_ms has shape \(3,\); give \(2, 3\)"):
        WindowBatch.stack(np.zeros((2, 3, 1)), np.arange(3))
