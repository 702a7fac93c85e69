import subprocess
import sys

import pytest
from fleet_samples import consensus, fleet, message, offline
from msgspec.structs import replace

import streams
from schemas.codec import decode_anomaly
from schemas.errors import ErrorCode
from schemas.topics import partition_of
from streams import Batch, KafkaConfig
from streams.dead_letters import DeadLetter
from streams.outputs import LEAST_DEAD_LETTER_BYTES, Outputs
from streams.state import StateRecord

KAFKA = KafkaConfig(topics={"anomalies": "found", "dead-letters": "broken"})


def test_a_batch_becomes_anomalies_dead_letters_and_states_under_their_keys() -> None:
    [anomaly, *_] = offline(fleet(1, range(31), faults={("n0", 30): 99.0}))
    letter = DeadLetter("t", 0, 5, b"k", b"v", ErrorCode.NOT_JSON, "no JSON")
    states = [StateRecord("state", 7, b"n0", b"saved", 3), StateRecord("state", 7, b"n1", None, 3)]
    batch = Batch(anomalies=[anomaly], dead_letters=[letter], states=states)
    records = Outputs(KAFKA, dead_letter_max_bytes=2048, worker="vigil.w").records(batch)
    assert [(each.topic, each.key) for each in records[:2]] == [("found", b"n0"), ("broken", b"k")]
    assert decode_anomaly(records[0].value or b"") == anomaly
    headers = [("epoch", "3"), ("worker", "vigil.w")]
    assert records[2:] == [("state", b"n0", b"saved", headers, 7), ("state", b"n1", None, [], 7)]
    assert Outputs(KAFKA, dead_letter_max_bytes=2048).topics == ("found", "broken")


def test_anomalies_of_one_cluster_go_to_one_partition_under_their_nodes_keys() -> None:
    [anomaly, *_] = offline(fleet(1, range(31), faults={("n0", 30): 99.0}))
    members = [replace(anomaly, node_id=f"n{place}", cluster="etcd-a") for place in range(9)]
    loners = [replace(anomaly, node_id=f"n{place}", cluster=None) for place in range(9)]
    outputs = Outputs(KAFKA, dead_letter_max_bytes=2048)
    assert {each.partition for each in outputs.records(Batch(anomalies=members))} == {-1}
    outputs.anomaly_partitions = 12
    records = outputs.records(Batch(anomalies=members))
    assert [each.key for each in records] == [each.node_id.encode() for each in members]
    assert {each.partition for each in records} == {partition_of("etcd-a", "n0", 12)}
    assert len({each.partition for each in outputs.records(Batch(anomalies=loners))}) > 1


def test_dead_letters_shrink_by_halves_down_to_what_still_shows_something() -> None:
    outputs = Outputs(KAFKA, dead_letter_max_bytes=5000)
    sizes = []
    while outputs.shrink():
        sizes.append(outputs.dead_letter_max_bytes)
    assert sizes == [2500, 1250, LEAST_DEAD_LETTER_BYTES]
    value = message(consensus("n", 0, region="r" * 60_000)).value
    letter = DeadLetter("t", 0, 5, b"k", value, ErrorCode.TOO_LARGE, "too large")
    [record] = outputs.records(Batch(dead_letters=[letter]))
    assert len(record.value or b"") == LEAST_DEAD_LETTER_BYTES - 1


def test_every_exported_name_is_there() -> None:
    assert all(getattr(streams, name) is not None for name in streams.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = streams.nothing


def test_reading_settings_loads_no_client_and_no_model_library() -> None:
    heavy = ["confluent_kafka", "redis", "prometheus_client", "torch", "onnxruntime", "xgboost", "numpy"]
    code = f"import sys, streams, streams.config; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
