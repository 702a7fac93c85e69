"""Rotations leave a recording's own test part alone, and figures of several cases are put together by their counts."""

import numpy as np
import pytest

from benchmarks.reliability_rotations import pooled, rotations
from detectors.reliability.examples import NodeRows
from detectors.reliability.split import split_by_time_and_node
from schemas.streams import NODE
from vigil.simulator import NodeFleet, simulate_nodes


def test_rotations_never_touch_the_test_part_nor_nodes_that_training_may_not_see() -> None:
    fleet = simulate_nodes(NodeFleet(8), 2 * 1_440, 5, 1_760_054_400_000)
    rows = NodeRows(NODE.features, fleet.node_ids(), fleet.ts_ms, fleet.matrix()).in_time_order()
    own = split_by_time_and_node(list(rows.node_ids), rows.ts_ms)
    unseen: set[str] = set()
    for case in rotations(rows, fleet.incidents, 4):
        assert case.rows.ts_ms.max() < own.validation_until_ms
        assert not own.held_out & set(case.rows.node_ids)
        unseen |= set(np.asarray(case.rows.node_ids)[case.parts.unseen].tolist())
    assert unseen == set(rows.node_ids) - own.held_out


def entry(caught: int, episodes: float, rows: int, lead: float) -> dict[str, object]:
    return {
        "rows": rows,
        "base_rate": 0.5,
        "incidents": 10,
        "incidents_caught": caught,
        "false_episodes_per_node_day": episodes,
        "false_positive_rate": episodes / 100.0,
        "kinds_with_warning": ["overload"],
        "leads": {"overload": [lead], "sudden_crash": [-60.0]},
        "average_precision": caught / 10.0,
        "average_precision_unseen": caught / 10.0,
        "expected_calibration_error": 0.0,
    }


def test_counts_are_summed_and_precisions_averaged() -> None:
    found = pooled([entry(10, 1.0, 1_440, 3.0), entry(8, 0.0, 3 * 1_440, 9.0)])
    assert (found["cases"], found["incidents"], found["incidents_caught"]) == (2, 20, 18)
    share, low, high = found["caught_share"]
    assert share == pytest.approx(0.9)
    assert low < share < high
    rate, fewest, most = found["false_episodes_per_node_day"]
    assert rate == pytest.approx(0.25)
    assert fewest < rate < most
    assert found["false_positive_rate"] == pytest.approx(0.0025)
    assert found["median_lead_minutes"] == 6.0
    assert found["average_precision"] == [pytest.approx(0.9), 0.8, 1.0]
