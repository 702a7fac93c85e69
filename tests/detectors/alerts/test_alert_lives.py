"""The life of an alert: what opens it, what closes it, what comes back."""

from collections.abc import Iterable

import pytest
from alert_samples import MISSING, START_MS, flagged, silent

from detectors.alerts import AlertPlane, Policy
from schemas.outputs import Alert, Anomaly, Contribution, alert_id


def told(anomalies: Iterable[Anomaly], plane: AlertPlane | None = None, until: float = 600.0) -> list[Alert]:
    plane = plane or AlertPlane()
    for anomaly in anomalies:
        plane.observe(anomaly)
    return plane.advance(START_MS + round(until * 1000))


def seconds(change: Alert) -> float:
    return (change.updated_ms - START_MS) / 1000


def fault(
    node: str, first: int, last: int, *, kind: str | None = None, cluster: str | None = "etcd-a", ratio: float = 4.0
) -> list[Anomaly]:
    return [flagged(node, second, kind=kind, cluster=cluster, ratio=ratio) for second in range(first, last)]


def test_a_fault_fires_at_its_second_step_and_is_resolved_after_the_hold_time() -> None:
    fired, resolved = told(fault("n1", 10, 30))
    assert (fired.status, resolved.status) == ("firing", "resolved")
    assert (seconds(fired), seconds(resolved)) == (11.0, 44.0)
    assert fired.fingerprint == resolved.fingerprint
    assert [fired.id, resolved.id] == [alert_id(fired.fingerprint, 0), alert_id(fired.fingerprint, 1)]
    assert (fired.started_ms, resolved.ended_ms) == (START_MS + 10_000, START_MS + 29_000)
    assert (fired.anomaly_count, resolved.anomaly_count) == (2, 20)


def test_one_flagged_second_on_all_members_pages_nobody() -> None:
    assert told(flagged(f"n{member}", 10 + member / 10) for member in range(9)) == []


def test_two_flagged_seconds_far_apart_page_nobody() -> None:
    assert told([flagged("n1", 10), flagged("n1", 16)]) == []


def test_info_opens_nothing_but_keeps_open() -> None:
    mild = [flagged("n1", second, severity="info") for second in range(10, 40)]
    assert told(mild) == []
    fired, resolved = told([*fault("n1", 5, 10), *mild])
    assert (seconds(fired), seconds(resolved)) == (6.0, 54.0)


def test_severity_rises_when_a_second_step_confirms_it() -> None:
    steps = [
        flagged("n1", second, severity="critical" if second in {15, 20, 21} else "warning") for second in range(30)
    ]
    changes = told(steps)
    assert [(change.severity, seconds(change)) for change in changes if change.status == "firing"] == [
        ("warning", 1.0),
        ("critical", 20.0),
    ]


def test_members_of_a_cluster_share_an_alert_and_clusters_do_not() -> None:
    changes = told([*fault("a0", 0, 9), *fault("a1", 0, 9), *fault("b0", 0, 9, cluster="etcd-b")])
    assert {change.cluster for change in changes} == {"etcd-a", "etcd-b"}
    assert len({change.fingerprint for change in changes}) == 2


def test_nodes_without_a_cluster_have_alerts_of_their_own() -> None:
    changes = told([*fault("n0", 0, 9, cluster=None), *fault("n1", 0, 9, cluster=None)])
    assert len({change.fingerprint for change in changes}) == 2


def test_what_comes_back_soon_is_the_same_alert_and_says_so() -> None:
    first, resolved, again, over = told([*fault("n1", 0, 9), *fault("n1", 45, 55)])
    assert len({change.fingerprint for change in (first, resolved, again, over)}) == 1
    assert (again.status, seconds(again)) == ("firing", 46.0)
    assert "comes and goes, 2 times so far" in again.summary
    assert over.anomaly_count == 19
    assert seconds(over) - 54 == 30  # held twice as long


def test_what_comes_back_late_is_another_alert() -> None:
    assert len({change.fingerprint for change in told([*fault("n1", 0, 9), *fault("n1", 60, 70)])}) == 2


def test_another_fault_right_after_is_another_alert() -> None:
    overload = fault("n1", 40, 50, kind="queue_overflow")
    changes = told([silent("n2", 7), *(flagged("n1", second, why=MISSING) for second in range(9)), *overload])
    assert len({change.fingerprint for change in changes}) == 2


def test_a_silence_fires_at_once_and_explains_what_its_peers_miss() -> None:
    peers = [flagged(f"n{member}", second, why=MISSING, ratio=90.0) for second in range(2, 30) for member in (0, 1)]
    changes = told([*peers, silent("n2", 7)])
    assert changes[0].node_id in {"n0", "n1"}
    assert changes[-2].node_id == changes[-1].node_id == "n2"
    assert "reports nothing any more" in changes[-1].summary
    [alone, _] = told([silent("n2", 7, cluster=None)])
    assert seconds(alone) == 7.0


def test_an_election_storm_explains_the_latency_of_the_others() -> None:
    slow = fault("n0", 0, 9, ratio=50.0)
    storm = fault("n1", 0, 9, kind="leader_election_storm")
    assert {change.node_id for change in told([*slow, *storm])} == {"n1"}


def test_the_liar_is_who_counts_otherwise() -> None:
    def count(value: float) -> Contribution:
        return Contribution("proposals_committed", 0.5, value, 50.0, 70.0)

    honest = [
        flagged(f"n{member}", second, kind="byzantine_attack", ratio=9.0, why=count(33.0))
        for second in range(9)
        for member in (0, 1)
    ]
    liar = [flagged("n2", second, why=count(700.0)) for second in range(9)]
    assert told([*honest, *liar])[0].node_id == "n2"


def test_who_has_it_is_told_of_the_end_and_of_worse_only() -> None:
    plane = AlertPlane()
    [fired] = told([flagged("n1", second, severity="warning") for second in range(9)], plane, until=8)
    assert plane.acknowledge(fired.fingerprint)
    assert not plane.acknowledge(fired.fingerprint)
    assert not plane.acknowledge("0" * 32)
    [worse, resolved] = told([*fault("n2", 9, 30, kind="network_congestion")], plane)
    assert (worse.severity, worse.status, resolved.status) == ("critical", "firing", "resolved")


def test_minutes_take_longer_than_seconds() -> None:
    minutes = [flagged("n1", 60 * minute, detector="reliability", step_ms=60_000) for minute in range(5)]
    fired, resolved = told(minutes)
    assert (seconds(fired), seconds(resolved)) == (60.0, 240.0 + 180.0)


def test_an_anomaly_after_its_time_counts_as_of_now() -> None:
    plane = AlertPlane()
    assert plane.advance(START_MS + 100_000) == []
    [fired] = told(fault("n1", 40, 50), plane, until=101)
    assert (fired.started_ms, fired.updated_ms) == (START_MS + 40_000, START_MS + 100_000)


def test_the_same_again_changes_nothing() -> None:
    plane, anomalies = AlertPlane(), fault("n1", 0, 9)
    assert len(told(anomalies, plane, until=300)) == 2
    assert told(anomalies, plane, until=400) == []


def test_the_summary_says_where_what_how_much_and_how_long() -> None:
    fired, resolved = told(fault("etcd-a-n1", 0, 13, kind="network_congestion"))
    assert fired.summary == (
        "etcd-a-n1: network congestion, commit latency p99 88 ms, usually 7, for 1 s; peers unaffected"
    )
    assert resolved.summary == (
        "etcd-a-n1: network congestion, at worst commit latency p99 88 ms, usually 7, over after 12 s; peers unaffected"
    )
    assert fired.runbook == "docs/runbooks/network_congestion.md"


@pytest.mark.parametrize(
    "setting",
    [
        {"open_at": "bad"},
        {"confirm_ms": 0},
        {"hold_ms": 4_000},
        {"reopen_ms": 14_000},
        {"flapping_ms": 41_000},
        {"members": 0},
    ],
)
def test_a_policy_out_of_range_is_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        Policy(**setting)  # type: ignore[arg-type]
