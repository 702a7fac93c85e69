import pytest

from streams import KafkaConfig, RedisConfig, StreamsConfigError, WorkerConfig
from streams.kafka import OWN, admin_properties, consumer_properties, producer_properties


def test_the_consumer_reads_committed_records_and_never_commits_on_its_own() -> None:
    made = consumer_properties(KafkaConfig(group_id="g"), statistics_s=2)
    assert made["isolation.level"] == "read_committed"
    assert made["enable.auto.commit"] is False
    assert made["partition.assignment.strategy"] == "cooperative-sticky"
    assert made["group.id"] == "g"
    assert made["statistics.interval.ms"] == 2000
    assert "group.instance.id" not in made


def test_a_stable_name_makes_membership_static_and_the_transactional_id_stable() -> None:
    named = KafkaConfig(group_id="g", group_instance_id="worker-0")
    assert consumer_properties(named, statistics_s=1)["group.instance.id"] == "worker-0"
    assert named.transactional_id() == named.transactional_id() == "g.worker-0"
    unnamed = KafkaConfig(group_id="g")
    assert unnamed.transactional_id() != unnamed.transactional_id()


def test_any_other_property_passes_through_to_all_clients_or_to_one() -> None:
    kafka = KafkaConfig(
        properties={
            "security.protocol": "SASL_SSL",
            "consumer.fetch.min.bytes": "7",
            "producer.compression.type": "zstd",
            "consumer.auto.offset.reset": "latest",
        }
    )
    consumer = consumer_properties(kafka, statistics_s=1)
    producer = producer_properties(kafka, transactional_id="t", message_max_bytes=1000)
    assert consumer["security.protocol"] == producer["security.protocol"] == "SASL_SSL"
    assert admin_properties(kafka)["security.protocol"] == "SASL_SSL"
    assert consumer["fetch.min.bytes"] == "7"
    assert consumer["auto.offset.reset"] == "latest"
    assert "fetch.min.bytes" not in producer
    assert producer["compression.type"] == "zstd"
    assert "compression.type" not in consumer


@pytest.mark.parametrize("name", sorted(OWN))
@pytest.mark.parametrize("prefix", ["", "consumer.", "producer."])
def test_what_exactly_once_rests_on_cannot_be_overridden_and_the_error_names_the_way(name: str, prefix: str) -> None:
    kafka = KafkaConfig(properties={prefix + name: "x"})
    with pytest.raises(StreamsConfigError, match=f"{prefix}{name}.*use instead: "):
        consumer_properties(kafka, statistics_s=1)


def test_secrets_are_in_no_representation() -> None:
    kafka = KafkaConfig(properties={"sasl.password": "hunter2"})
    redis = RedisConfig(url="rediss://user:hunter2@host:6380/1")
    assert "hunter2" not in repr(kafka) + repr(redis) + redis.address
    assert redis.address == "rediss://host:6380/1"
    assert RedisConfig(url="unix:///tmp/redis.sock").address == "unix:///tmp/redis.sock"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"batch_max": 0}, "batch_max is 0"),
        ({"batch_max": 1_000_001}, "batch_max is 1000001"),
        ({"linger_s": -1}, "linger_s is -1"),
        ({"idle_s": 0}, "idle_s 0"),
        ({"dead_letter_max_bytes": 10}, "dead_letter_max_bytes is 10"),
    ],
)
def test_a_worker_refuses_settings_that_cannot_work(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(StreamsConfigError, match=named):
        WorkerConfig(**wrong)  # type: ignore[arg-type]
