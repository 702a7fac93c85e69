"""Figures over events and in time: what was seen, how soon, and how often there was an alarm for nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.vus import runs
from detectors.thresholds import MS_PER_DAY, episode_peaks

AFTER_MS: Final = 1_000
"""A fault still counts as seen this long after its end: the record that tells of its last second comes then."""
QUIET_STEPS: Final = 10
"""Steps without an alarm that end an episode, as when thresholds are fitted."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a whole cluster: every member's rows tell of it.

    Attributes:
        start_ms, end_ms: Unix epoch, milliseconds.
        kind: such as "leader_election_storm".
        target: what it hit.
        intensity: 0 to 1, NaN when it is not known.
        cluster: whose fault it is; "" when the recording holds one cluster only.
    """

    start_ms: int
    end_ms: int
    kind: str = ""
    target: str = ""
    intensity: float = float("nan")
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Test rows of one or more nodes with their verdicts; each node's in time order.

    Attributes:
        nodes: int64 (n,), a number a node.
        ts_ms: int64 (n,), event time.
        label: int8 (n,): 1 anomalous, 0 normal, -1 not to be counted.
        flagged: bool (n,), whether the row's window passes the threshold.
        clusters: text (n,), "" where a row has none.
    """

    nodes: NDArray[np.int64]
    ts_ms: NDArray[np.int64]
    label: NDArray[np.int8]
    flagged: NDArray[np.bool_]
    clusters: NDArray[np.str_]

    def of(self, node: int) -> "Rows":
        """Return one node's rows."""
        return self.take(self.nodes == node)

    def take(self, chosen: NDArray[np.bool_]) -> "Rows":
        """Return the rows where ``chosen`` bool (n,) is true."""
        return Rows(
            self.nodes[chosen], self.ts_ms[chosen], self.label[chosen], self.flagged[chosen], self.clusters[chosen]
        )


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Alarms on normal rows.

    Attributes:
        episodes: runs of flagged normal rows; those fewer than ``QUIET_STEPS`` steps apart are one.
        rows: flagged normal rows.
        of_rows: normal rows.
        node_days: the time they cover, summed over nodes.
    """

    episodes: int
    rows: int
    of_rows: int
    node_days: float


def delays_of_runs(rows: Rows) -> list[float | None]:
    """Return the delay of each run of label 1 of each node, seconds from its first row to its first flagged one.

    ``None`` for a run without a flagged row.
    """
    found: list[float | None] = []
    for node in np.unique(rows.nodes).tolist():
        mine = rows.of(node)
        for start, end in zip(*runs(mine.label == 1), strict=True):
            hit = np.flatnonzero(mine.flagged[start : end + 1])
            found.append(float(mine.ts_ms[start + hit[0]] - mine.ts_ms[start]) / 1000.0 if len(hit) else None)
    return found


def delays_of_faults(rows: Rows, faults: Sequence[Fault]) -> list[float | None]:
    """Return the delay of each fault, seconds from its start to the first flagged row of any member.

    ``None`` when no row from its start to ``AFTER_MS`` after its end is flagged. Faults that ended before the rows
    begin, or start after them, are left out.
    """
    if not len(rows.ts_ms):
        return []
    first, last = int(rows.ts_ms.min()), int(rows.ts_ms.max())
    found: list[float | None] = []
    for fault in faults:
        if fault.end_ms + AFTER_MS < first or fault.start_ms > last:
            continue
        within = rows.flagged & ((rows.clusters == fault.cluster) | (not fault.cluster))
        within &= (rows.ts_ms >= fault.start_ms) & (rows.ts_ms <= fault.end_ms + AFTER_MS)
        found.append(float(rows.ts_ms[within].min() - fault.start_ms) / 1000.0 if within.any() else None)
    return found


def false_alarms(rows: Rows, step_ms: int) -> FalseAlarms:
    """Count alarms on rows labelled normal.

    Args:
        rows: of any nodes.
        step_ms: nominal time between two rows of a node.
    """
    false = rows.flagged & (rows.label == 0)
    normal = int(np.sum(rows.label == 0))
    episodes = 0
    for node in np.unique(rows.nodes).tolist():
        # All rows stay in place, so that normal rows before and after a fault are as far apart as they were.
        episodes += len(episode_peaks(false[rows.nodes == node].astype(np.float64), 0.5, QUIET_STEPS))
    return FalseAlarms(episodes, int(np.sum(false)), normal, normal * step_ms / MS_PER_DAY)


def alarm_rate(episodes: int, node_days: float, asked: float | None) -> dict[str, Any]:
    """Return false alarms as entries of a result: how many, in how many node-days, and against what was asked.

    Args:
        episodes: false alarms.
        node_days: event time, summed over nodes, > 0.
        asked: false alarms a node-day that the threshold was fitted for; ``None`` where that is not known.
    """
    rate = episodes / node_days
    found: dict[str, Any] = {"false_alarms": episodes, "node_days": node_days, "false_alarms_per_node_day": rate}
    return found if asked is None else {**found, "times_asked": rate / asked}


def rate_text(found: Mapping[str, Any]) -> str:
    """Say how many false alarms there were in how long, which rates that leaves possible, and what was asked for.

    Args:
        found: entries of ``alarm_rate``, with ``interval_95`` and ``asked_false_alarms_per_node_day``.
    """
    count, asked = found["false_alarms"], found["asked_false_alarms_per_node_day"]
    rate, low, high = (_short(each) for each in (found["false_alarms_per_node_day"], *found["interval_95"]))
    return (
        f"{count} false alarm{'' if count == 1 else 's'} in {found['node_days']:.3g} node-days: {rate} a node-day "
        f"({low} to {high} at 95 %), {asked:g} asked for"
    )


def _short(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 10.0 else f"{rate:.2g}"
