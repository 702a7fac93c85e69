"""librdkafka properties of the worker's clients: what exactly-once rests on is ours, everything else may be set."""

from collections.abc import Mapping

from streams.config import KafkaConfig
from streams.errors import StreamsConfigError

__all__ = ["NOT_SHARED", "admin_properties", "client_properties", "consumer_properties", "producer_properties"]

Properties = dict[str, str | int | float | bool]

# Setting one of these would break exactly-once or membership; each names the setting that stands for it.
OWN: Mapping[str, str] = {
    "bootstrap.servers": "kafka.bootstrap",
    "metadata.broker.list": "kafka.bootstrap",
    "group.id": "kafka.group_id",
    "group.instance.id": "kafka.group_instance_id",
    "client.id": "kafka.client_id",
    "session.timeout.ms": "kafka.session_timeout_ms",
    "max.poll.interval.ms": "kafka.max_poll_interval_ms",
    "transaction.timeout.ms": "kafka.transaction_timeout_ms",
    "transactional.id": "kafka.group_instance_id",
    "statistics.interval.ms": "worker.statistics_s",
    "enable.auto.commit": "none: offsets are committed in the transaction",
    "enable.auto.offset.store": "none: offsets are committed in the transaction",
    "partition.assignment.strategy": "none: partitions move one by one (cooperative-sticky)",
    "isolation.level": "none: only committed records are read",
    "enable.idempotence": "none: transactions need it",
}

SIDES = ("consumer.", "producer.")

# A second client beside the group's member must not look like a second member of the same name.
NOT_SHARED = frozenset({"group.instance.id", "statistics.interval.ms"})


def client_properties(kafka: KafkaConfig, side: str) -> Properties:
    """Properties common to all clients, with the user's for this side (``consumer``, ``producer`` or ``admin``).

    Raises:
        StreamsConfigError: the user set a property that is vigil's own.
    """
    given: Properties = {}
    for name, value in kafka.properties.items():
        prefix = next((one for one in SIDES if name.startswith(one)), "")
        bare = name.removeprefix(prefix)
        if bare in OWN:
            raise StreamsConfigError(f"kafka property {name!r} cannot be passed through; use instead: {OWN[bare]}")
        if prefix in ("", f"{side}."):
            given[bare] = value
    return {"bootstrap.servers": kafka.bootstrap, "client.id": kafka.client_id, **given}


def consumer_properties(kafka: KafkaConfig, *, statistics_s: float) -> Properties:
    """Properties of the group member: reads committed records only, and never commits on its own."""
    properties: Properties = {
        # Whoever joins a new group wants the telemetry that is there; a worker with a committed offset ignores it.
        "auto.offset.reset": "earliest",
        # A caught-up consumer gets records the moment they arrive; a batch is gathered by linger_s, not by the broker.
        "fetch.wait.max.ms": 100,
        # librdkafka would otherwise hold up to 64 MB in front of a worker that is behind, and look again after a second
        # when that is full. A little, looked at often, is faster: a batch is then of a few partitions, several steps of
        # each node, and what was fetched is still in the processor's cache.
        "queued.max.messages.kbytes": 4_096,
        "queued.min.messages": 50_000,
        "fetch.queue.backoff.ms": 20,
        "topic.metadata.refresh.interval.ms": 30_000,
        "allow.auto.create.topics": False,
        # Members learn of a rebalance by their heartbeats: a takeover waits for the slowest.
        "heartbeat.interval.ms": max(1, min(1_000, kafka.session_timeout_ms // 4)),
    }
    properties.update(client_properties(kafka, "consumer"))
    properties.update(
        {
            "group.id": kafka.group_id,
            "session.timeout.ms": kafka.session_timeout_ms,
            "max.poll.interval.ms": kafka.max_poll_interval_ms,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "statistics.interval.ms": int(statistics_s * 1000),
        }
    )
    if kafka.group_instance_id is not None:
        properties["group.instance.id"] = kafka.group_instance_id
    return properties


def producer_properties(kafka: KafkaConfig, *, transactional_id: str, message_max_bytes: int) -> Properties:
    """Properties of the transactional producer.

    Args:
        kafka: where and as whom.
        transactional_id: stable name; the newest producer under it fences all earlier ones.
        message_max_bytes: largest record that must leave (a dead letter with its key and headers).
    """
    properties: Properties = {
        "compression.type": "lz4",
        # The transaction flushes: waiting for more records to arrive would only delay the commit.
        "linger.ms": 0,
        "message.max.bytes": message_max_bytes,
        "queue.buffering.max.kbytes": max(65_536, 4 * message_max_bytes // 1024),
    }
    properties.update(client_properties(kafka, "producer"))
    properties.update(
        {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": kafka.transaction_timeout_ms,
        }
    )
    return properties


def admin_properties(kafka: KafkaConfig) -> Properties:
    """Properties of the client that creates and describes topics."""
    return client_properties(kafka, "admin")
