"""Message types, topics, codecs and JSON Schema: the wire contract as code."""

from schemas.codec import MAX_RECORD_BYTES, Decoded, RecordCodec, decode_anomaly, decode_record, encode
from schemas.errors import ErrorCode, RecordError, Rejection
from schemas.metrics import CompressionSample, ConsensusMetrics, Incident, LinkMetrics, NodeMetrics
from schemas.outputs import (
    Alert,
    Anomaly,
    BandwidthForecast,
    CompressionDecision,
    Contribution,
    Severity,
    Source,
    alert_fingerprint,
    alert_id,
    anomaly_id,
)
from schemas.streams import COMPRESSION, CONSENSUS, LINK, NODE, STREAMS, Stream, custom_stream
from schemas.topics import TOPICS, Topic, partition_of

__all__ = [
    "COMPRESSION",
    "CONSENSUS",
    "LINK",
    "MAX_RECORD_BYTES",
    "NODE",
    "STREAMS",
    "TOPICS",
    "Alert",
    "Anomaly",
    "BandwidthForecast",
    "CompressionDecision",
    "CompressionSample",
    "ConsensusMetrics",
    "Contribution",
    "Decoded",
    "ErrorCode",
    "Incident",
    "LinkMetrics",
    "NodeMetrics",
    "RecordCodec",
    "RecordError",
    "Rejection",
    "Severity",
    "Source",
    "Stream",
    "Topic",
    "alert_fingerprint",
    "alert_id",
    "anomaly_id",
    "custom_stream",
    "decode_anomaly",
    "decode_record",
    "encode",
    "partition_of",
]
