"""What an alert benchmark runs on: a broker, topics of its own, a real worker, a real alert service, a reader."""

import contextlib
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.outputs import Alert
from streams.config import KafkaConfig
from streams.topics import configured_topics, ensure_topics
from vigil.demo.stage import WorkerProcess
from vigil.doctor import quiet_admin
from vigil.embedded import EmbeddedServers
from vigil.ports import HOST, free_ports

__all__ = ["AlertReader", "AlertStage", "Told", "alert_stage"]

PARTITIONS: Final = 4
ROLES: Final = (
    "consensus",
    "node",
    "anomalies",
    "dead-letters",
    "state",
    "alerts",
    "alerts-state",
    "alerts-controls",
)
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """One record of the alerts topic: what it says, its bytes, and when it was read (seconds, monotonic)."""

    alert: Alert
    value: bytes
    at: float


@dataclass(slots=True)
class AlertReader:
    """Reads the alerts topic from its beginning on a thread of its own."""

    kafka: KafkaConfig
    told: list[Told] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator["AlertReader"]:
        """Read while the block runs."""
        thread = threading.Thread(target=self._run, name="alert-reader", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": "alert-reader", "enable.auto.commit": False}
        )
        decoder, topic = msgspec.json.Decoder(Alert), self.kafka.topics["alerts"]
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        while not self._stop.is_set():
            message = consumer.poll(_POLL_SECONDS)
            if message is not None and message.error() is None and (value := message.value()) is not None:
                self.told.append(Told(decoder.decode(value), bytes(value), time.monotonic()))
        consumer.close()

    def changes(self) -> list[Alert]:
        """Return each change once, in the order of event time."""
        first = {one.alert.id: one.alert for one in reversed(self.told)}
        return sorted(first.values(), key=lambda one: (one.updated_ms, one.fingerprint))


@dataclass(slots=True)
class AlertStage:
    """Everything that is up.

    Attributes:
        kafka: where, with topics of this stage's own.
        redis_url: of a Redis, ``None`` without.
        folder: for logs.
        settings: of both services, by dotted name.
    """

    kafka: KafkaConfig
    redis_url: str | None
    folder: Path
    settings: dict[str, str]
    running: list[WorkerProcess] = field(default_factory=list)
    """What was started; stopped at the end, whatever the end is."""

    def worker(self) -> WorkerProcess:
        """Start a worker."""
        return self._start("worker", ("worker",), "metrics.port", {})

    def alerts(self, extra: Mapping[str, str] | None = None, name: str | None = None) -> WorkerProcess:
        """Start an alert service; only one with a name may be killed, the embedded broker never lets go of others."""
        stable = () if name is None else ("--name", name)
        log = f"alerts-{len(list(self.folder.iterdir()))}"
        return self._start(log, ("alerts", "run", *stable), "alerts.port", dict(extra or {}))

    def _start(self, name: str, command: tuple[str, ...], port_name: str, extra: dict[str, str]) -> WorkerProcess:
        [port] = free_ports(1)
        settings = {**self.settings, port_name: str(port), **extra}
        arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VIGIL_")}
        started = WorkerProcess(arguments, environment, port, self.folder / f"{name}.log", command)
        self.running.append(started)
        return started


@contextmanager
def alert_stage(bootstrap: str | None = None, redis_url: str | None = None) -> Iterator[AlertStage]:
    """Make topics, on a broker started here or at ``bootstrap``, and remove them at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-alerts-")))
        if bootstrap is None:
            servers = stack.enter_context(EmbeddedServers())
            bootstrap, redis_url = servers.bootstrap, redis_url or servers.redis_url
        name = f"vigil-alerts-{secrets.token_hex(3)}"
        topics = {role: f"{name}.{role}" for role in ROLES}
        kafka = KafkaConfig(bootstrap=bootstrap, group_id=name, topics=topics)
        admin = quiet_admin(kafka)
        wanted = [topic for topic in configured_topics(kafka) if topic.name in topics.values()]
        ensure_topics(admin, wanted, partitions=PARTITIONS)
        stack.callback(_delete, kafka, list(topics.values()))
        stage = AlertStage(kafka, redis_url, folder, _settings(kafka, redis_url, name))
        stack.callback(lambda: [one.stop() for one in stage.running])
        yield stage


def _delete(kafka: KafkaConfig, topics: list[str]) -> None:
    for future in quiet_admin(kafka).delete_topics(topics, operation_timeout=10).values():
        with contextlib.suppress(KafkaException):  # the embedded broker goes with its folder anyway
            future.result(10)


def _settings(kafka: KafkaConfig, redis_url: str | None, name: str) -> dict[str, str]:
    settings = {
        "kafka.bootstrap": kafka.bootstrap,
        "kafka.group_id": name,
        "alerts.group_id": f"{name}-alerts",
        "streams.consensus.topic": kafka.topics["consensus"],
        "streams.node.topic": kafka.topics["node"],
        "topics.anomalies": kafka.topics["anomalies"],
        "topics.dead_letters": kafka.topics["dead-letters"],
        "topics.alerts": kafka.topics["alerts"],
        "state.topic": kafka.topics["state"],
        "alerts.state_topic": kafka.topics["alerts-state"],
        "alerts.controls_topic": kafka.topics["alerts-controls"],
        "redis.enabled": "true" if redis_url else "false",
        "redis.key_prefix": f"{name}:",
        "metrics.host": HOST,
        "log.format": "json",
    }
    return settings | ({"redis.url": redis_url} if redis_url else {})
