"""One broker, a Redis, topics of the run's own and workers as deployed: for what is measured without faults."""

import shutil
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.chaos.servers import Cluster, RedisServer
from benchmarks.chaos.workers import WorkerProcesses
from benchmarks.waiting import wait_until
from streams import KafkaConfig, TopicsError, configured_topics, ensure_topics
from streams.topics import admin_client
from vigil.ports import free_ports

__all__ = ["Stage"]

ROLES: Final = ("consensus", "node", "anomalies", "dead-letters", "state")


class Stage:
    """Use as a context manager; nothing of it is left afterwards.

    Args:
        partitions: of every topic.
        settings: of the workers, by dotted name, besides addresses and topics.
    """

    def __init__(self, partitions: int, settings: Mapping[str, object] | None = None) -> None:
        self.partitions = partitions
        self._settings = dict(settings or {})
        self.directory = Path(tempfile.mkdtemp(prefix="vigil-stage-"))
        ports = free_ports(4)
        self._cluster = Cluster(self.directory, [ports[2]], ports[:3])
        self._redis = RedisServer(self.directory, ports[3])
        name = f"stage-{uuid.uuid4().hex[:6]}"
        self.kafka = KafkaConfig(
            bootstrap=self._cluster.bootstrap, group_id=name, topics={role: f"{name}.{role}" for role in ROLES}
        )
        self.workers = WorkerProcesses(self.directory, self.directory / "vigil.toml")
        self._looking = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": name, "log_level": 0})

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def committed(self) -> int:
        """Return how many records of the consensus topic the workers have committed; it is full from offset 0 on."""
        asked = [TopicPartition(self.kafka.topics["consensus"], number) for number in range(self.partitions)]
        try:
            return sum(max(0, each.offset) for each in self._looking.committed(asked, timeout=10))
        except KafkaException:  # a transaction is open over them
            return 0

    def _start(self) -> None:
        self._redis.start()
        self._cluster.start()
        wanted = [
            msgspec.structs.replace(topic, partitions=self.partitions)
            for topic in configured_topics(self.kafka)
            if topic.name in self.kafka.topics.values()
        ]

        def made() -> bool:
            try:
                ensure_topics(admin_client(self.kafka), wanted, replication=1)
            except TopicsError:  # a broker that has just started drops connections
                return False
            return True

        wait_until(made, "the topics")
        topics = self.kafka.topics
        settings: dict[str, object] = {
            "kafka.bootstrap": self.kafka.bootstrap,
            "kafka.group_id": self.kafka.group_id,
            "redis.url": self._redis.url,
            "topics.anomalies": topics["anomalies"],
            "topics.dead_letters": topics["dead-letters"],
            "state.topic": topics["state"],
            "streams.consensus.topic": topics["consensus"],
            "streams.node.topic": topics["node"],
            "log.format": "json",
            **self._settings,
        }
        lines = [f"{name} = {msgspec.json.encode(value).decode()}" for name, value in settings.items()]
        (self.directory / "vigil.toml").write_text("\n".join(lines), encoding="utf-8")

    def _end(self) -> None:
        self.workers.stop()
        self._looking.close()
        self._cluster.stop()
        self._redis.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
