"""Create the topics with the settings they need; run it as often as you like."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from schemas import topics as defaults
from schemas.topics import Topic
from streams.config import KafkaConfig
from streams.errors import TopicsError
from streams.kafka import admin_properties

__all__ = [
    "TOPIC_ROLES",
    "TopicsReport",
    "admin_client",
    "cleanup_policies",
    "configured_topics",
    "ensure_topics",
    "fitted",
    "paired",
]

METADATA_PAUSE_SECONDS = 0.05

# Short names under which the settings rename topics.
TOPIC_ROLES = MappingProxyType(
    {
        "consensus": defaults.METRICS_CONSENSUS,
        "node": defaults.METRICS_NODE,
        "link": defaults.METRICS_LINK,
        "compression": defaults.TELEMETRY_COMPRESSION,
        "incidents": defaults.INCIDENTS,
        "anomalies": defaults.ANOMALIES,
        "alerts": defaults.ALERTS,
        "forecasts": defaults.FORECASTS_BANDWIDTH,
        "decisions": defaults.DECISIONS_COMPRESSION,
        "dead-letters": defaults.DEAD_LETTERS,
        "state": defaults.STATE,
        "alerts-state": defaults.ALERTS_STATE,
        "alerts-controls": defaults.ALERTS_CONTROLS,
    }
)


@dataclass(frozen=True, slots=True)
class TopicsReport:
    """What ``ensure_topics`` found and did.

    Attributes:
        created: names of topics that were not there.
        existing: names of topics that were there as wanted.
        differing: by name of a topic that was there otherwise, one sentence a setting; nothing of it was changed, since
            that may cost data.
    """

    created: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    differing: dict[str, tuple[str, ...]] = field(default_factory=dict)


def admin_client(kafka: KafkaConfig) -> AdminClient:
    """Make the client that ``ensure_topics`` takes."""
    return AdminClient(admin_properties(kafka))


def configured_topics(kafka: KafkaConfig) -> tuple[Topic, ...]:
    """All topics, under the names that the settings give them."""
    return tuple(
        msgspec.structs.replace(topic, name=kafka.topic(role, topic.name)) for role, topic in TOPIC_ROLES.items()
    )


def paired(topics: Sequence[Topic], state: str, anomalies: str, existing: int) -> list[Topic]:
    """Give the state of alerts as many partitions as the anomalies have, or will have.

    Args:
        topics: with both among them.
        state: name of the state of alerts.
        anomalies: name of the anomalies.
        existing: partitions of the anomalies; 0 when they are not there yet.
    """
    count = existing or next(each.partitions for each in topics if each.name == anomalies)
    return [msgspec.structs.replace(each, partitions=count) if each.name == state else each for each in topics]


def fitted(topics: Sequence[Topic], state: str, sources: Iterable[int]) -> list[Topic]:
    """Give the state topic a partition for each one of the topics whose windows it keeps.

    Args:
        topics: with the state topic among them.
        state: its name.
        sources: numbers of partitions of the topics that are read.
    """
    most = max(sources, default=0)
    return [
        msgspec.structs.replace(each, partitions=max(each.partitions, most)) if each.name == state else each
        for each in topics
    ]


def ensure_topics(
    admin: AdminClient,
    topics: Sequence[Topic],
    *,
    replication: int = -1,
    partitions: int | None = None,
    timeout: float = 30.0,
) -> TopicsReport:
    """Create those that do not exist, and compare the others.

    Args:
        admin: client of the cluster.
        topics: what should exist.
        replication: copies of each partition; -1 is the cluster's default.
        partitions: number of partitions of every topic, instead of each one's own.
        timeout: seconds to wait for the cluster.

    Raises:
        TopicsError: the cluster does not answer, or refuses.
    """
    wanted = [each if partitions is None else msgspec.structs.replace(each, partitions=partitions) for each in topics]
    created = _create(admin, wanted, replication, timeout)
    partitions_of = _partitions(admin, [topic.name for topic in wanted], timeout)
    rest = [topic for topic in wanted if topic.name not in created]
    differing = _differences(admin, rest, partitions_of, timeout) if rest else {}
    existing = tuple(topic.name for topic in rest if topic.name not in differing)
    return TopicsReport(tuple(created), existing, differing)


def cleanup_policies(admin: AdminClient, names: Sequence[str], timeout: float) -> dict[str, str]:
    """Return the brokers' `cleanup.policy` of topics that exist; one that may not be looked at is left out."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    found: dict[str, str] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=timeout).items() if names else ():
        try:
            entry = future.result(timeout=timeout + 5).get("cleanup.policy")
        except KafkaException:
            continue  # a user that may not describe a topic may still use it
        if entry is not None:
            found[resource.name] = entry.value
    return found


def topic_settings(topic: Topic) -> dict[str, str]:
    """Return the broker's settings of a topic, by Kafka's names."""
    settings = {
        "retention.ms": str(topic.retention_ms),
        "cleanup.policy": "compact" if topic.compact else "delete",
        "max.message.bytes": str(topic.max_message_bytes),
    }
    if topic.segment_bytes is not None:
        settings["segment.bytes"] = str(topic.segment_bytes)
    return settings


def _create(admin: AdminClient, topics: Sequence[Topic], replication: int, timeout: float) -> list[str]:
    new = [NewTopic(topic.name, topic.partitions, replication, config=topic_settings(topic)) for topic in topics]
    created = []
    for name, future in admin.create_topics(new, operation_timeout=timeout, request_timeout=timeout).items():
        try:
            future.result(timeout=timeout + 5)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TopicsError(f"topic {name} cannot be created: {error.args[0].str()}") from error
        else:
            created.append(name)
    return created


def _partitions(admin: AdminClient, names: Sequence[str], timeout: float) -> dict[str, int]:
    """Count each topic's partitions; waits until the brokers know them all, a moment after they are created."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            known = admin.list_topics(timeout=timeout).topics
        except KafkaException as error:
            raise TopicsError(f"the topics cannot be listed: {error.args[0].str()}") from error
        found = {name: len(known[name].partitions) for name in names if name in known}
        if all(found.get(name) for name in names):
            return found
        if time.monotonic() >= deadline:
            missing = [name for name in names if not found.get(name)]
            raise TopicsError(f"created, but not known to the brokers within {timeout:g} s: {', '.join(missing)}")
        time.sleep(METADATA_PAUSE_SECONDS)


def _differences(
    admin: AdminClient, topics: Sequence[Topic], partitions: Mapping[str, int], timeout: float
) -> dict[str, tuple[str, ...]]:
    try:
        resources = [ConfigResource(ConfigResource.Type.TOPIC, topic.name) for topic in topics]
        described = admin.describe_configs(resources, request_timeout=timeout)
        settings = {resource.name: future.result(timeout=timeout + 5) for resource, future in described.items()}
    except KafkaException as error:
        raise TopicsError(f"the topics cannot be described: {error.args[0].str()}") from error
    differing: dict[str, tuple[str, ...]] = {}
    for topic in topics:
        sentences = []
        if partitions[topic.name] != topic.partitions:
            sentences.append(f"has {partitions[topic.name]} partitions, wanted {topic.partitions}")
        for name, value in topic_settings(topic).items():
            entry = settings[topic.name].get(name)
            if entry is not None and entry.value != value:
                sentences.append(f"{name} is {entry.value}, wanted {value}")
        if sentences:
            differing[topic.name] = tuple(sentences)
    return differing
