"""The node simulator: coherent nodes, incidents that warn or do not, reports that come late."""

import json

import numpy as np
import pytest

from vigil.simulator import INCIDENT_KINDS, Fault, FaultPlanError, NodeFleet, Simulation, simulate_nodes

START = 1_760_054_400_000  # midnight UTC
MINUTE = 60_000
DAY = 1_440


def one_incident(kind: str, *, lookalikes: float = 0.0, intensity: float = 1.0) -> Simulation:
    truth = (Fault(START + 600 * MINUTE, START + 660 * MINUTE, kind, "fleet-0", "fleet-n00", intensity),)
    return simulate_nodes(NodeFleet(2, lookalikes=lookalikes), DAY, 3, START, truth)


def minutes(simulation: Simulation, name: str, first: int, last: int, node: int = 0) -> np.ndarray:
    rows = simulation.node == node
    rows &= (simulation.ts_ms >= START + first * MINUTE) & (simulation.ts_ms < START + last * MINUTE)
    return simulation.columns[name][rows]


def test_same_arguments_give_the_same_bytes() -> None:
    once, again = (list(simulate_nodes(NodeFleet(3), 300, 7, START).records()) for _ in range(2))
    assert once == again


def test_rows_come_once_a_minute_in_order_without_labels() -> None:
    simulation = simulate_nodes(NodeFleet(3), 500, 7, START)
    assert (np.diff(simulation.ts_ms) >= 0).all()
    gaps = np.round(np.diff(simulation.ts_ms[simulation.node == 1]) / MINUTE)
    assert set(gaps) <= {1.0, 2.0, 3.0}
    body = json.loads(next(iter(simulation.records())).value)
    assert set(body) == {"v", "ts_ms", "node_id", "cluster", "region", "az", *simulation.columns, *simulation.codes}


def test_values_stay_within_the_wire_contract() -> None:
    simulation = simulate_nodes(NodeFleet(8), 5 * DAY, 2, START, 3.0)
    for name in ("error_rate", "timeout_rate", "packet_loss_rate", "retransmit_rate"):
        assert 0.0 <= simulation.columns[name].min() <= simulation.columns[name].max() <= 1.0, name
    for name in ("cpu_usage", "memory_usage", "availability_score"):
        assert 0.0 <= simulation.columns[name].min() <= simulation.columns[name].max() <= 100.0, name
    assert (simulation.columns["latency_p50"] <= simulation.columns["latency_p95"]).all()
    assert (simulation.columns["latency_p95"] <= simulation.columns["latency_p99"]).all()
    assert np.isfinite(simulation.matrix()).all()
    assert simulation.matrix().shape[1] == 17


def test_load_has_a_daily_cycle_and_minutes_resemble_their_neighbours() -> None:
    simulation = simulate_nodes(NodeFleet(8, lookalikes=0.0), 4 * DAY, 2, START, 0.0)
    cycles = []
    for node in range(8):
        cpu = simulation.columns["cpu_usage"][simulation.node == node]
        assert np.corrcoef(cpu[1:], cpu[:-1])[0, 1] > 0.8
        # 0.2 % of the rows are missing: a day is about this many rows.
        cycles.append(np.corrcoef(cpu[:-1_437], cpu[1_437:])[0, 1])
    assert np.mean(cycles) > 0.2


@pytest.mark.parametrize(
    ("kind", "field", "factor"),
    [
        ("network_degradation", "packet_loss_rate", 4.0),
        ("disk_degradation", "latency_p99", 2.0),
        ("overload", "cpu_usage", 1.3),
        ("memory_leak", "memory_usage", 1.4),
        ("sudden_crash", "connection_failures", 20.0),
    ],
)
def test_an_incident_shows_in_what_it_is_about(kind: str, field: str, factor: float) -> None:
    simulation = one_incident(kind)
    during, before = minutes(simulation, field, 615, 655), minutes(simulation, field, 0, 360)
    assert during.mean() > factor * before.mean()


def test_a_memory_leak_warns_and_a_crash_does_not() -> None:
    leak, crash = one_incident("memory_leak"), one_incident("sudden_crash")
    calm = simulate_nodes(NodeFleet(2, lookalikes=0.0), DAY, 3, START, ())
    warned = minutes(leak, "memory_usage", 590, 600) - minutes(calm, "memory_usage", 590, 600)
    assert warned.min() > 3.0
    for name in ("latency_p50", "memory_usage"):  # what is reported without sampling noise
        np.testing.assert_array_equal(minutes(crash, name, 0, 600), minutes(calm, name, 0, 600), err_msg=name)


def test_reports_come_late_and_an_incident_at_the_end_is_open() -> None:
    truth = tuple(
        Fault(START + at * MINUTE, START + (at + 40) * MINUTE, "overload", "fleet-0", "fleet-n00", 0.9)
        for at in (100, 500, 900, 1_410)
    )
    simulation = simulate_nodes(NodeFleet(1), DAY, 3, START, truth)
    late = [report.start_ms - fault.start_ms for report, fault in zip(simulation.incidents, truth, strict=True)]
    assert all(0 <= each <= 6 * MINUTE for each in late)
    assert len(set(late)) == 4
    assert [report.end_ms is None for report in simulation.incidents] == [False, False, False, True]


def test_incidents_come_at_the_rate_asked_in_every_kind() -> None:
    simulation = simulate_nodes(NodeFleet(24), 10 * DAY, 1, START, 0.9)
    assert 0.8 * 216 < len(simulation.faults) < 1.2 * 216
    assert {fault.kind for fault in simulation.faults} == set(INCIDENT_KINDS)


def test_look_alikes_are_there_when_asked_and_belong_to_no_incident() -> None:
    with_them = simulate_nodes(NodeFleet(8, lookalikes=1.0), 3 * DAY, 1, START, 0.0)
    without = simulate_nodes(NodeFleet(8, lookalikes=0.0), 3 * DAY, 1, START, 0.0)
    assert with_them.faults == with_them.incidents == ()
    for name in ("disk_io", "error_rate"):
        worst, usual = (np.sort(run.columns[name])[-20:].mean() for run in (with_them, without))
        assert worst > 1.5 * usual, name


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(START, START + 1, "flood", "fleet-0", "fleet-n00", 0.5), "'flood' is unknown"),
        (Fault(START, START + 1, "overload", "fleet-0", "fleet-n09", 0.5), "no node of cluster"),
        (Fault(START, START, "overload", "fleet-0", "fleet-n00", 0.5), "end after its start"),
    ],
)
def test_an_incident_that_cannot_be_is_refused(fault: Fault, says: str) -> None:
    with pytest.raises(FaultPlanError, match=says):
        simulate_nodes(NodeFleet(2), 100, 1, START, (fault,))
