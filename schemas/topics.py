"""Kafka topics with the settings they need; names are defaults that the settings file can change."""

from zlib import crc32

from msgspec import Struct

_MIB = 1024 * 1024
_DAY_MS = 86_400_000


class Topic(Struct, frozen=True, kw_only=True):
    """One topic as ``vigil topics create`` makes it.

    Attributes:
        name: default name.
        partitions: how many; the upper limit of workers that share it.
        retention_ms: how long records stay, milliseconds; -1 is for ever.
        compact: whether the newest record of a key stays for ever (``cleanup.policy=compact``).
        max_message_bytes: largest record the broker takes. Above the codec's limit on purpose: an oversized record has
            to reach the worker to become a dead letter, instead of failing inside some producer.
        segment_bytes: size of the log's files; only files that are full are compacted, so a topic that is read from its
            beginning has small ones. The broker's default when ``None``.
        key: what the key is.
        carries: what the value is.
    """

    name: str
    partitions: int
    retention_ms: int
    compact: bool = False
    max_message_bytes: int = _MIB
    segment_bytes: int | None = None
    key: str
    carries: str


def _metrics(name: str, key: str, carries: str, partitions: int = 12) -> Topic:
    return Topic(
        name=name,
        partitions=partitions,
        retention_ms=3 * _DAY_MS,
        max_message_bytes=8 * _MIB,
        key=key,
        carries=carries,
    )


METRICS_CONSENSUS = _metrics("dwcp.metrics.consensus", "node_id", "ConsensusMetrics, one per node per step")
METRICS_NODE = _metrics("dwcp.metrics.node", "node_id", "NodeMetrics, one per node per step")
METRICS_LINK = _metrics("dwcp.metrics.link", "node_id>peer_id", "LinkMetrics, one per link per step")
TELEMETRY_COMPRESSION = _metrics("dwcp.telemetry.compression", "node_id", "CompressionSample, one per transfer")
INCIDENTS = Topic(
    name="dwcp.incidents",
    partitions=3,
    retention_ms=-1,
    key="node_id",
    carries="Incident, one per report or correction; the training labels, so kept for ever",
)
ANOMALIES = Topic(
    name="dwcp.anomalies",
    partitions=12,
    retention_ms=30 * _DAY_MS,
    key="node_id or node_id>peer_id",
    carries="Anomaly, one per flagged window",
)
ALERTS = Topic(
    name="dwcp.alerts",
    partitions=3,
    retention_ms=30 * _DAY_MS,
    compact=True,
    key="fingerprint",
    carries="Alert, one per change of state",
)
FORECASTS_BANDWIDTH = Topic(
    name="dwcp.forecasts.bandwidth",
    partitions=12,
    retention_ms=7 * _DAY_MS,
    key="node_id>peer_id",
    carries="BandwidthForecast, one per link per step",
)
DECISIONS_COMPRESSION = Topic(
    name="dwcp.decisions.compression",
    partitions=12,
    retention_ms=30 * _DAY_MS,
    key="node_id",
    carries="CompressionDecision, one per decided transfer",
)
DEAD_LETTERS = Topic(
    name="dwcp.dead-letters",
    partitions=3,
    retention_ms=14 * _DAY_MS,
    max_message_bytes=16 * _MIB,
    key="the original key",
    carries="every record that could not be used, byte for byte; what was wrong is in the headers",
)
STATE = Topic(
    name="vigil.state",
    partitions=12,
    retention_ms=-1,
    compact=True,
    max_message_bytes=4 * _MIB,
    segment_bytes=4 * _MIB,
    key="JSON array: group, topic and node; group and topic",
    carries="a node's window and detector state; where a replay of a partition starts",
)
ALERTS_STATE = Topic(
    name="vigil.alerts.state",
    partitions=12,
    retention_ms=-1,
    compact=True,
    max_message_bytes=8 * _MIB,
    segment_bytes=8 * _MIB,
    key="cluster:NAME or node:ID",
    carries="what the alert service remembers of a cluster; a partition for each one of the anomalies",
)
ALERTS_CONTROLS = Topic(
    name="vigil.alerts.controls",
    partitions=1,
    retention_ms=-1,
    compact=True,
    segment_bytes=4 * _MIB,
    key="silence:ID, acknowledgement:FINGERPRINT or feedback:FINGERPRINT",
    carries="what people said about alerts: silences, acknowledgements, feedback",
)

TOPICS: tuple[Topic, ...] = (
    METRICS_CONSENSUS,
    METRICS_NODE,
    METRICS_LINK,
    TELEMETRY_COMPRESSION,
    INCIDENTS,
    ANOMALIES,
    ALERTS,
    FORECASTS_BANDWIDTH,
    DECISIONS_COMPRESSION,
    DEAD_LETTERS,
    STATE,
    ALERTS_STATE,
    ALERTS_CONTROLS,
)
"""All topics, in the order of the wire contract; vigil's own last."""


def partition_of(cluster: str | None, key: str, partitions: int) -> int:
    """Choose the partition of a record so that the members of one cluster meet: ``crc32(cluster or key) % partitions``.

    CRC-32 (IEEE) of the UTF-8 bytes: the same in Go (``crc32.ChecksumIEEE``) and Java (``java.util.zip.CRC32``).
    """
    return crc32((cluster or key).encode()) % partitions
