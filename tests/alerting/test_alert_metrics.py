"""What the alert service tells Prometheus of its alerts, and Redis of their history."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from alert_samples import flagged
from prometheus_client import CollectorRegistry
from redis import Redis

from benchmarks.alert_stage import AlertReader, AlertStage
from benchmarks.waiting import wait_until
from schemas.controls import Feedback
from schemas.outputs import Alert, alert_fingerprint, alert_id
from streams.alerting.metrics import AlertMetrics
from vigil.demo.stage import WorkerProcess

Send = Callable[..., None]
Start = Callable[..., WorkerProcess]
FINGERPRINT = alert_fingerprint("cluster:etcd-a", 1_000)


def alert(change: int, **changed: Any) -> Alert:
    made = Alert(
        id=alert_id(FINGERPRINT, change),
        fingerprint=FINGERPRINT,
        status="firing",
        severity="warning",
        detectors=("consensus",),
        node_id="n0",
        cluster="etcd-a",
        started_ms=1_000,
        updated_ms=4_000,
        peak_score=2.0,
        summary="s",
        contributions=(),
        anomaly_count=3,
        runbook="r",
        kind="slow",
    )
    return msgspec.structs.replace(made, **changed)


def test_an_alert_is_opened_once_and_its_delay_and_life_are_event_time() -> None:
    registry = CollectorRegistry()
    metrics = AlertMetrics(registry)
    value = registry.get_sample_value
    assert value("vigil_alerts_opened_total", {"kind": "slow"}) == 0, "a counter that begins at 1 has no increase"
    metrics.published([alert(0), alert(1, severity="critical"), alert(2, status="resolved", ended_ms=61_000)])
    assert value("vigil_alerts_opened_total", {"kind": "slow"}) == 1
    assert (value("vigil_alerts_open_delay_seconds_sum"), value("vigil_alerts_open_delay_seconds_count")) == (3.0, 1)
    assert (value("vigil_alerts_duration_seconds_sum"), value("vigil_alerts_duration_seconds_count")) == (60.0, 1)
    metrics.published([alert(0, kind="of another build")])
    assert value("vigil_alerts_opened_total", {"kind": "unusual"}) == 1


def test_feedback_is_counted_as_it_stands() -> None:
    registry = CollectorRegistry()
    metrics = AlertMetrics(registry)
    said = Feedback(fingerprint=FINGERPRINT, node_id="n0", verdict="noise", by="kim", comment="", at_ms=1)
    metrics.told([said, msgspec.structs.replace(said, verdict="real")])
    metrics.told([said])
    found = {
        verdict: registry.get_sample_value("vigil_alerts_feedback", {"verdict": verdict})
        for verdict in ("noise", "real")
    }
    assert found == {"noise": 1, "real": 0}


@pytest.mark.timeout(600)
def test_the_newest_alerts_of_a_cluster_are_in_redis_each_once_from_its_beginning_to_its_end(
    start: Start, send: Send, stage: AlertStage, reader: AlertReader
) -> None:
    start()
    send(*(flagged("n0", second) for second in range(8)), flagged("elsewhere", 120, cluster="other", severity="info"))
    send(*(flagged("n0", second) for second in range(300, 308)))
    wait_until(lambda: len(reader.told) >= 3, "two alerts, one of them over")
    key = f"{stage.settings['redis.key_prefix']}alerts:history:cluster:etcd-a"
    with Redis.from_url(str(stage.redis_url), decode_responses=True) as client:

        def statuses() -> list[str]:
            return [fields["status"] for _, fields in client.xrange(key)]

        wait_until(lambda: statuses() == ["resolved", "firing"], "both of them in Redis")
        kept = client.xrange(key)
    newest = {one.fingerprint: one for one in reader.changes()}
    assert len(newest) == 2
    for (name, fields), told in zip(kept, newest.values(), strict=True):
        assert name == f"{told.updated_ms}-0"
        assert fields["fingerprint"] == told.fingerprint
        assert (fields["status"], fields["started_ms"]) == (told.status, str(told.started_ms))
        assert fields["ended_ms"] == str(told.ended_ms or told.updated_ms)
        assert fields["summary"] == told.summary
