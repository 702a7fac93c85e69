"""Incidents read from their topic label rows as the same records in a file do."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import Producer
from rig import Rig

from detectors.reliability.labels import current, label_rows
from schemas.metrics import Incident
from schemas.topics import INCIDENTS
from streams import KafkaConfig, ensure_topics
from streams.errors import IncidentsError
from streams.incidents import read_incident_log
from vigil.training_data import read_incidents

MINUTE = 60_000
START = 1_760_000_000_000


def incident(node: str, start: int, end: int | None) -> Incident:
    end_ms = None if end is None else START + end * MINUTE
    return Incident(node_id=node, start_ms=START + start * MINUTE, end_ms=end_ms, kind="overload", severity="warning")


# Reported open and then closed; withdrawn; two that overlap; one still open.
LOG = [
    incident("a", 100, None),
    incident("b", 50, 70),
    incident("a", 100, 120),
    incident("b", 50, 50),
    incident("c", 100, 160),
    incident("c", 130, 140),
    incident("d", 200, None),
]


@pytest.fixture
def kafka(rig: Rig) -> KafkaConfig:
    """The rig's Kafka, with an incident topic of three partitions."""
    name = f"{rig.name}.incidents"
    ensure_topics(rig.admin, [msgspec.structs.replace(INCIDENTS, name=name, partitions=3)], replication=1)
    return replace(rig.kafka, topics={**rig.kafka.topics, "incidents": name})


def publish(kafka: KafkaConfig, records: list[tuple[str, bytes | None]]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True})
    for key, value in records:
        producer.produce(kafka.topics["incidents"], value, key)
    assert producer.flush(20) == 0


def test_corrections_withdrawals_and_overlaps_label_as_in_a_file(kafka: KafkaConfig, tmp_path: Path) -> None:
    publish(kafka, [(one.node_id, msgspec.json.encode(one)) for one in LOG])
    file = tmp_path / "incidents.jsonl"
    file.write_bytes(b"\n".join(msgspec.json.encode(one) for one in LOG))
    from_kafka, from_file = read_incident_log(kafka), read_incidents(file)
    assert current(from_kafka) == current(from_file)
    assert [one.node_id for one in current(from_kafka)] == ["a", "c", "c", "d"]
    nodes = ["a", "b", "c", "d"] * 300
    ts_ms = START + np.repeat(np.arange(300, dtype=np.int64), 4) * MINUTE
    labels = label_rows(nodes, ts_ms, from_kafka)
    assert np.array_equal(labels.incident, label_rows(nodes, ts_ms, from_file).incident)
    assert labels.positive.any()


def test_an_empty_topic_and_records_without_a_value_are_no_incidents(kafka: KafkaConfig) -> None:
    assert read_incident_log(kafka) == []
    publish(kafka, [("a", None)])
    assert read_incident_log(kafka) == []


def test_a_record_that_is_no_incident_is_named_by_its_place(kafka: KafkaConfig) -> None:
    publish(kafka, [("a", b'{"v":1,"node_id":"a"}')])
    with pytest.raises(IncidentsError, match=r"incidents, partition \d, offset 0: .*start_ms"):
        read_incident_log(kafka)


def test_a_topic_that_is_not_there_is_said_to_be_missing(rig: Rig) -> None:
    kafka = replace(rig.kafka, topics={**rig.kafka.topics, "incidents": f"{rig.name}.nowhere"})
    with pytest.raises(IncidentsError, match="does not exist"):
        read_incident_log(kafka, within_s=10)
