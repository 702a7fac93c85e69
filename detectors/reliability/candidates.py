"""Features that could stand beside the plan's: made as a worker would make them, for ``trials`` to measure."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.examples import NodeRows, windows_of
from detectors.reliability.features import FeaturePlan
from detectors.reliability.fleetwide import FleetSums, TierLevels
from detectors.reliability.labels import Labels
from detectors.reliability.since import SinceEvent

Array = NDArray[np.float32]

CANDIDATES: Final = ("fleet", "tier", "tier levels", "counts since the last event")
"""Deviations less the mean of the fleet's, and of the tier's, in the minute before (``fleetwide``); deviations from
what is usual in the tier; ``since``."""
TIER: Final = "network_tier"
COUNTING: Final = ("sla_violations", "connection_failures", "health_check_failures")


def candidates(
    rows: NodeRows, labels: Labels, fold: NDArray[np.int64], plan: FeaturePlan, window: int
) -> dict[str, Array]:
    """Make every candidate for the rows that complete a window.

    Args:
        rows: in time order.
        labels: theirs.
        fold: int64 (n,), of each row: what is usual in a tier is learnt without it.
        plan: whose deviations.
        window: steps in a window.

    Returns:
        By name of ``CANDIDATES``, float32 (m, width), in the order of ``make_examples``.
    """
    tier_of = rows.fields.index(TIER)
    sums = FleetSums(len(rows.fields))
    since = SinceEvent(tuple(rows.fields.index(name) for name in COUNTING))
    nodes = np.unique(np.asarray(rows.node_ids), return_inverse=True)[1]
    state = since.start(int(nodes.max(initial=0)) + 1)
    levels = {
        int(one): TierLevels.fit(rows.values[quiet], rows.values[quiet, tier_of].astype(np.int64), plan.floor)
        for one in np.unique(fold)
        if (quiet := (fold != one) & ~labels.positive).any()
    }
    found: dict[str, list[Array]] = {name: [] for name in CANDIDATES}
    for places, windows, before in windows_of(rows, plan, window):
        newest = windows.last()
        tier = newest[:, tier_of].astype(np.int64)
        usual, scale = plan.baseline.split(before)
        off = (newest - usual) / (scale + plan.floor) * plan.signs
        fleet = sums.advance(np.zeros(len(places), np.int64), tier, rows.ts_ms[places] // rows.step_ms, off)
        found["fleet"].append(fleet[:, : sums.width // 2])
        found["tier"].append(fleet[:, sums.width // 2 :])
        of_tier = np.empty_like(newest)
        for one, level in levels.items():
            mine = fold[places] == one
            of_tier[mine] = level.against(newest[mine], tier[mine])
        found["tier levels"].append(of_tier)
        found["counts since the last event"].append(since.advance(off, newest, state, nodes[places]))
    return {name: np.concatenate(parts) for name, parts in found.items()}
