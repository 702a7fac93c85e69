"""Anomalies to make alerts of."""

from schemas.outputs import Anomaly, Contribution, Severity, Source, anomaly_id

START_MS = 1_800_000_000_000
LATENCY = Contribution("latency_p99", 0.9, 88.0, 6.0, 8.0)
MISSING = Contribution("active_nodes", 0.9, 2.0, 3.0, 3.0)


def flagged(
    node: str,
    second: float,
    *,
    cluster: str | None = "etcd-a",
    severity: Severity = "critical",
    kind: str | None = None,
    ratio: float = 4.0,
    why: Contribution = LATENCY,
    detector: str = "consensus",
    step_ms: int = 1_000,
) -> Anomaly:
    """One flagged window of ``node`` that ends ``second`` seconds after the start of the test."""
    at = START_MS + round(second * 1000)
    return Anomaly(
        id=anomaly_id(detector, node, at),
        ts_ms=at,
        node_id=node,
        cluster=cluster,
        region="lab",
        detector=detector,
        model_version=f"{detector}-1",
        score=ratio * 3.0,
        threshold=3.0,
        severity=severity,
        window_start_ms=at - 29 * step_ms,
        window_end_ms=at,
        contributions=(why,),
        source=Source("dwcp.metrics.consensus", 0, round(second * 1000)),
        kind=kind,
    )


def silent(node: str, second: float, *, cluster: str | None = "etcd-a") -> Anomaly:
    """One silence of ``node``, told ``second`` seconds after the start of the test."""
    return flagged(node, second, cluster=cluster, kind="member_down", ratio=7 / 6, detector="silence", step_ms=241)
