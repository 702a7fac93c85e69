"""The consensus simulator: same seed same bytes, faults where the plan says, healthy telemetry that is hard enough."""

import json
from itertools import pairwise

import numpy as np
import pytest

from vigil.simulator import (
    FAULT_KINDS,
    WHOLE_CLUSTER,
    ConsensusFleet,
    Fault,
    FaultPlan,
    FaultPlanError,
    Simulation,
    simulate_consensus,
)

START = 1_760_000_000_000


def column(simulation: Simulation, name: str, node: int) -> np.ndarray:
    return simulation.columns[name][simulation.node == node]


def test_same_arguments_give_the_same_bytes_and_another_seed_others() -> None:
    fleet = ConsensusFleet(clusters=2, members=3)
    once, again, other = (
        list(simulate_consensus(fleet, 120, seed, START, faults=30.0).records()) for seed in (7, 7, 8)
    )
    assert once == again
    assert once != other


def test_a_fleet_can_be_simulated_in_parts() -> None:
    whole = simulate_consensus(ConsensusFleet(clusters=6), 100, 3, START)
    part = simulate_consensus(ConsensusFleet(clusters=2, first=3), 100, 3, START)
    first = 3 + 5 + 3
    assert part.nodes == whole.nodes[first : first + 7 + 3]
    for node in range(len(part.nodes)):
        np.testing.assert_array_equal(column(part, "latency_p99", node), column(whole, "latency_p99", first + node))


def test_the_stretches_of_a_long_run_have_the_same_clusters_and_other_courses() -> None:
    fleet = ConsensusFleet(clusters=4)
    first, second, again = (simulate_consensus(fleet, 600, 3, START, stretch=each) for each in (0, 1, 1))
    np.testing.assert_array_equal(second.matrix(), again.matrix())
    assert not np.array_equal(column(first, "latency_p50", 0), column(second, "latency_p50", 0))
    assert [node.node_id for node in first.nodes] == [node.node_id for node in second.nodes]
    usual = [
        np.array([np.median(column(run, "latency_p50", node)) for node in range(len(run.nodes))])
        for run in (first, second)
    ]
    assert np.abs(np.log(usual[0] / usual[1])).max() < 0.7  # drift and load; clusters differ by far more
    assert usual[0].max() / usual[0].min() > 5.0
    np.testing.assert_array_equal(column(first, "quorum_size", 0)[0], column(second, "quorum_size", 0)[0])


def test_a_cluster_does_not_depend_on_how_many_others_there_are() -> None:
    small = simulate_consensus(ConsensusFleet(clusters=1, members=3), 200, 3, START)
    large = simulate_consensus(ConsensusFleet(clusters=4, members=3), 200, 3, START)
    for node in range(3):
        np.testing.assert_array_equal(column(small, "latency_p99", node), column(large, "latency_p99", node))


def test_records_are_in_event_time_order_with_their_own_key_and_no_label() -> None:
    plan = FaultPlan((Fault(START + 60_000, START + 80_000, "queue_overflow", "sim-00", WHOLE_CLUSTER, 1.0),))
    simulation = simulate_consensus(ConsensusFleet(clusters=2, members=3), 120, 1, START, plan)
    records = list(simulation.records())
    assert len(records) == len(simulation) == 2 * 3 * 120
    assert all(a.ts_ms <= b.ts_ms for a, b in pairwise(records))
    for key, value, ts_ms in records:
        body = json.loads(value)
        assert body["node_id"] == key.decode()
        assert body["ts_ms"] == ts_ms
        assert not {"split", "label", "fault", "intensity"} & body.keys()


def test_every_member_keeps_its_step_within_a_twentieth() -> None:
    simulation = simulate_consensus(ConsensusFleet(clusters=1, members=3), 300, 1, START)
    steps = np.diff(simulation.ts_ms[simulation.node == 0])
    assert 950 <= steps.min() <= steps.max() <= 1_050


def test_values_stay_within_the_wire_contract_under_every_fault() -> None:
    fleet = ConsensusFleet(clusters=4)
    simulation = simulate_consensus(fleet, 3_600, 5, START, faults=60.0)
    assert {fault.kind for fault in simulation.faults} == set(FAULT_KINDS)
    p50, p95, p99 = (simulation.columns[f"latency_p{q}"] for q in (50, 95, 99))
    assert (p50 >= 0.0).all()
    assert (p50 <= p95).all()
    assert (p95 <= p99).all()
    assert np.isfinite(simulation.matrix()).all()
    for name in ("queue_depth", "proposals_pending", "proposals_committed", "leader_changes", "active_nodes"):
        values = simulation.columns[name]
        assert values.dtype == np.int64, name
        assert values.min() >= 0, name
    assert simulation.columns["quorum_size"].min() >= 1


def test_healthy_latency_bursts_like_the_recorded_cluster_does() -> None:
    simulation = simulate_consensus(ConsensusFleet(clusters=8, members=3), 7_200, 11, START)
    shares, peaks = [], []
    for node in range(0, 24, 3):
        p99 = column(simulation, "latency_p99", node)
        relative = p99 / np.median(p99)
        shares.append(np.mean(relative > 4.0))
        peaks.append(np.quantile(relative, 0.999))
    # A recorded etcd has 2-3 % of its rows above four medians and a 99.9th percentile of 11 to 26 medians.
    assert 0.015 < np.mean(shares) < 0.06
    assert 9.0 < np.median(peaks) < 30.0


def test_commits_follow_load_and_queues_follow_littles_law() -> None:
    simulation = simulate_consensus(ConsensusFleet(clusters=8, members=3), 7_200, 11, START)
    for cluster in range(8):
        queue = column(simulation, "queue_depth", 3 * cluster)
        commits = column(simulation, "proposals_committed", 3 * cluster)
        expected = commits / 3.0 * column(simulation, "latency_p50", 3 * cluster) / 1_000.0
        assert queue.mean() == pytest.approx(expected.mean(), rel=0.25)
        lagged = np.corrcoef(np.log1p(commits[30:]), np.log1p(commits[:-30]))[0, 1]
        assert lagged > 0.2


def test_members_of_a_cluster_agree_on_the_commit_count_until_one_lies() -> None:
    span = (START + 60_000, START + 120_000)
    plan = FaultPlan((Fault(*span, "byzantine_attack", "sim-00", "sim-00-n2", 0.9),))
    simulation = simulate_consensus(ConsensusFleet(clusters=1, members=3), 180, 4, START, plan)
    honest, liar = column(simulation, "proposals_committed", 1), column(simulation, "proposals_committed", 2)
    apart = np.abs(np.log((honest + 1.0) / (liar + 1.0)))
    assert apart[:60].max() < 0.2
    assert np.median(apart[70:110]) > 0.5


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_a_strong_fault_shows_from_its_first_seconds_and_ends(kind: str) -> None:
    span = (START + 120_000, START + 150_000)
    plan = FaultPlan((Fault(*span, kind, "sim-00", WHOLE_CLUSTER, 1.0),))
    fleet = ConsensusFleet(clusters=1, members=3)
    calm, struck = (simulate_consensus(fleet, 300, 2, START, faults) for faults in (0.0, plan))
    where = (struck.truth == 0) & (struck.node == 0)
    assert (where.sum(), calm.truth.max()) == (30, -1)
    before, during = _felt(struck, (0, 120)), _felt(struck, (125, 150))
    strongest = {
        "network_congestion": ("latency_p50", 3.0),
        "leader_election_storm": ("latency_p99", 3.0),
        "queue_overflow": ("proposals_committed", 2.0),
        "byzantine_attack": ("latency_p50", 1.3),
        "quorum_loss": ("latency_p99", 20.0),
        "member_down": ("latency_p50", 1.1),
    }[kind]
    assert during[strongest[0]] > strongest[1] * before[strongest[0]]
    assert _felt(struck, (200, 300))["latency_p50"] < 1.5 * before["latency_p50"]
    if kind in ("quorum_loss", "member_down"):
        assert during["active_nodes"] < 3.0


def _felt(simulation: Simulation, steps: tuple[int, int]) -> dict[str, float]:
    rows = (simulation.ts_ms >= START + 1_000 * steps[0]) & (simulation.ts_ms < START + 1_000 * steps[1])
    return {name: float(np.median(values[rows])) for name, values in simulation.columns.items()}


def test_a_weak_fault_hides_among_healthy_seconds() -> None:
    span = (START + 300_000, START + 330_000)
    plan = FaultPlan((Fault(*span, "leader_election_storm", "sim-00", WHOLE_CLUSTER, 0.1),))
    simulation = simulate_consensus(ConsensusFleet(clusters=1, members=3), 600, 2, START, plan)
    struck = simulation.truth == 0
    p99 = simulation.columns["latency_p99"]
    assert np.median(p99[struck]) < np.quantile(p99[~struck], 0.95)


def test_a_member_that_is_down_is_silent_and_only_then() -> None:
    span = (START + 60_000, START + 90_000)
    plan = FaultPlan((Fault(*span, "member_down", "sim-00", "sim-00-n1", 0.5),))
    simulation = simulate_consensus(ConsensusFleet(clusters=1, members=3), 180, 9, START, plan)
    counts = [int((simulation.node == node).sum()) for node in range(3)]
    assert counts == [180, 150, 180]
    silent = np.diff(simulation.ts_ms[simulation.node == 1])
    assert silent.max() == pytest.approx(31_000, abs=50)


def test_faults_at_a_rate_come_about_that_often_and_never_overlap_in_a_cluster() -> None:
    fleet = ConsensusFleet(clusters=10, members=3)
    plan = FaultPlan.at_rate(fleet.layout, (START, START + 10 * 3_600_000), 6.0, seed=1)
    assert 0.75 * 600 < len(plan) < 1.25 * 600
    for cluster in fleet.layout:
        faults = plan.of(cluster)
        assert all(a.end_ms + 45_000 <= b.start_ms for a, b in pairwise(faults))
    assert all(0.1 <= fault.intensity <= 1.0 for fault in plan)


def test_the_plan_of_the_demo_has_every_kind_once() -> None:
    plan = FaultPlan.every_kind(ConsensusFleet(clusters=4).layout, START)
    assert sorted(fault.kind for fault in plan) == sorted(FAULT_KINDS)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(START, START + 1, "flood", "sim-00", WHOLE_CLUSTER, 0.5), "kind 'flood' is unknown"),
        (Fault(START, START + 1, "quorum_loss", "sim-99", WHOLE_CLUSTER, 0.5), "cluster 'sim-99'"),
        (Fault(START, START + 1, "member_down", "sim-00", "sim-01-n0", 0.5), "no member of sim-00"),
        (Fault(START, START, "member_down", "sim-00", WHOLE_CLUSTER, 0.5), "not after its start"),
        (Fault(START, START + 1, "member_down", "sim-00", WHOLE_CLUSTER, 1.5), "outside"),
    ],
)
def test_a_fault_that_cannot_be_injected_is_refused_by_name(fault: Fault, says: str) -> None:
    with pytest.raises(FaultPlanError, match=says):
        simulate_consensus(ConsensusFleet(clusters=2, members=3), 10, 1, START, FaultPlan((fault,)))


@pytest.mark.parametrize("wrong", [{"clusters": 0}, {"members": ()}, {"step_ms": 0}])
def test_a_fleet_without_clusters_members_or_steps_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one cluster"):
        ConsensusFleet(**wrong)
