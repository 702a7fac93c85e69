"""The demo's judgement is strict: figures that a lazy or a noisy detector could not reach."""

import pytest

from schemas.outputs import Anomaly, Source, anomaly_id
from vigil.demo.results import Measured, episodes, find_fault, judge
from vigil.demo.scenario import Play, make_scenario
from vigil.malformed import KINDS
from vigil.simulator import Fault

NOW_MS = 1_760_000_000_000
SCENARIO = make_scenario(54, 16.0, 7, NOW_MS)
CONSENSUS = SCENARIO.plays["consensus"]
FAULT = CONSENSUS.simulation.faults[0]
MEASURED = Measured(SCENARIO.records, 1000.0, 12, 20.0)


def anomaly(node: str, ts_ms: int) -> Anomaly:
    return Anomaly(
        id=anomaly_id("test", node, ts_ms),
        ts_ms=ts_ms,
        node_id=node,
        detector="test",
        model_version="test-1",
        score=2.0,
        threshold=1.0,
        severity="info",
        window_start_ms=ts_ms - 29_000,
        window_end_ms=ts_ms,
        contributions=(),
        source=Source("t", 0, 0),
    )


def member(fault: Fault, play: Play = CONSENSUS) -> str:
    return min(play.members[fault.cluster])


def test_every_kind_is_injected_twice_into_a_cluster_of_its_own() -> None:
    faults = CONSENSUS.simulation.faults
    assert len(faults) == 12
    assert len({fault.cluster for fault in faults}) == 12
    assert sorted(fault.kind for fault in faults[:6]) == sorted(fault.kind for fault in faults[6:])
    assert all(fault.intensity == 1.0 for fault in faults)
    assert all(fault.end_ms <= NOW_MS - 45_000 for fault in faults)


def test_a_small_fleet_gets_every_kind_once() -> None:
    play = make_scenario(18, 16.0, 7, NOW_MS).plays["consensus"]
    assert len({fault.kind for fault in play.simulation.faults}) == len(play.simulation.faults) == 6


def test_history_comes_first_and_live_records_in_order_of_event_time() -> None:
    sent = list(SCENARIO.sent())
    assert len(sent) == SCENARIO.records
    assert [one.due for one in sent] == sorted(one.due for one in sent)
    history = [one for one in sent if one.due < 0]
    assert {one.stream for one in history} == {"consensus", "node"}
    assert len(history) > 0.3 * len(sent)
    assert all(one.ts_ms < FAULT.start_ms for one in history if one.stream == "consensus")


def test_broken_records_are_extra_and_each_of_another_kind() -> None:
    sent = list(SCENARIO.sent())
    broken = [one for one in sent if one.code is not None]
    assert len(broken) == SCENARIO.broken == min(12, len(KINDS))
    assert len(sent) - len(broken) == sum(len(play.simulation) for play in SCENARIO.plays.values())


def test_a_fault_is_seen_from_its_start_until_one_step_after_its_end() -> None:
    node = member(FAULT)
    assert find_fault(CONSENSUS, FAULT, [anomaly(node, FAULT.start_ms - 1)]).delay_s is None
    assert find_fault(CONSENSUS, FAULT, [anomaly(node, FAULT.end_ms + 1000)]).delay_s is None
    assert find_fault(CONSENSUS, FAULT, [anomaly("elsewhere-n0", FAULT.start_ms)]).delay_s is None
    late, early = anomaly(node, FAULT.start_ms + 1500), anomaly(node, FAULT.start_ms + 700)
    found = find_fault(CONSENSUS, FAULT, [late, early])
    assert (found.delay_s, found.node_id) == (0.7, node)


def test_a_node_incident_may_be_foreseen_by_half_an_hour_on_its_own_node_alone() -> None:
    play = SCENARIO.plays["node"]
    incident = play.simulation.faults[0]
    warned = anomaly(incident.target, incident.start_ms - 29 * 60_000)
    assert find_fault(play, incident, [warned]).delay_s == -29 * 60
    neighbour = next(node for node in play.members[incident.cluster] if node != incident.target)
    assert find_fault(play, incident, [anomaly(neighbour, incident.start_ms)]).delay_s is None


def test_anomalies_close_together_are_one_episode_of_a_node() -> None:
    found = [anomaly("a", 0), anomaly("a", 10_000), anomaly("a", 20_001), anomaly("b", 5_000)]
    assert episodes(found, 10_000) == [("a", 0, 10_000), ("a", 20_001, 20_001), ("b", 5_000, 5_000)]


def test_a_run_of_false_alarms_does_not_hide_behind_the_fault_it_reaches_into() -> None:
    node = member(FAULT)
    run = [anomaly(node, ts_ms) for ts_ms in range(FAULT.start_ms - 60_000, FAULT.end_ms, 1000)]
    report = judge(SCENARIO, {"consensus": run}, MEASURED)
    consensus = report.streams["consensus"]
    assert (consensus.false_alarms, consensus.anomalies_outside) == (1, 60)
    assert consensus.false_alarms_per_node_hour == pytest.approx(1 / CONSENSUS.node_hours, rel=1e-3)
    assert report.false_alarms_per_node_hour == consensus.false_alarms_per_node_hour


def test_the_recovery_of_30_steps_is_no_false_alarm_and_the_time_after_it_is() -> None:
    node = member(FAULT)
    assert (
        judge(SCENARIO, {"consensus": [anomaly(node, FAULT.end_ms + 30_000)]}, MEASURED)
        .streams["consensus"]
        .false_alarms
        == 0
    )
    assert (
        judge(SCENARIO, {"consensus": [anomaly(node, FAULT.end_ms + 30_001)]}, MEASURED)
        .streams["consensus"]
        .false_alarms
        == 1
    )


def test_silence_sees_nothing_and_says_so() -> None:
    report = judge(SCENARIO, {}, MEASURED)
    assert (report.faults_injected, report.faults_seen, report.median_delay_s) == (14, 0, None)
    assert report.false_alarms_per_node_hour == 0.0


def test_all_faults_seen_give_the_median_delay() -> None:
    delays = range(1000, 13_000, 1000)
    found = [anomaly(member(f), f.start_ms + d) for f, d in zip(CONSENSUS.simulation.faults, delays, strict=True)]
    report = judge(SCENARIO, {"consensus": found}, MEASURED)
    assert report.streams["consensus"].faults_seen == 12
    assert report.median_delay_s == 6.5
