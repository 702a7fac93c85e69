"""Topics of a measurement's own."""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Final

import msgspec

from streams import KafkaConfig, configured_topics, ensure_topics
from streams.topics import admin_client

__all__ = ["PARTITIONS", "own_topics"]

PARTITIONS: Final = 12
ROLES: Final = ("consensus", "anomalies", "dead-letters", "state")


@contextlib.contextmanager
def own_topics(bootstrap: str, partitions: int = PARTITIONS) -> Iterator[KafkaConfig]:
    """Make topics for one measurement, and delete them at its end."""
    name = f"vigil-speed-{uuid.uuid4().hex[:6]}"
    kafka = KafkaConfig(bootstrap=bootstrap, group_id=name, topics={role: f"{name}.{role}" for role in ROLES})
    admin = admin_client(kafka)
    wanted = [
        msgspec.structs.replace(topic, partitions=partitions)
        for topic in configured_topics(kafka)
        if topic.name in kafka.topics.values()
    ]
    ensure_topics(admin, wanted, replication=1)
    try:
        yield kafka
    finally:
        for done in admin.delete_topics(list(kafka.topics.values())).values():
            done.result(30)
