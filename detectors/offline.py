"""A recording through windows, states and scores, as the worker would do it: for fitting, evaluation and tests."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from detectors.protocol import Detector, NodeState, Scores, StatefulDetector, flag
from features.batch import WindowBatch
from features.windows import WindowStore
from schemas.outputs import Contribution
from schemas.streams import RESUME_STEPS

NEVER_MS: Final = 4_000_000_000_000
"""Idle time after which a node is forgotten: in a recording no node is."""

_STEPS_AT_ONCE: Final = 8_192
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Steps:
    """Telemetry in log order.

    Attributes:
        keys: n node ids.
        ts_ms: int64 (n,), event time, milliseconds.
        rows: float32 (n, F), finite.
        step_ms: nominal milliseconds between a node's steps.
    """

    keys: Sequence[str]
    ts_ms: NDArray[np.int64]
    rows: NDArray[np.float32]
    step_ms: int

    def __len__(self) -> int:
        return len(self.ts_ms)


@dataclass(frozen=True, slots=True)
class ScoredSteps:
    """What a detector said of each step.

    Attributes:
        scores: float64 (n,); NaN where there was no verdict: the window was not complete, or the step came too late.
        flagged: bool (n,), whether the window is anomalous.
        explained: contributions to the first flagged windows, by the place of the step that each ends with.
    """

    scores: Scores
    flagged: NDArray[np.bool_]
    explained: dict[int, tuple[Contribution, ...]]


def open_store(
    detector: Detector, features: int, step_ms: int, *, gap_steps: int = 5, resume_steps: int = RESUME_STEPS
) -> WindowStore:
    """Open the windows and states of a recording that comes in parts, see ``score_steps``.

    Args:
        detector: whose windows and states they are.
        features: numbers in a step.
        step_ms: nominal milliseconds between a node's steps.
        gap_steps: missing steps that are carried.
        resume_steps: longest gap after which a window goes on.
    """
    return WindowStore(
        features,
        window=detector.window,
        step_ms=step_ms,
        gap_steps=gap_steps,
        resume_ms=resume_steps * step_ms,
        idle_ms=NEVER_MS,
        state_width=detector.state_width,
    )


def advanced_windows(
    detector: Detector, steps: Steps, store: WindowStore | None = None
) -> Iterator[tuple[int, WindowBatch, NodeState | None]]:
    """Yield the windows of a recording, a batch at a time.

    Each with the place of the step that its record 0 is, and with the nodes' states before each window's newest step
    (``None`` for a detector without state).

    Args:
        detector: whose window and states they are.
        steps: the recording.
        store: windows and states that earlier parts of the recording left.
    """
    if store is None:
        store = open_store(detector, steps.rows.shape[1], steps.step_ms)
    for start in range(0, len(steps), _STEPS_AT_ONCE):
        part = slice(start, start + _STEPS_AT_ONCE)
        one_partition = np.zeros(len(steps.ts_ms[part]), dtype=np.int32)
        windows = store.append(one_partition, steps.keys[part], steps.ts_ms[part], steps.rows[part]).windows
        yield start, windows, advance_states(detector, store, windows)


def score_steps(
    detector: Detector,
    steps: Steps,
    *,
    store: WindowStore | None = None,
    explain: int = 0,
    on_progress: Progress | None = None,
) -> ScoredSteps:
    """Score every step of a recording in its order.

    Args:
        detector: any; it decides what is flagged.
        steps: the recording, or its next part.
        store: from ``open_store``, when the recording comes in parts: each goes on where the one before ended.
        explain: flagged windows to explain, the first ones.
        on_progress: called with the steps done so far.
    """
    # As in the worker (``StreamScorer``): one thread.
    with threadpool_limits(limits=1, user_api="blas"):
        return _score_steps(detector, steps, store, explain, on_progress)


def _score_steps(
    detector: Detector, steps: Steps, store: WindowStore | None, explain: int, on_progress: Progress | None
) -> ScoredSteps:
    scores, flagged = np.full(len(steps), np.nan), np.zeros(len(steps), dtype=np.bool_)
    explained: dict[int, tuple[Contribution, ...]] = {}
    for start, windows, before in advanced_windows(detector, steps, store):
        found = detector.score(windows, before)
        scores[start + windows.records] = found
        anomalous = flag(detector, windows, found, before)
        flagged[start + windows.records] = anomalous
        chosen = np.flatnonzero(anomalous)[: explain - len(explained)]
        if len(chosen):
            reasons = detector.contributions(windows.take(chosen), None if before is None else before[chosen])
            explained |= dict(zip((start + windows.records[chosen]).tolist(), reasons, strict=True))
        if on_progress is not None:
            on_progress(min(start + _STEPS_AT_ONCE, len(steps)))
    return ScoredSteps(scores, flagged, explained)


def advance_states(detector: Detector, store: WindowStore, windows: WindowBatch) -> NodeState | None:
    """Move the nodes' states in the store over the windows' newest steps; a new node gets the detector's beginning.

    Args:
        detector: whose states the store keeps.
        store: where the windows come from, before its next append.
        windows: n windows, each node's in order.

    Returns:
        float32 (n, state_width), each node's state before the step; ``None`` for a detector without state.
    """
    if not detector.state_width:
        return None
    stateful = cast("StatefulDetector", detector)
    slots, node = np.unique(windows.slots, return_inverse=True)
    state = store.state[slots]
    fresh = np.flatnonzero(~state.any(axis=1))
    if len(fresh):
        state[fresh] = stateful.prime([store.key_of(int(slot)) for slot in slots[fresh]])
    before = stateful.advance(windows, state, node)
    store.state[slots] = state
    return before
