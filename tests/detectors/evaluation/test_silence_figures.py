"""Silences of a recording, beside the faults that caused them."""

import numpy as np
import pytest

from detectors.evaluation.events import Fault
from detectors.evaluation.silences import find_silences, silence_figures
from detectors.offline import Steps
from vigil.simulator import ConsensusFleet, FaultPlan, simulate_consensus
from vigil.simulator import Fault as Injected

START_MS = 1_790_000_000_000


def fleet(*silences: tuple[str, int, int]) -> tuple[Steps, list[str]]:
    """Two clusters of three members for 200 s; (member, first silent second, first second back)."""
    rows = [
        (START_MS + 1000 * second + place, node)
        for second in range(200)
        for place, node in enumerate(["a-0", "a-1", "a-2", "b-0", "b-1", "b-2"])
        if not any(node == who and begin <= second < end for who, begin, end in silences)
    ]
    keys = [node for _, node in rows]
    steps = Steps(keys, np.array([at for at, _ in rows]), np.zeros((len(rows), 2), np.float32), 1000)
    return steps, [key[0] for key in keys]


def fault(begin: int, end: int, kind: str, cluster: str) -> Fault:
    return Fault(START_MS + 1000 * begin, START_MS + 1000 * end, kind, cluster=cluster)


def test_a_silence_counts_for_the_fault_of_its_cluster_in_its_time_alone() -> None:
    steps, clusters = fleet(("a-1", 60, 80), ("b-2", 120, 130), ("a-0", 150, 153))
    faults = [
        fault(60, 80, "member_crash", "a"),
        fault(60, 80, "member_crash", "b"),
        fault(150, 153, "member_crash", "a"),
    ]
    figures = silence_figures(steps, faults, clusters, complete=True)
    assert (figures["told"], figures["faults_seen"], figures["false"]) == (2, 1, 1)
    assert figures["by_kind"] == {"member_crash": {"faults": 3, "seen": 1}}
    assert figures["median_delay_s"] == pytest.approx(6.0, abs=0.01)


def test_nothing_is_called_false_where_faults_may_be_missing() -> None:
    steps, clusters = fleet(("b-2", 120, 130))
    assert silence_figures(steps, [], clusters, complete=False)["false"] is None
    assert silence_figures(steps, [], clusters, complete=True)["false"] == 1


def test_every_member_that_the_simulator_kills_is_told_and_no_other() -> None:
    fleet = ConsensusFleet(clusters=3, members=(3, 5))
    layout, faults = fleet.layout, []
    for place, (cluster, members) in enumerate(layout.items()):
        for turn in range(2):
            begin = START_MS + 1000 * (60 + 120 * turn + 10 * place)
            faults.append(Injected(begin, begin + 20_000, "member_down", cluster, members[turn], 0.5))
    simulation = simulate_consensus(fleet, 300, 5, START_MS, FaultPlan(tuple(faults)))
    steps = Steps(simulation.node_ids(), simulation.ts_ms, simulation.matrix(), 1000)
    detector, silences = find_silences(steps)
    assert {(each.key, each.last_ms // 1000) for each in silences} == {
        (each.target, each.start_ms // 1000 - 1) for each in faults
    }
    assert detector.threshold == 6.0
