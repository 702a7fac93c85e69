"""False alarms of telemetry without a fault: how many, how bad, when, and of nodes that nobody knew before."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.events import QUIET_STEPS, alarm_rate
from detectors.protocol import Scores
from detectors.scoring import severity
from detectors.thresholds import MS_PER_DAY, episode_peaks

MS_PER_HOUR: Final = 3_600_000
DAYS_A_WEEK: Final = 7
SEVERITIES: Final = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Alarms:
    """Episodes of flagged steps; those fewer than ``QUIET_STEPS`` steps apart are one.

    Attributes:
        node: int64 (k,), number of the node.
        step: int64 (k,), the step of the run at which the episode began, 0 for the node's first.
        peak: float64 (k,), the episode's highest score.
    """

    node: NDArray[np.int64]
    step: NDArray[np.int64]
    peak: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """How much telemetry there was, and how it was judged.

    Attributes:
        nodes: number of nodes; each reports at every step.
        steps: steps of the run.
        step_ms: milliseconds between two steps of a node.
        levels: scores above which an alarm is a warning, and critical.
        asked: false alarms a node-day that the threshold was fitted for, ``None`` when the artefact does not say.
    """

    nodes: int
    steps: int
    step_ms: int
    levels: tuple[float, float]
    asked: float | None

    def node_days(self, steps: int) -> float:
        """Return the event time of ``steps`` steps of all nodes, in node-days."""
        return self.nodes * steps * self.step_ms / MS_PER_DAY


def find_alarms(scores: Scores, flagged: NDArray[np.bool_], *, node: int = 0, step: int = 0) -> Alarms:
    """Find the episodes in a part of a run.

    Args:
        scores: float64 (nodes, steps), NaN where there was no verdict.
        flagged: bool (nodes, steps), the windows that are anomalous.
        node: number of the part's first node.
        step: the part's first step.
    """
    found: list[tuple[int, int, float]] = []
    before_end = np.arange(scores.shape[1], 0, -1, dtype=np.float64)
    for place, (mine, high) in enumerate(zip(scores, flagged, strict=True)):
        peaks = episode_peaks(np.where(high, mine, -np.inf), -np.inf, QUIET_STEPS)
        # The same episodes again: of the steps left until the end, the highest is the episode's first.
        left = episode_peaks(np.where(high, before_end, 0.0), 0.0, QUIET_STEPS)
        starts = step + len(mine) - left.astype(np.int64)
        found += [(node + place, *each) for each in zip(starts.tolist(), peaks.tolist(), strict=True)]
    nodes, steps, highest = zip(*found, strict=True) if found else ((), (), ())
    return Alarms(np.array(nodes, dtype=np.int64), np.array(steps, dtype=np.int64), np.array(highest, dtype=np.float64))


def join_alarms(parts: Sequence[Alarms]) -> Alarms:
    """Return the alarms of all parts of a run, of which there is at least one."""
    return Alarms(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("node", "step", "peak")))


def first_verdicts(scores: Scores) -> NDArray[np.int64]:
    """Return after how many steps each node got its first verdict, int64 (nodes,); steps + 1 where it got none.

    Args:
        scores: float64 (nodes, steps) from the nodes' first step on, NaN where there was no verdict.
    """
    known = ~np.isnan(scores)
    return np.asarray(np.where(known.any(axis=1), known.argmax(axis=1), scores.shape[1]) + 1, dtype=np.int64)


def fault_free_figures(alarms: Alarms, run: Run) -> dict[str, Any]:
    """Return how often there was an alarm for nothing: overall, by severity, by time, of new nodes.

    Times are those since the run's start, which is each node's first record. ``None`` stands for figures that are not
    defined.
    """
    total = alarm_rate(len(alarms.step), run.node_days(run.steps), run.asked)
    severities = [severity(peak, run.levels) for peak in alarms.peak.tolist()]
    by_node = np.bincount(alarms.node, minlength=run.nodes)
    return {
        "nodes": run.nodes,
        "days": run.steps * run.step_ms / MS_PER_DAY,
        "asked_false_alarms_per_node_day": run.asked,
        **total,
        "by_severity": {
            each: alarm_rate(severities.count(each), run.node_days(run.steps), None) for each in SEVERITIES
        },
        "by_period": _by_period(alarms, run),
        "nodes_without_false_alarm": int(np.sum(by_node == 0)),
        "most_false_alarms_of_a_node": int(by_node.max(initial=0)),
        "first_hour": _first_hour(alarms, run),
    }


def _by_period(alarms: Alarms, run: Run) -> list[dict[str, Any]]:
    """Return the rate of each week of a run of more than one; of each day of a shorter one."""
    days = run.steps * run.step_ms / MS_PER_DAY
    name, length = ("week", DAYS_A_WEEK) if days > DAYS_A_WEEK else ("day", 1)
    width = length * MS_PER_DAY // run.step_ms
    found = []
    for number, start in enumerate(range(0, run.steps, width), start=1):
        count = int(np.sum((alarms.step >= start) & (alarms.step < start + width)))
        steps = min(width, run.steps - start)
        found.append({"period": name, "number": number, **alarm_rate(count, run.node_days(steps), run.asked)})
    return found


def _first_hour(alarms: Alarms, run: Run) -> dict[str, Any]:
    """Compare the false alarms in each node's first hour with the usual ones, those of all later hours."""
    hour = MS_PER_HOUR // run.step_ms
    early = int(np.sum(alarms.step < hour))
    found = alarm_rate(early, run.node_days(min(hour, run.steps)), run.asked)
    later = run.node_days(max(run.steps - hour, 0))
    usual = (len(alarms.step) - early) / later if later else None
    return {
        **found,
        "usual_false_alarms_per_node_day": usual,
        "times_usual": found["false_alarms_per_node_day"] / usual if usual else None,
    }
