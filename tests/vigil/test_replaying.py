"""Replaying puts a recording into Kafka: keys, partitions by cluster, order, pace, and an honest count."""

import time
import uuid
from collections import defaultdict

import msgspec
import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.topics import partition_of
from vigil.disturbance import Disturbance
from vigil.embedded import EmbeddedServers
from vigil.errors import ServiceError
from vigil.publisher import Publisher
from vigil.replay import Pace, rebased, repeated, replay
from vigil.simulator import ConsensusFleet, simulate_consensus

pytestmark = pytest.mark.integration

START_MS = 1_760_000_000_000
RECORDS = list(simulate_consensus(ConsensusFleet(clusters=3, members=3), 60, 1, START_MS).records())


def make_topic(servers: EmbeddedServers, partitions: int = 4) -> str:
    name = f"replay-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": servers.bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1, config={"max.message.bytes": "8388608"})])[name].result(10)
    return name


def read_all(servers: EmbeddedServers, topic: str, count: int, partitions: int = 4) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": servers.bootstrap, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    messages: list[Message] = []
    deadline = time.monotonic() + 20
    while len(messages) < count and time.monotonic() < deadline:
        messages += [one for one in consumer.consume(1000, 0.2) if one.error() is None]
    consumer.close()
    return messages


def properties(servers: EmbeddedServers) -> dict[str, str]:
    return {"bootstrap.servers": servers.bootstrap}


def test_clusters_meet_in_a_partition_and_every_node_keeps_its_order(servers: EmbeddedServers) -> None:
    topic = make_topic(servers)
    with Publisher(topic, properties(servers)) as publisher:
        summary = replay(RECORDS, publisher)
    assert (summary.records, summary.nodes, summary.missing) == (len(RECORDS), 9, 0)
    by_node: dict[bytes, list[bytes]] = defaultdict(list)
    for message in read_all(servers, topic, len(RECORDS)):
        key, value = message.key() or b"", message.value() or b""
        by_node[key].append(value)
        cluster = msgspec.json.decode(value)["cluster"]
        assert message.partition() == partition_of(cluster, key.decode(), 4)
        assert abs(message.timestamp()[1] - 1000 * time.time()) < 60_000, "old event times must outlive retention"
    expected: dict[bytes, list[bytes]] = defaultdict(list)
    for key, value, _ in RECORDS:
        expected[key].append(value)
    assert by_node == expected


def test_a_node_whose_first_record_is_broken_still_lands_with_its_cluster(servers: EmbeddedServers) -> None:
    topic = make_topic(servers)
    node = RECORDS[0].key
    with Publisher(topic, properties(servers)) as publisher:
        publisher.send(node, b"{", node=node)
        publisher.send(node, RECORDS[0].value, node=node)
    good = [one for one in read_all(servers, topic, 2) if one.value() != b"{"]
    assert [one.partition() for one in good] == [partition_of("sim-00", node.decode(), 4)]


def test_the_summary_counts_what_went_wrong(servers: EmbeddedServers) -> None:
    topic = make_topic(servers)
    with Publisher(topic, properties(servers)) as publisher:
        summary = replay(RECORDS, publisher, disturbance=Disturbance(2.0, 0.1, 0.1, 0.2, seed=1))
    assert summary.records == len(RECORDS) - summary.missing + summary.duplicates
    assert min(summary.missing, summary.duplicates, sum(summary.malformed.values())) > 0
    assert len(read_all(servers, topic, summary.records)) == summary.records


def test_records_come_at_the_pace_asked_for(servers: EmbeddedServers) -> None:
    topic = make_topic(servers)
    began = time.monotonic()
    with Publisher(topic, properties(servers)) as publisher:
        replay(RECORDS, publisher, pace=Pace(60.0))
    event_seconds = (RECORDS[-1].ts_ms - RECORDS[0].ts_ms) / 1000
    assert event_seconds / 60.0 <= time.monotonic() - began < event_seconds / 60.0 + 5


def test_event_times_can_be_moved_in_the_bodies_too() -> None:
    moved = list(rebased(RECORDS, 5_000))
    assert moved[0][2] == 5_000
    shifts = {record.ts_ms - ts_ms for record, (_, _, ts_ms) in zip(RECORDS, moved, strict=True)}
    assert shifts == {RECORDS[0].ts_ms - 5_000}
    assert all(msgspec.json.decode(value)["ts_ms"] == ts_ms for _, value, ts_ms in moved)
    same = {"ts_ms": 0}
    assert msgspec.json.decode(moved[7][1]) | same == msgspec.json.decode(RECORDS[7].value) | same


def test_a_recording_can_go_on_for_ever() -> None:
    rounds = repeated(lambda: iter(RECORDS), 60_000)
    played = [next(rounds) for _ in range(2 * len(RECORDS) + 1)]
    assert played[: len(RECORDS)] == RECORDS
    assert [again[2] - first.ts_ms for first, again in zip(RECORDS, played[len(RECORDS) :], strict=False)] == (
        [60_000] * len(RECORDS)
    )
    assert played[-1][2] == RECORDS[0].ts_ms + 120_000
    assert list(repeated(lambda: iter(()), 1)) == []


def test_a_topic_that_does_not_exist_is_named_with_the_fix(servers: EmbeddedServers) -> None:
    with pytest.raises(ServiceError, match="topic no-such-topic does not exist") as caught:
        Publisher("no-such-topic", {**properties(servers), "allow.auto.create.topics": "false"})
    assert "vigil topics create" in caught.value.hint


def test_a_record_that_kafka_refuses_is_an_error(servers: EmbeddedServers) -> None:
    topic = make_topic(servers)
    publisher = Publisher(topic, {**properties(servers), "message.max.bytes": "2000"})
    with pytest.raises(ServiceError, match=f"Kafka refused a record for {topic}"), publisher:
        publisher.send(b"n", b"x" * 5000, node=b"n")


def test_history_is_sent_at_once_and_the_rest_at_its_pace(servers: EmbeddedServers) -> None:
    topic = make_topic(servers)
    live_ms = RECORDS[-1][2] - 1_000
    with Publisher(topic, properties(servers)) as publisher:
        began = time.monotonic()
        summary = replay(RECORDS, publisher, pace=Pace(2.0, live_ms))
        seconds = time.monotonic() - began
    assert summary.records == len(RECORDS)
    assert 0.5 <= seconds < 20, "one second of event time at twice its pace, 58 before it at once"
