"""What nodes publish: one Struct a message, fields in the order of the wire contract.

These types are for writing records and for reading single ones. Whole batches are read by
``schemas.codec.RecordCodec``, which derives its checks from the annotations here.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.quantities import (
    Amount,
    Count,
    Identifier,
    Milliseconds,
    Name,
    Percent,
    PositiveCount,
    Rate,
    TimeMs,
    Version,
    coded,
)


class Record(Struct, frozen=True, kw_only=True, gc=False):
    """What every metrics record carries beside its measurements.

    Attributes:
        v: schema version, now 1.
        ts_ms: event time, Unix epoch in milliseconds; the end of the step that the record describes.
        node_id: who measured, 1 to 255 characters; the Kafka key (of a link: the first half of it).
        cluster: the group of peers the node belongs to; producers that choose partitions by it keep peers together.
        region: where the node runs.
        az: availability zone.
    """

    v: Version = 1
    ts_ms: Annotated[TimeMs, Meta(description="event time, Unix epoch in milliseconds; the end of the step")]
    node_id: Annotated[Identifier, Meta(description="who measured; 1 to 255 characters", examples=["etcd-a-n0"])]
    cluster: Annotated[Name, Meta(description="group of peers", examples=["etcd-a"])] | None = None
    region: Annotated[Name, Meta(description="where the node runs", examples=["eu-west"])] | None = None
    az: Annotated[Name, Meta(description="availability zone", examples=["eu-west-1a"])] | None = None


class ConsensusMetrics(Record, frozen=True, kw_only=True, gc=False):
    """One member of a consensus group over one step; topic ``dwcp.metrics.consensus``, key ``node_id``.

    ``latency_p50 <= latency_p95 <= latency_p99`` holds in every valid record; ``active_nodes`` may fall below
    ``quorum_size`` (that is what a lost quorum looks like).

    Attributes:
        queue_depth: requests waiting, count.
        proposals_pending: proposals not yet committed, count.
        proposals_committed: proposals committed in this step, count.
        latency_p50, latency_p95, latency_p99: commit latency quantiles of this step, milliseconds.
        leader_changes: leader changes seen in this step, count.
        quorum_size: votes that a decision needs, count from 1.
        active_nodes: members that answer, count.
        network_tier: "lan" 0, "wan" 1.
        dwcp_mode: "optimistic" 0, "normal" 1, "conservative" 2.
        consensus_type: "raft" 0, "pbft" 1, "hotstuff" 2.
    """

    queue_depth: Annotated[Count, Meta(description="requests waiting, count", examples=[4])]
    proposals_pending: Annotated[Count, Meta(description="proposals not yet committed, count", examples=[2])]
    proposals_committed: Annotated[Count, Meta(description="proposals committed in this step, count", examples=[40])]
    latency_p50: Annotated[Milliseconds, Meta(description="median commit latency, ms", examples=[3.001])]
    latency_p95: Annotated[Milliseconds, Meta(description="95th percentile of commit latency, ms", examples=[7.415])]
    latency_p99: Annotated[Milliseconds, Meta(description="99th percentile of commit latency, ms", examples=[9.02])]
    leader_changes: Annotated[Count, Meta(description="leader changes seen in this step, count", examples=[0])]
    quorum_size: Annotated[PositiveCount, Meta(description="votes that a decision needs, from 1", examples=[2])]
    active_nodes: Annotated[Count, Meta(description="members that answer, count", examples=[3])]
    network_tier: Annotated[Literal["lan", "wan"], coded(lan=0, wan=1)]
    dwcp_mode: Annotated[Literal["optimistic", "normal", "conservative"], coded(optimistic=0, normal=1, conservative=2)]
    consensus_type: Annotated[Literal["raft", "pbft", "hotstuff"], coded(raft=0, pbft=1, hotstuff=2)]


class NodeMetrics(Record, frozen=True, kw_only=True, gc=False):
    """Health of one node over one step; topic ``dwcp.metrics.node``, key ``node_id``.

    Attributes:
        error_rate, timeout_rate: share of requests that failed or timed out, 0 to 1.
        packet_loss_rate, retransmit_rate: share of packets lost or sent again, 0 to 1.
        latency_p50, latency_p95, latency_p99: request latency quantiles of this step, milliseconds, in order.
        sla_violations, connection_failures, health_check_failures: count in this step.
        cpu_usage, memory_usage: percent.
        disk_io: MB/s.
        availability_score: percent.
        error_budget_burn_rate: times the rate that would just use the budget up, not negative.
        dwcp_mode: "standard" 0, "optimized" 1, "fallback" 2.
        network_tier: "tier1" 0, "tier2" 1, "tier3" 2.
    """

    error_rate: Annotated[Rate, Meta(description="share of requests that failed, 0 to 1", examples=[0.0003])]
    timeout_rate: Annotated[Rate, Meta(description="share of requests that timed out, 0 to 1", examples=[0.0001])]
    packet_loss_rate: Annotated[Rate, Meta(description="share of packets lost, 0 to 1", examples=[0.002])]
    retransmit_rate: Annotated[Rate, Meta(description="share of packets sent again, 0 to 1", examples=[0.001])]
    latency_p50: Annotated[Milliseconds, Meta(description="median request latency, ms", examples=[10.2])]
    latency_p95: Annotated[Milliseconds, Meta(description="95th percentile of request latency, ms", examples=[24.8])]
    latency_p99: Annotated[Milliseconds, Meta(description="99th percentile of request latency, ms", examples=[31.5])]
    sla_violations: Annotated[Count, Meta(description="SLA violations in this step, count", examples=[0])]
    connection_failures: Annotated[Count, Meta(description="failed connections in this step, count", examples=[0])]
    health_check_failures: Annotated[Count, Meta(description="failed checks in this step, count", examples=[0])]
    cpu_usage: Annotated[Percent, Meta(description="processor use, percent", examples=[23.5])]
    memory_usage: Annotated[Percent, Meta(description="memory use, percent", examples=[41.0])]
    disk_io: Annotated[Amount, Meta(description="disk traffic, MB/s", examples=[18.3])]
    availability_score: Annotated[Percent, Meta(description="availability, percent", examples=[99.93])]
    error_budget_burn_rate: Annotated[Amount, Meta(description="error budget burn rate, from 0", examples=[0.001])]
    dwcp_mode: Annotated[Literal["standard", "optimized", "fallback"], coded(standard=0, optimized=1, fallback=2)]
    network_tier: Annotated[Literal["tier1", "tier2", "tier3"], coded(tier1=0, tier2=1, tier3=2)]


class LinkMetrics(Record, frozen=True, kw_only=True, gc=False):
    """One directed link over one step; topic ``dwcp.metrics.link``, key ``node_id>peer_id``.

    Attributes:
        peer_id: the other end, 1 to 255 characters.
        link_type: "dc" 0, "metro" 1, "wan" 2, "edge" 3.
        rtt_ms, jitter_ms: round-trip time and its variation, milliseconds.
        throughput_mbps: Mbit/s.
        bytes_tx, bytes_rx: bytes sent and received in this step.
        packet_loss: share of packets lost, 0 to 1.
        retransmits: segments sent again in this step, count.
        congestion_window: segments, count.
        queue_depth: packets waiting, count.
        dwcp_mode: "standard" 0, "turbo" 1, "reliable" 2.
        network_tier: "premium" 0, "standard" 1, "economy" 2.
        transport_type: "tcp" 0, "udp" 1, "quic" 2.
    """

    peer_id: Annotated[Identifier, Meta(description="the other end; 1 to 255 characters", examples=["ams-2"])]
    link_type: Annotated[Literal["dc", "metro", "wan", "edge"], coded(dc=0, metro=1, wan=2, edge=3)]
    rtt_ms: Annotated[Milliseconds, Meta(description="round-trip time, ms", examples=[41.7])]
    jitter_ms: Annotated[Milliseconds, Meta(description="variation of the round-trip time, ms", examples=[1.3])]
    throughput_mbps: Annotated[Amount, Meta(description="throughput, Mbit/s", examples=[812.5])]
    bytes_tx: Annotated[Count, Meta(description="bytes sent in this step", examples=[98123456])]
    bytes_rx: Annotated[Count, Meta(description="bytes received in this step", examples=[3456789])]
    packet_loss: Annotated[Rate, Meta(description="share of packets lost, 0 to 1", examples=[0.0004])]
    retransmits: Annotated[Count, Meta(description="segments sent again in this step, count", examples=[3])]
    congestion_window: Annotated[Count, Meta(description="congestion window, segments", examples=[64])]
    queue_depth: Annotated[Count, Meta(description="packets waiting, count", examples=[12])]
    dwcp_mode: Annotated[Literal["standard", "turbo", "reliable"], coded(standard=0, turbo=1, reliable=2)]
    network_tier: Annotated[Literal["premium", "standard", "economy"], coded(premium=0, standard=1, economy=2)]
    transport_type: Annotated[Literal["tcp", "udp", "quic"], coded(tcp=0, udp=1, quic=2)]


class CompressionSample(Record, frozen=True, kw_only=True, gc=False):
    """One transfer, what was known before it and what was measured after; topic ``dwcp.telemetry.compression``.

    HDE is hierarchical delta encoding (compress against a baseline), AMST adaptive multi-stream transport (parallel
    streams, little compression). The measured fields are there for the algorithm or algorithms that ran.

    Attributes:
        link_type: "dc" 0, "metro" 1, "wan" 2, "edge" 3.
        network_tier: 1 to 3.
        bandwidth_available_mbps: Mbit/s.
        bandwidth_utilization: percent.
        rtt_ms: milliseconds.
        payload_size: bytes.
        payload_type: "vm_memory" 0, "vm_disk" 1, "database" 2, "log" 3, "media" 4.
        entropy_estimate: bits per byte, 0 to 8.
        repetition_score: percent.
        has_baseline: whether a baseline to encode against exists.
        hde_compression_ratio: original size by compressed size.
        hde_delta_hit_rate, hde_cpu_usage, amst_cpu_usage: percent.
        hde_latency_ms, amst_latency_ms: milliseconds.
        amst_stream_count: parallel streams.
        amst_transfer_rate_mbps: Mbit/s.
    """

    link_type: Annotated[Literal["dc", "metro", "wan", "edge"], coded(dc=0, metro=1, wan=2, edge=3)]
    network_tier: Annotated[int, Meta(ge=1, le=3, description="network tier, 1 to 3", examples=[2])]
    bandwidth_available_mbps: Annotated[Amount, Meta(description="bandwidth free, Mbit/s", examples=[940.0])]
    bandwidth_utilization: Annotated[Percent, Meta(description="bandwidth in use, percent", examples=[35.0])]
    rtt_ms: Annotated[Milliseconds, Meta(description="round-trip time, ms", examples=[41.7])]
    payload_size: Annotated[Count, Meta(description="bytes to send", examples=[1048576])]
    payload_type: Annotated[
        Literal["vm_memory", "vm_disk", "database", "log", "media"],
        coded(vm_memory=0, vm_disk=1, database=2, log=3, media=4),
    ]
    entropy_estimate: Annotated[float, Meta(ge=0.0, le=8.0, description="entropy, bits per byte", examples=[5.1])]
    repetition_score: Annotated[Percent, Meta(description="repetition, percent", examples=[22.0])]
    has_baseline: Annotated[bool, Meta(description="a baseline to encode against exists", examples=[True])]
    hde_compression_ratio: Annotated[Amount, Meta(description="original by compressed size", examples=[3.4])] | None = (
        None
    )
    hde_delta_hit_rate: Annotated[Percent, Meta(description="deltas found, percent", examples=[87.0])] | None = None
    hde_latency_ms: Annotated[Milliseconds, Meta(description="HDE's time, ms", examples=[12.5])] | None = None
    hde_cpu_usage: Annotated[Percent, Meta(description="HDE's processor use, percent", examples=[31.0])] | None = None
    amst_stream_count: Annotated[PositiveCount, Meta(description="parallel streams", examples=[8])] | None = None
    amst_transfer_rate_mbps: Annotated[Amount, Meta(description="AMST's rate, Mbit/s", examples=[720.0])] | None = None
    amst_latency_ms: Annotated[Milliseconds, Meta(description="AMST's time, ms", examples=[11.0])] | None = None
    amst_cpu_usage: Annotated[Percent, Meta(description="AMST's processor use, percent", examples=[9.0])] | None = None


class Incident(Struct, frozen=True, kw_only=True, gc=False):
    """One labelled incident from incident management; topic ``dwcp.incidents``, key ``node_id``.

    A later record of the same node and ``start_ms`` corrects an earlier one.

    Attributes:
        v: schema version, now 1.
        node_id: the node that suffered, 1 to 255 characters.
        start_ms: start as reported, Unix epoch in milliseconds.
        end_ms: end, Unix epoch in milliseconds; ``None`` while the incident is open.
        kind: what it was, in the words of incident management.
        severity: how bad it was, in the words of incident management.
    """

    v: Version = 1
    node_id: Annotated[Identifier, Meta(description="the node that suffered", examples=["node-07"])]
    start_ms: Annotated[TimeMs, Meta(description="start as reported, Unix epoch in milliseconds")]
    end_ms: Annotated[TimeMs, Meta(description="end, Unix epoch in milliseconds; null while open")] | None = None
    kind: Annotated[Name, Meta(description="what it was", examples=["disk_degradation"])]
    severity: Annotated[Name, Meta(description="how bad it was", examples=["critical"])]
