"""One test's corner of the shared broker: topics, group and Redis keys of its own, and what it takes to use them."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from fleet_samples import START_MS, Telemetry, scorer
from redis import Redis

from detectors.catalogue import load_detectors
from detectors.scoring import StreamScorer
from schemas.codec import decode_anomaly
from schemas.outputs import Anomaly
from schemas.streams import CONSENSUS
from schemas.topics import ANOMALIES, DEAD_LETTERS, METRICS_CONSENSUS, STATE
from streams import KafkaConfig, RedisConfig, Worker, WorkerConfig, ensure_topics
from vigil.simulator.consensus import ConsensusFleet, simulate_consensus

PARTITIONS = 4
PATIENCE_SECONDS = 40.0

T = TypeVar("T")


def wait_until(condition: Callable[[], bool], what: str, *, timeout: float = PATIENCE_SECONDS) -> None:
    """Wait for a condition; fails the test, with what was waited for, when it does not come true in time."""
    deadline, tick = time.monotonic() + timeout, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain for: {what}"
        tick.wait(0.02)


def sharp_scorer() -> StreamScorer:
    """The shipped consensus detector, its threshold so low that every second window tells its score."""
    [detector] = load_detectors(CONSENSUS)
    detector.threshold = 1.0
    return StreamScorer(CONSENSUS, [detector])


def lively_fleet(clusters: int, steps: int, *, faults: float = 60.0) -> list[Telemetry]:
    """Simulated telemetry with noise and faults, on which the shipped detector has something to say."""
    fleet = ConsensusFleet(clusters=clusters)
    return [Telemetry(one.key, one.value) for one in simulate_consensus(fleet, steps, 7, START_MS, faults).records()]


class WorkerThread:
    """A worker on a thread; what it raises is raised by `join`."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:  # noqa: BLE001 -- raised again by join
            self.error = error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout: float = PATIENCE_SECONDS) -> None:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "the worker did not end in time"
        if self.error is not None:
            raise self.error

    def wait_for_records(self, count: int) -> None:
        wait_until(
            lambda: self.worker.monitor.records >= count or self.error is not None,
            f"{count} records committed, {self.worker.monitor.records} are",
        )
        assert self.error is None, self.error

    def wait_for_partitions(self, count: int) -> None:
        wait_until(
            lambda: len(self.worker.lifecycle.held) == count,
            f"{count} partitions, the worker has {sorted(self.worker.lifecycle.held)}",
        )


@dataclass
class Rig:
    bootstrap: str
    redis_url: str
    name: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")

    @property
    def kafka(self) -> KafkaConfig:
        names = {role: f"{self.name}.{role}" for role in ("consensus", "anomalies", "dead-letters", "state")}
        return KafkaConfig(
            bootstrap=self.bootstrap, group_id=self.name, client_id=self.name, topics=names, session_timeout_ms=6000
        )

    @property
    def redis(self) -> RedisConfig:
        return RedisConfig(url=self.redis_url, key_prefix=f"{self.name}:", ttl_s=600, flush_interval_s=0.05)

    @property
    def config(self) -> WorkerConfig:
        return WorkerConfig(http_port=None, idle_s=0.1, statistics_s=0.2)

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap})

    def topic(self, role: str) -> str:
        return self.kafka.topics[role]

    def create_topics(self, partitions: int = PARTITIONS, without: Sequence[str] = (), **changes: Any) -> None:
        wanted = {"consensus": METRICS_CONSENSUS, "anomalies": ANOMALIES, "dead-letters": DEAD_LETTERS, "state": STATE}
        topics = [
            msgspec.structs.replace(topic, name=self.topic(role), partitions=partitions, **changes.get(role, {}))
            for role, topic in wanted.items()
            if role not in without
        ]
        ensure_topics(self.admin, topics, replication=1)

    def worker(
        self,
        *,
        scorers: Sequence[StreamScorer] | None = None,
        kafka: dict[str, Any] | None = None,
        redis: RedisConfig | None = None,
        **config: Any,
    ) -> Worker:
        return Worker(
            [scorer()] if scorers is None else scorers,
            replace(self.config, **config),
            replace(self.kafka, **(kafka or {})),
            redis or self.redis,
        )

    @contextmanager
    def running(self, **options: Any) -> Iterator[WorkerThread]:
        """Run a worker; at the end of the block it is asked to stop and must do so cleanly."""
        thread = WorkerThread(self.worker(**options))
        try:
            yield thread
        finally:
            thread.worker.stop()
            thread.join()

    def produce(self, messages: Sequence[Telemetry], **options: Any) -> None:
        self.produce_to("consensus", messages, **options)

    def produce_to(self, role: str, messages: Sequence[Telemetry], **options: Any) -> None:
        # Idempotent, or a broker that does not lead a new topic yet makes the client send again, in another order.
        settings = {"enable.idempotence": True, "message.max.bytes": 16_000_000, "linger.ms": 1}
        producer = Producer({"bootstrap.servers": self.bootstrap, **settings})
        failures: list[str] = []
        for each in messages:
            producer.produce(
                self.topic(role),
                each.value,
                each.key,
                on_delivery=lambda error, _: failures.append(str(error)) if error else None,
                **options,
            )
            producer.poll(0)
        assert producer.flush(PATIENCE_SECONDS) == 0
        assert not failures, failures[0]

    def read(self, role: str, *, isolation: str = "read_committed") -> list[Message]:
        """Read all there is in a topic, from the beginning to its end."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"{self.name}.{uuid.uuid4().hex}",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "isolation.level": isolation,
                "enable.partition.eof": True,
                "fetch.message.max.bytes": 20_000_000,
            }
        )
        try:
            partitions = consumer.list_topics(self.topic(role), timeout=10).topics[self.topic(role)].partitions
            consumer.assign([TopicPartition(self.topic(role), number, 0) for number in partitions])
            found: list[Message] = []
            ended: set[int | None] = set()

            def all_ended() -> bool:
                for each in consumer.consume(1000, 0.1):
                    if each.error() is None:
                        found.append(each)
                    else:
                        ended.add(each.partition())
                return len(ended) == len(partitions)

            wait_until(all_ended, f"the end of {self.topic(role)}")
            return found
        finally:
            consumer.close()

    def anomalies(self) -> list[Anomaly]:
        return [decode_anomaly(each.value() or b"") for each in self.read("anomalies")]

    def read_through(self) -> int:
        """Return how many records the group has committed."""
        return sum(max(0, offset) for offset in self.committed().values())

    def committed(self) -> dict[int, int]:
        """Return the group's committed offset of each partition, -1001 where there is none."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name})
        try:
            wanted = [TopicPartition(self.topic("consensus"), number) for number in range(PARTITIONS)]
            return {
                each.partition: each.offset
                for each in _once_coordinated(lambda: consumer.committed(wanted, timeout=20))
            }
        finally:
            consumer.close()

    def take_all_partitions(self) -> None:
        """Join the group from outside and leave again; possible only once no other member holds a partition."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": self.name,
                "partition.assignment.strategy": "cooperative-sticky",
                "enable.auto.commit": False,
            }
        )
        consumer.subscribe([self.topic("consensus")])

        def has_all() -> bool:
            consumer.poll(0.05)
            return len(consumer.assignment()) == PARTITIONS

        try:
            wait_until(has_all, "all partitions to be free")
        finally:
            consumer.close()

    def client(self) -> "Redis":
        return Redis.from_url(self.redis_url, decode_responses=True, socket_timeout=60)  # a busy machine is no finding


def _once_coordinated(call: Callable[[], T], seconds: float = 20.0) -> T:
    """Call again while a group has no coordinator: a broker that has just started has none for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except KafkaException as error:
            waiting = {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE}
            if error.args[0].code() not in waiting or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
