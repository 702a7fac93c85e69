"""Topics as documented, created once, left alone when they differ."""

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, ConfigResource
from rig import Rig

from schemas.topics import TOPICS, Topic
from streams import KafkaConfig, TopicsError, admin_client, configured_topics, ensure_topics
from streams.topics import fitted, paired, topic_settings


def described(rig: Rig, name: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    admin = rig.admin  # the answer comes only while the client lives
    found = admin.describe_configs([resource])[resource].result(20)
    return {key: entry.value for key, entry in found.items()}


def renamed(rig: Rig) -> list[Topic]:
    return [msgspec.structs.replace(each, name=f"{rig.name}.{each.name}") for each in TOPICS]


def test_every_topic_of_the_wire_contract_gets_its_partitions_retention_and_compaction(
    bootstrap: str, redis_url: str
) -> None:
    rig = Rig(bootstrap, redis_url)
    topics = renamed(rig)
    report = ensure_topics(rig.admin, topics, replication=1)
    assert sorted(report.created) == sorted(each.name for each in topics)
    assert (report.existing, report.differing) == ((), {})
    listed = rig.admin.list_topics(timeout=20).topics
    for topic in topics:
        assert len(listed[topic.name].partitions) == topic.partitions
        settings = topic_settings(topic)
        found = described(rig, topic.name)
        assert {key: found[key] for key in settings} == settings


def test_running_it_again_changes_nothing(bootstrap: str, redis_url: str) -> None:
    rig = Rig(bootstrap, redis_url)
    topics = renamed(rig)[:3]
    ensure_topics(rig.admin, topics, replication=1)
    report = ensure_topics(rig.admin, topics, replication=1)
    assert (report.created, report.differing) == ((), {})
    assert sorted(report.existing) == sorted(each.name for each in topics)


def test_a_topic_with_other_settings_is_named_and_left_alone(bootstrap: str, redis_url: str) -> None:
    rig = Rig(bootstrap, redis_url)
    [topic] = renamed(rig)[:1]
    ensure_topics(rig.admin, [msgspec.structs.replace(topic, partitions=2, retention_ms=60_000)], replication=1)
    report = ensure_topics(rig.admin, [topic], replication=1)
    assert report.existing == ()
    assert report.differing == {topic.name: ("has 2 partitions, wanted 12", "retention.ms is 60000, wanted 259200000")}
    assert described(rig, topic.name)["retention.ms"] == "60000"


def test_one_number_of_partitions_can_be_asked_for_all(bootstrap: str, redis_url: str) -> None:
    rig = Rig(bootstrap, redis_url)
    topics = renamed(rig)[:2]
    ensure_topics(rig.admin, topics, replication=1, partitions=5)
    listed = rig.admin.list_topics(timeout=20).topics
    assert [len(listed[each.name].partitions) for each in topics] == [5, 5]


def test_the_state_topic_gets_as_many_partitions_as_the_metrics_that_are_there() -> None:
    plain = {each.name: each.partitions for each in fitted(TOPICS, "vigil.state", [3, 0])}
    assert plain == {each.name: each.partitions for each in TOPICS}
    assert {each.name: each.partitions for each in fitted(TOPICS, "vigil.state", [3, 40])} == plain | {
        "vigil.state": 40
    }


def test_the_state_of_alerts_gets_as_many_partitions_as_the_anomalies_have() -> None:
    plain = {each.name: each.partitions for each in TOPICS}
    made = {
        count: {each.name: each.partitions for each in paired(TOPICS, "vigil.alerts.state", "dwcp.anomalies", count)}
        for count in (0, 3, 40)
    }
    assert made[0] == plain
    assert made[3] == plain | {"vigil.alerts.state": 3}
    assert made[40] == plain | {"vigil.alerts.state": 40}


def test_a_cluster_that_does_not_answer_is_an_error_that_says_so() -> None:
    admin = AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    with pytest.raises(TopicsError, match="cannot be created"):
        ensure_topics(admin, TOPICS[:1], timeout=1)


def test_the_configured_names_are_the_ones_created(bootstrap: str) -> None:
    kafka = KafkaConfig(bootstrap=bootstrap, topics={"consensus": "mine", "dead-letters": "broken"})
    names = [each.name for each in configured_topics(kafka)]
    assert "mine" in names
    assert "broken" in names
    assert "dwcp.anomalies" in names
    assert "dwcp.metrics.consensus" not in names
    assert admin_client(kafka).list_topics(timeout=20).brokers
