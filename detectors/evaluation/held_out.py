"""The later part of a training recording, scored by a detector that was fitted on the part before it.

It answers what a threshold is worth before anything is deployed: how often does telemetry that is normal, and that the
fit never saw, pass it? The cut is one moment for all nodes; nothing of it or after it is fitted on.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.bursts import SHARES
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.fit import NormalSteps
from detectors.evaluation.events import Rows, alarm_rate, false_alarms, rate_text
from detectors.evaluation.metrics import rate_interval
from detectors.offline import Steps, advanced_windows
from detectors.protocol import Detector, flag

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
HELD_OUT: Final = "held_out"  # entry of an artefact's metrics
SHARE: Final = 0.2  # of the steps that are held out
MOMENTS: Final = 200  # at which baselines are looked at
WATCHED: Final = 50  # nodes whose baselines are looked at
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Course:
    """How a detector went over a recording of normal telemetry, in event-time order.

    Attributes:
        node: int64 (n,), a number a node.
        names: of the nodes, by number.
        ts_ms: int64 (n,), event time.
        scores: float64 (n,); NaN without a verdict.
        readings: float64 (n, 3), what the thresholds were fitted on, see ``ConsensusDetector.readings``; NaN likewise.
        flagged: bool (n,), whether the step's window is anomalous.
        later: bool (n,), steps after the cut; none where the detector was fitted on all of them.
        moments_ms: int64 (t,), event times at which baselines were looked at.
        drift: float64 (t, F), the median over the watched nodes of how far a feature's baseline has moved since the
            node's first verdict, in the fleet's scales.
        scales: float64 (watched nodes, F), how far each feature strays on each node: its deviation from the node's mean
            over the recording, in transformed units.
    """

    node: NDArray[np.int64]
    names: tuple[str, ...]
    ts_ms: NDArray[np.int64]
    scores: Floats
    readings: Floats
    flagged: Bools
    later: Bools
    moments_ms: NDArray[np.int64]
    drift: Floats
    scales: Floats

    @property
    def judged(self) -> Bools:
        """Steps after the cut that have a verdict, bool (n,)."""
        return np.asarray(self.later & np.isfinite(self.scores), dtype=np.bool_)


def later_part(ts_ms: NDArray[np.int64], share: float = SHARE) -> Bools:
    """Return which steps come after the moment that leaves ``share`` of them, bool (n,).

    Args:
        ts_ms: int64 (n,), event times in any order.
        share: of the steps, 0 to 1; a little less when many are of the same moment.
    """
    cut = np.sort(ts_ms)[max(round(len(ts_ms) * (1.0 - share)) - 1, 0)]
    return np.asarray(ts_ms > cut, dtype=np.bool_)


def follow(
    detector: ConsensusDetector, steps: NormalSteps, later: Bools, step_ms: int, on_progress: Progress | None = None
) -> Course:
    """Score a recording as a worker does, and look at the baselines on the way.

    Args:
        detector: fitted on the steps that are not ``later``.
        steps: the whole recording, n steps in log order.
        later: bool (n,).
        step_ms: nominal milliseconds between a node's steps.
        on_progress: called with (steps done, steps in all).
    """
    names, node = np.unique(np.asarray(steps.keys), return_inverse=True)
    scores, flagged = np.full(len(steps.rows), np.nan), np.zeros(len(steps.rows), dtype=np.bool_)
    readings = np.full((len(steps.rows), len(SHARES)), np.nan)
    baselines = _Baselines(detector, len(names), steps.ts_ms)
    recording = Steps(steps.keys, steps.ts_ms, steps.rows, step_ms)
    for start, windows, before in advanced_windows(cast("Detector", detector), recording):
        if before is not None and len(windows):
            places = start + windows.records
            scores[places] = detector.score(windows, before)
            readings[places] = detector.readings(windows, before)
            flagged[places] = flag(cast("Detector", detector), windows, scores[places], before)
            baselines.look(node[places], steps.ts_ms[places], before.astype(np.float64))
        if on_progress is not None:
            on_progress(start, len(scores))
    moments_ms, drift = baselines.drift()
    own = [detector.model.transformed(steps.rows[node == each]).std(axis=0) for each in baselines.watched.tolist()]
    return Course(
        node=node.astype(np.int64),
        names=tuple(names.tolist()),
        ts_ms=steps.ts_ms,
        scores=scores,
        readings=readings,
        flagged=flagged,
        later=later,
        moments_ms=moments_ms,
        drift=drift,
        scales=np.array(own),
    )


def held_out_figures(course: Course, threshold: float, asked: float, step_ms: int) -> dict[str, Any]:
    """Return what the threshold achieved after the cut, against what was asked of it.

    ``interval_95`` holds the rates that are compatible with the count at 95 %, were alarms independent of each other:
    a recording of minutes cannot tell one false alarm a node-day from none.

    Args:
        course: with ``judged`` steps.
        threshold: that of the detector fitted on the earlier part.
        asked: false alarms a node-day that it was fitted for.
        step_ms: nominal milliseconds between a node's steps.
    """
    judged = course.judged
    count = int(np.sum(judged))
    normal, nowhere = np.zeros(count, dtype=np.int8), np.full(count, "")
    alarms = false_alarms(
        Rows(course.node[judged], course.ts_ms[judged], normal, course.flagged[judged], nowhere), step_ms
    )
    low, high = rate_interval(alarms.episodes, alarms.node_days)
    nodes, known = np.unique(course.node[course.later]), np.unique(course.node[~course.later])
    return {
        "from_ms": int(course.ts_ms[course.later].min()),
        "steps": int(np.sum(course.later)),
        "nodes": len(nodes),
        "new_nodes": len(np.setdiff1d(nodes, known)),
        "threshold": threshold,
        "asked_false_alarms_per_node_day": asked,
        **alarm_rate(alarms.episodes, alarms.node_days, asked),
        "interval_95": [low, high],
        "flagged_steps": alarms.rows,
    }


def held_out_text(found: Mapping[str, Any]) -> str:
    """Put ``held_out_figures``, or why there are none, into a sentence."""
    if "skipped" in found:
        return f"not measured: {found['skipped']}"
    return f"the last {found['share']:.0%} by time, {rate_text(found)}"


class _Baselines:
    """Baselines of some nodes at some moments: the last look within each of ``MOMENTS`` equal spans of time."""

    def __init__(self, detector: ConsensusDetector, nodes: int, ts_ms: NDArray[np.int64]) -> None:
        self._rule = detector.model.rule
        self.watched = np.unique(np.linspace(0, nodes - 1, min(nodes, WATCHED)).astype(np.int64))
        self._place = np.full(nodes, -1)
        self._place[self.watched] = np.arange(len(self.watched))
        self._edges = np.linspace(int(ts_ms.min()), int(ts_ms.max()) + 1, MOMENTS + 1)
        features = len(self._rule.scale)
        self._location = np.full((MOMENTS, len(self.watched), features), np.nan)

    def look(self, node: NDArray[np.int64], ts_ms: NDArray[np.int64], state: Floats) -> None:
        """Note the states, float64 (n, state_width), that the nodes int64 (n,) had at ``ts_ms`` int64 (n,)."""
        place = self._place[node]
        mine = np.flatnonzero(place >= 0)
        moment = np.searchsorted(self._edges, ts_ms[mine], side="right") - 1
        self._location[moment, place[mine]] = self._rule.split(state[mine])[0]

    def drift(self) -> tuple[NDArray[np.int64], Floats]:
        """Return the moments, int64 (t,), and how far the baselines have moved by then, float64 (t, F)."""
        seen = np.isfinite(self._location).all(axis=2)
        latest = np.maximum.accumulate(np.where(seen, np.arange(MOMENTS)[:, None], -1), axis=0)
        first = self._location[seen.argmax(axis=0), np.arange(seen.shape[1])]
        moved = [
            np.median((self._location[latest[moment, known], known] - first[known]) / self._rule.scale, axis=0)
            for moment in range(MOMENTS)
            if len(known := np.flatnonzero(latest[moment] >= 0))
        ]
        moments = self._edges[1:][(latest >= 0).any(axis=1)]
        return moments.astype(np.int64), np.array(moved).reshape(len(moved), -1)
