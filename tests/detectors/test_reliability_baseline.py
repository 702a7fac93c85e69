"""The node's slow baseline: what it learns, and that a stream in any pieces learns what a whole recording does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.reliability.baseline import NodeBaseline
from detectors.reliability.examples import NodeRows, windows_of
from detectors.reliability.features import FeaturePlan, window_features
from features.windows import WindowStore
from schemas.streams import NODE

FIELDS = ("errors", "latency")
STEP = 60_000
START = 1_760_000_000_000
PLAN = FeaturePlan(FIELDS, ((1, 0),), np.array([0.1, 1.0], np.float32), np.array([5.0, 50.0], np.float32), memory=60)


def open_windows() -> WindowStore:
    """Windows as the worker keeps them of node metrics."""
    return WindowStore(
        2,
        window=30,
        step_ms=STEP,
        gap_steps=NODE.gap_steps,
        idle_ms=86_400_000,
        state_width=PLAN.baseline.width,
    )


def walk(rows: NodeRows) -> tuple[np.ndarray, np.ndarray]:
    """Features and baselines of a whole recording, as training makes them."""
    parts = [(window_features(part.windows, PLAN, part.before), part.before) for part in windows_of(rows, PLAN, 30)]
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])


def plain(values: np.ndarray) -> np.ndarray:
    """The baseline before each step of one node, from the 30th on, as the most obvious program computes it."""
    floor, found = PLAN.floor, []
    first = values[:29]
    location = np.sort(first, axis=0)[14]
    scale = np.maximum(np.sort(np.abs(first - location), axis=0)[14] * np.float32(1.4826), np.float32(0.3) * floor)
    count = np.float32(29.0)
    for step in values[29:]:
        found.append(np.concatenate([[count], location, scale]))
        count = min(count + np.float32(1.0), np.float32(PLAN.memory))
        strayed = np.minimum(np.maximum(step - location, np.float32(-3.0) * scale), np.float32(3.0) * scale)
        wider = scale + (np.float32(1.25) * np.abs(strayed) - scale) / count
        location, scale = location + strayed / count, np.maximum(wider, np.float32(0.3) * floor)
    return np.array(found, np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 120), min_size=1, max_size=12), st.booleans())
def test_streamed_features_are_those_of_the_whole_recording_to_the_bit(seed: int, cuts: list[int], gaps: bool) -> None:
    rng = np.random.default_rng(seed)
    minutes = np.cumsum(rng.choice([1, 1, 1, 1, 2, 4, 9], 150) if gaps else np.ones(150, np.int64))
    ts_ms = np.sort(np.concatenate([START + minutes * STEP, START + minutes * STEP + 7_000]))
    nodes = np.array(["a", "b"])[(ts_ms - START) % STEP // 7_000]
    values = rng.gamma(1.5, 2.0, (len(ts_ms), 2)).astype(np.float32)
    whole, _ = walk(NodeRows(FIELDS, nodes, ts_ms, values, STEP))
    store = open_windows()
    streamed, start = [], 0
    while start < len(ts_ms):
        end = start + cuts[len(streamed) % len(cuts)]
        part = slice(start, end)
        count = len(ts_ms[part])
        windows = store.append(np.zeros(count, np.int32), nodes[part].tolist(), ts_ms[part], values[part]).windows
        slots, node = np.unique(windows.slots, return_inverse=True)
        state = store.state[slots]
        before = PLAN.baseline.advance(windows, state, node)
        store.state[slots] = state
        streamed.append(window_features(windows, PLAN, before))
        # A worker that takes over goes on from the snapshot.
        held = store.snapshot_partition(0)
        store = open_windows()
        store.restore(held)
        start = end
    assert np.concatenate(streamed).tobytes() == whole.tobytes()


def test_a_baseline_is_what_the_plainest_program_says() -> None:
    values = np.random.default_rng(3).gamma(2.0, 3.0, (400, 2)).astype(np.float32)
    ts_ms = START + np.arange(400, dtype=np.int64) * STEP
    _, before = walk(NodeRows(FIELDS, ["a"] * 400, ts_ms, values, STEP))
    assert before.tobytes() == plain(values).tobytes()


def test_an_incident_of_an_hour_hardly_moves_a_day() -> None:
    baseline = NodeBaseline(np.array([0.1], np.float32))
    state = np.array([[1_440.0, 10.0, 1.0]], np.float32)
    for _ in range(60):
        state = baseline.moved(state, np.array([[500.0]], np.float32))
    location, scale = baseline.split(state)
    assert 10.0 < location[0, 0] < 10.3
    assert 1.0 < scale[0, 0] < 1.3


def test_a_lasting_change_is_learnt_within_days() -> None:
    baseline = NodeBaseline(np.array([0.1], np.float32))
    rng = np.random.default_rng(0)
    state = np.array([[1_440.0, 10.0, 1.0]], np.float32)
    for value in rng.normal(14.0, 1.0, 3 * 1_440).astype(np.float32):
        state = baseline.moved(state, np.array([[value]], np.float32))
    location, scale = baseline.split(state)
    assert location[0, 0] == pytest.approx(14.0, abs=0.3)
    assert 0.8 < scale[0, 0] < 1.6


def test_a_field_that_never_moves_keeps_a_scale_above_zero() -> None:
    baseline = NodeBaseline(np.array([0.5], np.float32))
    state = np.array([[29.0, 3.0, 0.15]], np.float32)
    for _ in range(5_000):
        state = baseline.moved(state, np.array([[3.0]], np.float32))
    assert state[0].tolist() == [1_440.0, 3.0, pytest.approx(0.15)]


def test_a_baseline_without_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 step"):
        NodeBaseline(np.ones(2, np.float32), memory=0)
