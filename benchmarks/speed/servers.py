"""Kafka and Redis for a measurement: the embedded pair, or one Apache Kafka broker and a Redis."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.chaos.servers import Cluster, RedisServer, free_ports
from benchmarks.speed.telemetry import PARTITIONS
from streams import KafkaConfig, configured_topics, ensure_topics
from streams.topics import admin_client
from vigil.embedded import EmbeddedServers

__all__ = ["Servers", "own_topics", "serve"]

ROLES: Final = ("consensus", "anomalies", "dead-letters", "state")


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of Kafka and Redis, and which Kafka it is."""

    bootstrap: str
    redis_url: str
    kind: str


@contextlib.contextmanager
def serve(kind: str, bootstrap: str | None = None, redis_url: str | None = None) -> Iterator[Servers]:
    """Start what a measurement needs.

    Args:
        kind: ``apache`` (from ``../shared/kafka``) or ``embedded``.
        bootstrap: an own Kafka instead.
        redis_url: an own Redis instead.
    """
    with contextlib.ExitStack() as stack:
        if bootstrap is not None and redis_url is not None:
            yield Servers(bootstrap, redis_url, "given")
            return
        if kind == "embedded" or bootstrap is not None:
            embedded = stack.enter_context(EmbeddedServers())
            yield Servers(bootstrap or embedded.bootstrap, redis_url or embedded.redis_url, kind)
            return
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-speed-")))
        ports = free_ports(4)
        cluster = Cluster(directory, [ports[2]], ports[:3])
        stack.callback(cluster.stop)
        cluster.start()
        redis = RedisServer(directory, ports[3])
        stack.callback(redis.kill)
        redis.start()
        yield Servers(cluster.bootstrap, redis_url or f"redis://127.0.0.1:{ports[3]}/0", kind)


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
