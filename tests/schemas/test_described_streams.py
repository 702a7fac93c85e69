"""Streams: those of the contract, and a user's own."""

import json
import subprocess
import sys
from typing import Literal

import msgspec
import numpy as np
import pytest

import schemas
from schemas import COMPRESSION, CONSENSUS, LINK, NODE, STREAMS, TOPICS, ErrorCode, RecordCodec, custom_stream
from schemas.fields import fields_of
from schemas.topics import ALERTS_STATE, ANOMALIES, DEAD_LETTERS, STATE, partition_of


def test_the_consensus_models_twelve_inputs_are_in_the_contracts_order():
    assert CONSENSUS.features == (
        "queue_depth",
        "proposals_pending",
        "proposals_committed",
        "latency_p50",
        "latency_p95",
        "latency_p99",
        "leader_changes",
        "quorum_size",
        "active_nodes",
        "network_tier",
        "dwcp_mode",
        "consensus_type",
    )


def test_streams_have_their_topics_keys_and_steps():
    assert {s.name: (s.topic, s.key_fields, s.step_ms, len(s.features)) for s in STREAMS.values()} == {
        "consensus": ("dwcp.metrics.consensus", ("node_id",), 1_000, 12),
        "node": ("dwcp.metrics.node", ("node_id",), 60_000, 17),
        "link": ("dwcp.metrics.link", ("node_id", "peer_id"), 1_000, 13),
        "compression": ("dwcp.telemetry.compression", ("node_id",), 0, 10),
    }


def test_codes_count_from_zero_in_the_contracts_order():
    assert NODE.codes == {
        "dwcp_mode": {"standard": 0, "optimized": 1, "fallback": 2},
        "network_tier": {"tier1": 0, "tier2": 1, "tier3": 2},
    }
    assert list(LINK.codes["link_type"].items()) == [("dc", 0), ("metro", 1), ("wan", 2), ("edge", 3)]


def test_what_is_measured_after_a_transfer_is_no_input_of_its_decision():
    assert not [name for name in COMPRESSION.features if name.startswith(("hde_", "amst_"))]
    assert "has_baseline" in COMPRESSION.features


COMPRESSED = {
    "v": 1,
    "ts_ms": 5,
    "node_id": "n0",
    "link_type": "metro",
    "network_tier": 2,
    "bandwidth_available_mbps": 940.0,
    "bandwidth_utilization": 35.0,
    "rtt_ms": 41.5,
    "payload_size": 1024,
    "payload_type": "log",
    "entropy_estimate": 5.0,
    "repetition_score": 22.0,
    "has_baseline": True,
}


@pytest.mark.parametrize(
    "measured", [{}, {"hde_cpu_usage": 31.0, "hde_latency_ms": 2}, {"hde_cpu_usage": None, "amst_stream_count": 8}]
)
def test_measured_fields_of_a_transfer_may_be_missing_or_null(measured):
    decoded = RecordCodec(COMPRESSION).decode([b"n0"], [json.dumps(COMPRESSED | measured).encode()])
    assert decoded.rejections == []
    assert decoded.rows.tolist() == [[1, 2, 940, 35, 41.5, 1024, 3, 5, 22, 1]]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"hde_cpu_usage": 101}, ErrorCode.OUT_OF_RANGE),
        ({"amst_stream_count": 0}, ErrorCode.OUT_OF_RANGE),
        ({"amst_stream_count": 1.5}, ErrorCode.WRONG_TYPE),
        ({"entropy_estimate": 8.1}, ErrorCode.OUT_OF_RANGE),
        ({"network_tier": 4}, ErrorCode.OUT_OF_RANGE),
        ({"has_baseline": 1}, ErrorCode.WRONG_TYPE),
        ({"has_baseline": "yes"}, ErrorCode.WRONG_TYPE),
    ],
)
def test_a_transfers_fields_are_checked(change, code):
    (rejection,) = RecordCodec(COMPRESSION).decode([b"n0"], [json.dumps(COMPRESSED | change).encode()]).rejections
    assert rejection.code == code
    assert next(iter(change)) in rejection.text


def test_a_users_own_telemetry_streams_too():
    stream = custom_stream(
        "valve", "plant.valves", ["flow.rate", "temp °C", "state"], 500, codes={"state": {"open": 7, "shut": -1}}
    )
    header = {"v": 1, "ts_ms": 9, "node_id": "v1", "cluster": "plant"}
    good = json.dumps(header | {"flow.rate": -2.5, "temp °C": 80, "state": "shut", "label": 1}).encode()
    bad = json.dumps(header | {"flow.rate": 1, "temp °C": None, "state": "ajar"}).encode()
    decoded = RecordCodec(stream).decode([b"v1", b"v1"], [good, bad])
    np.testing.assert_array_equal(decoded.rows, np.array([[-2.5, 80, -1]], dtype=np.float32))
    assert decoded.clusters == ["plant"]
    assert "temp °C is null" in decoded.rejections[0].text
    assert [field.name for field in fields_of(stream.record)][6:] == ["flow.rate", "temp °C", "state"]


@pytest.mark.parametrize(
    ("fields", "step_ms", "codes", "message"),
    [
        ([], 1, {}, "fields is empty"),
        (["a", ""], 1, {}, r"fields\[1\] is ''"),
        (["ts_ms"], 1, {}, r"fields\[0\] is 'ts_ms'"),
        (["a", "a"], 1, {}, "second time"),
        (["a"], 0, {}, "step_ms is 0"),
        (["a"], 1, {"b": {"x": 1}}, "codes names 'b'"),
        (["a"], 1, {"a": {}}, "codes of 'a' is empty"),
    ],
)
def test_a_stream_that_cannot_work_is_refused_by_name(fields, step_ms, codes, message):
    with pytest.raises(ValueError, match=message):
        custom_stream("mine", "t", fields, step_ms, codes=codes)


def test_an_oversized_record_fits_the_topics_on_its_way_to_the_dead_letters():
    metrics = [topic for topic in TOPICS if topic.name.startswith(("dwcp.metrics.", "dwcp.telemetry."))]
    assert len(metrics) == 4
    assert all(topic.max_message_bytes >= 5_000_000 for topic in metrics)
    assert max(topic.max_message_bytes for topic in metrics) < DEAD_LETTERS.max_message_bytes


def test_only_what_has_a_last_state_that_counts_is_compacted():
    assert [topic.name for topic in TOPICS if topic.compact] == [
        "dwcp.alerts",
        "vigil.state",
        "vigil.alerts.state",
        "vigil.alerts.controls",
    ]


def test_the_state_topic_can_keep_a_partition_for_every_one_of_the_metrics():
    assert STATE.partitions >= max(topic.partitions for topic in TOPICS)
    assert STATE.segment_bytes is not None
    assert STATE.segment_bytes >= STATE.max_message_bytes


def test_the_state_of_alerts_has_a_partition_for_each_one_of_the_anomalies():
    assert ALERTS_STATE.partitions == ANOMALIES.partitions


def test_the_members_of_a_cluster_share_a_partition_and_loners_are_spread():
    assert len({partition_of("etcd-a", f"n{number}", 12) for number in range(50)}) == 1
    assert {partition_of(None, f"n{number}", 12) for number in range(500)} == set(range(12))
    assert partition_of("", "etcd-a", 12) == partition_of("etcd-a", "n0", 12)


def test_the_public_names_are_those_listed():
    assert schemas.__all__ == sorted(schemas.__all__, key=lambda name: (not name.isupper(), name))
    assert all(hasattr(schemas, name) for name in schemas.__all__)


def test_importing_schemas_imports_nothing_heavy_and_nothing_of_vigils_other_packages():
    script = "import sys, schemas, schemas.generate; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"torch", "pyarrow", "sklearn", "xgboost", "matplotlib", "onnxruntime", "confluent_kafka", "redis"}
    assert set(run.stdout.split()).isdisjoint(heavy | {"pydantic", "features", "detectors", "streams", "vigil"})


def test_a_message_type_that_the_codec_cannot_read_is_refused():
    class Loose(msgspec.Struct):
        mode: Literal["a", "b"]

    with pytest.raises(TypeError, match="mode is a Literal without codes"):
        fields_of(Loose)
    with pytest.raises(TypeError, match="is not a msgspec Struct"):
        fields_of(dict)
