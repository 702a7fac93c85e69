"""What vigil publishes: anomalies, alerts, forecasts, decisions, and their deterministic ids."""

from hashlib import blake2b
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from schemas.quantities import (
    Amount,
    Count,
    Identifier,
    Milliseconds,
    Name,
    PositiveCount,
    Rate,
    TimeMs,
    Version,
    coded,
)

Severity: TypeAlias = Annotated[Literal["info", "warning", "critical"], coded(info=0, warning=1, critical=2)]
"""How bad, least first; the same words as Alertmanager's ``severity`` label."""

_ID_BYTES = 16
Id: TypeAlias = Annotated[
    str, Meta(pattern="^[0-9a-f]{32}$", description="deterministic id, 32 hexadecimal digits", examples=["0f" * 16])
]
LinkOrNode: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=511, description="node id, or a link's key `node_id>peer_id`")
]


class Source(Struct, frozen=True, gc=False):
    """The record that a message was made from.

    Attributes:
        topic: Kafka topic.
        partition: partition of it.
        offset: offset in the partition.
    """

    topic: Annotated[str, Meta(description="Kafka topic", examples=["dwcp.metrics.consensus"])]
    partition: Annotated[int, Meta(ge=0, description="partition")]
    offset: Annotated[int, Meta(ge=0, description="offset in the partition")]


class Contribution(Struct, frozen=True, gc=False):
    """One feature's part in a score, and what was expected of it.

    Attributes:
        feature: name of the field.
        share: share of the score, 0 to 1; the shares of one anomaly sum to at most 1.
        value: what was measured, in the field's unit; ``None`` when there is no single value.
        expected_low, expected_high: the range that was expected, in the field's unit.
        usual: where the field usually is on this node, in its unit; ``None`` when the detector does not say.
        direction: "up" or "down", the side of ``usual`` that the value is on; ``None`` when neither or not said.
    """

    feature: Annotated[Name, Meta(description="name of the field", examples=["latency_p99"])]
    share: Annotated[Rate, Meta(description="share of the score, 0 to 1", examples=[0.61])]
    value: Annotated[float, Meta(description="measured, in the field's unit", examples=[88.0])] | None = None
    expected_low: Annotated[float, Meta(description="lower end of what was expected", examples=[6.0])] | None = None
    expected_high: Annotated[float, Meta(description="upper end of what was expected", examples=[9.0])] | None = None
    usual: Annotated[float, Meta(description="where the field usually is on this node", examples=[7.2])] | None = None
    direction: Annotated[Literal["up", "down"], coded(up=0, down=1)] | None = None


class Anomaly(Struct, frozen=True, kw_only=True):
    """One window that a detector flags; topic ``dwcp.anomalies``, key ``node_id`` (or the link's key).

    Attributes:
        v: schema version, now 1.
        id: ``anomaly_id(detector, node_id, ts_ms)``; the same input record gives the same id.
        ts_ms: event time of the window's newest step, Unix epoch in milliseconds.
        node_id: node id, or a link's key ``node_id>peer_id``.
        cluster, region: as the newest record says.
        detector: name of the detector.
        model_version: version of its artefact, made from the content.
        score: larger is more anomalous; finite.
        threshold: the score from which this detector flags.
        severity: "info", "warning" or "critical".
        window_start_ms, window_end_ms: event time of the window's oldest and newest step.
        contributions: the features that made the score, largest share first.
        source: the record that completed the window.
        kind: anomaly class where it can be told, such as "leader_election_storm"; ``None`` is "unknown".
        confidence: confidence in ``kind``, 0 to 1.
        expected_in_minutes: in how many minutes an incident is expected to be reported, from and to; ``None`` when it
            has begun or nothing can be said.
    """

    v: Version = 1
    id: Id
    ts_ms: Annotated[TimeMs, Meta(description="event time of the newest step, Unix epoch in milliseconds")]
    node_id: LinkOrNode
    cluster: Name | None = None
    region: Name | None = None
    detector: Annotated[Name, Meta(description="name of the detector", examples=["consensus"])]
    model_version: Annotated[Name, Meta(description="version of its artefact", examples=["consensus-1a2b3c4d"])]
    score: Annotated[float, Meta(description="larger is more anomalous", examples=[41.3])]
    threshold: Annotated[float, Meta(description="score from which the detector flags", examples=[12.5])]
    severity: Severity
    window_start_ms: Annotated[TimeMs, Meta(description="event time of the oldest step")]
    window_end_ms: Annotated[TimeMs, Meta(description="event time of the newest step")]
    contributions: Annotated[tuple[Contribution, ...], Meta(description="largest share first")]
    source: Source
    kind: Annotated[Name, Meta(description="anomaly class; null is unknown")] | None = None
    confidence: Annotated[Rate, Meta(description="confidence in kind, 0 to 1")] | None = None
    expected_in_minutes: (
        Annotated[
            tuple[Amount, Amount],
            Meta(description="minutes until an incident is expected, from and to", examples=[[2.0, 14.0]]),
        ]
        | None
    ) = None


class Alert(Struct, frozen=True, kw_only=True):
    """A change of an alert's state; topic ``dwcp.alerts``, key ``fingerprint``, compacted.

    Attributes:
        v: schema version, now 1.
        id: ``alert_id(fingerprint, change)``; a repeat of the same change has the same id and the same bytes.
        fingerprint: which alert; stays over its whole life.
        status: "firing" or "resolved".
        severity: worst so far.
        detectors: names of the detectors that flagged.
        node_id: the node, link key, or likely origin of a group.
        cluster, region: where.
        started_ms, updated_ms: event time of the first anomaly and of this change.
        ended_ms: event time of the end; ``None`` while firing.
        peak_score: largest score divided by its threshold, from 1.
        summary: one sentence a person can act on.
        contributions: of the peak.
        anomaly_count: anomalies so far.
        runbook: link or path of the runbook.
        kind: what ``node_id`` shows, the likely cause: an anomaly class, or a sign of ``docs/alerts.md``; ``None`` in
            records of earlier builds.
    """

    v: Version = 1
    id: Id
    fingerprint: Id
    status: Annotated[Literal["firing", "resolved"], coded(firing=0, resolved=1)]
    severity: Severity
    detectors: Annotated[tuple[Name, ...], Meta(min_length=1, description="detectors that flagged")]
    node_id: LinkOrNode
    cluster: Name | None = None
    region: Name | None = None
    started_ms: Annotated[TimeMs, Meta(description="event time of the first anomaly")]
    ended_ms: Annotated[TimeMs, Meta(description="event time of the end; null while firing")] | None = None
    updated_ms: Annotated[TimeMs, Meta(description="event time of this change")]
    peak_score: Annotated[Amount, Meta(description="largest score by threshold", examples=[3.4])]
    summary: Annotated[str, Meta(max_length=1000, description="one sentence a person can act on")]
    contributions: Annotated[tuple[Contribution, ...], Meta(description="of the peak, largest share first")]
    anomaly_count: Annotated[PositiveCount, Meta(description="anomalies so far")]
    runbook: Annotated[str, Meta(max_length=1000, description="link or path of the runbook")]
    kind: Annotated[Name, Meta(description="likely cause", examples=["network_congestion"])] | None = None


class BandwidthForecast(Struct, frozen=True, kw_only=True):
    """What a link will carry; topic ``dwcp.forecasts.bandwidth``, key ``node_id>peer_id``.

    Attributes:
        v: schema version, now 1.
        id: ``anomaly_id(model name, link key, ts_ms)`` with the horizon in the model's name.
        ts_ms: event time of the newest step seen, Unix epoch in milliseconds.
        target_ms: the time that the forecast is for.
        node_id, peer_id: the link.
        cluster, region: of ``node_id``.
        model_version: version of the model's artefact.
        throughput_mbps: expected, Mbit/s; ``throughput_low`` and ``throughput_high`` hold 80 % of outcomes.
        rtt_ms, jitter_ms: expected, milliseconds.
        packet_loss: expected share, 0 to 1.
        bandwidth_class: against the link's own trailing median m: "good" from 0.8 m, "degraded" from 0.5 m, "bad".
        source: the record that completed the window.
    """

    v: Version = 1
    id: Id
    ts_ms: Annotated[TimeMs, Meta(description="event time of the newest step seen")]
    target_ms: Annotated[TimeMs, Meta(description="the time that the forecast is for")]
    node_id: Identifier
    peer_id: Identifier
    cluster: Name | None = None
    region: Name | None = None
    model_version: Name
    throughput_mbps: Annotated[Amount, Meta(description="expected throughput, Mbit/s")]
    throughput_low: Annotated[Amount, Meta(description="10th percentile, Mbit/s")] | None = None
    throughput_high: Annotated[Amount, Meta(description="90th percentile, Mbit/s")] | None = None
    rtt_ms: Annotated[Milliseconds, Meta(description="expected round-trip time, ms")] | None = None
    jitter_ms: Annotated[Milliseconds, Meta(description="expected jitter, ms")] | None = None
    packet_loss: Annotated[Rate, Meta(description="expected share of packets lost")] | None = None
    bandwidth_class: Annotated[Literal["good", "degraded", "bad"], coded(good=0, degraded=1, bad=2)]
    source: Source


class CompressionDecision(Struct, frozen=True, kw_only=True):
    """Which algorithm a transfer should take; topic ``dwcp.decisions.compression``, key ``node_id``.

    Attributes:
        v: schema version, now 1.
        id: deterministic id of the decision.
        ts_ms: event time of the request, Unix epoch in milliseconds.
        node_id: who asks.
        cluster, region: of ``node_id``.
        model_version: version of the selector's artefact.
        algorithm: "hde" or "amst".
        mode: "shadow" (recorded, not obeyed), "experiment" (obeyed by the treated group) or "active".
        confidence: 0 to 1.
        utility_hde, utility_amst: expected compression_ratio x bandwidth / (latency x cpu), the larger is taken.
        payload_size: bytes to send.
        source: the sample it was made from; ``None`` when the sender asked directly.
    """

    v: Version = 1
    id: Id
    ts_ms: Annotated[TimeMs, Meta(description="event time of the request")]
    node_id: Identifier
    cluster: Name | None = None
    region: Name | None = None
    model_version: Name
    algorithm: Annotated[Literal["hde", "amst"], coded(hde=0, amst=1)]
    mode: Annotated[Literal["shadow", "experiment", "active"], coded(shadow=0, experiment=1, active=2)]
    confidence: Annotated[Rate, Meta(description="confidence in the choice, 0 to 1")]
    utility_hde: Annotated[Amount, Meta(description="expected utility of HDE")] | None = None
    utility_amst: Annotated[Amount, Meta(description="expected utility of AMST")] | None = None
    payload_size: Annotated[Count, Meta(description="bytes to send")]
    source: Source | None = None


def anomaly_id(detector: str, key: str, ts_ms: int) -> str:
    """Name the verdict of one detector on one step of one node, 32 hexadecimal digits.

    Independent of topic, partition, offset and model version, so that scoring a file and scoring the stream name the
    same verdict alike. Each text is preceded by its length: no two inputs share an encoding.
    """
    return _digest(detector, key, str(ts_ms))


def alert_fingerprint(scope: str, started_ms: int) -> str:
    """Name the alert of a scope (``cluster:NAME`` or ``node:ID``) that began at this event time."""
    return _digest("alert", scope, str(started_ms))


def alert_id(fingerprint: str, change: int) -> str:
    """Name the ``change``-th change (from 0) of the alert with this fingerprint, 32 hexadecimal digits."""
    return _digest(fingerprint, str(change))


def _digest(*parts: str) -> str:
    encoded = [part.encode() for part in parts]
    return blake2b(b"".join(b"%d:%b" % (len(part), part) for part in encoded), digest_size=_ID_BYTES).hexdigest()
