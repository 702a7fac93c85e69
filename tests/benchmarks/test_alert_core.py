"""The bars of the alert core, on recorded clusters and small simulations; `python -m benchmarks.alert_core` has all."""

from pathlib import Path

import pytest

from benchmarks.alert_core import recorded
from benchmarks.alert_trials import START_MS, flapping, origins, storm
from detectors.alerts import AlertPlane, Policy
from detectors.evaluation.alerts import alerts_of

DATA = Path(__file__).parents[3] / "shared" / "data"
STRONG, WEAK = DATA / "consensus_etcd_a.jsonl.gz", DATA / "consensus_etcd_d.jsonl.gz"
NEEDS_RECORDINGS = pytest.mark.skipif(not STRONG.is_file(), reason=f"the recordings are not there ({DATA})")


@pytest.mark.shared
@NEEDS_RECORDINGS
def test_each_strong_fault_of_a_real_cluster_is_one_alert() -> None:
    figures, changes = recorded(STRONG)
    assert figures["alerts_opened"] <= 16
    assert figures["faults_covered"] == figures["faults"] == 13
    assert figures["alerts_unrelated"] <= 1
    assert figures["median_fire_delay_s"] <= 5
    assert figures["median_resolve_delay_s"] <= 45
    assert all("nan" not in change.summary and len(change.summary) < 200 for change in changes)


@pytest.mark.shared
@NEEDS_RECORDINGS
def test_weak_faults_of_a_real_cluster_make_no_crowd_of_alerts() -> None:
    figures, _ = recorded(WEAK)
    assert figures["faults_covered"] >= 8
    assert figures["alerts_a_fault"] <= 1.2
    assert figures["unrelated_an_hour"] <= 2


def test_faults_that_flap_are_one_alert_each() -> None:
    figures = flapping(6, 42_003, minutes=3)
    assert figures["one_alert"] >= 5


def test_the_member_that_a_fault_strikes_is_named_among_fifty() -> None:
    figures = origins(3, 42_004)
    assert figures["alerted"] == figures["one_alert"] == 3
    assert figures["origin_right"] >= 2


@pytest.mark.parametrize("clusters", [1, 50])
def test_a_storm_is_one_alert_a_cluster(clusters: int) -> None:
    log = storm(10_000, clusters)
    changes = alerts_of(log, AlertPlane(), every=500)
    assert len({change.fingerprint for change in changes}) == clusters
    plane = AlertPlane()
    for anomaly in log:
        plane.observe(anomaly)
    plane.advance(START_MS + 2_000)
    policy = Policy()
    assert all(len(scope.newest) <= 2 * policy.members for scope in plane.scopes())
