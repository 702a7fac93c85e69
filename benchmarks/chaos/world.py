"""Everything a run needs, started together and ended together: brokers, proxies, Redis, topics, workers, telemetry."""

import json
import shutil
import tempfile
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.chaos.feed import Feed
from benchmarks.chaos.network import HOST, Network
from benchmarks.chaos.servers import Cluster, RedisServer
from benchmarks.chaos.verdicts import Comparison, Expected, compare, read_topic, undisturbed
from benchmarks.chaos.workers import WorkerProcesses
from benchmarks.waiting import wait_until
from detectors.artefacts import shipped
from detectors.catalogue import load_detectors
from detectors.consensus.detector import ConsensusDetector
from detectors.scoring import StreamScorer
from schemas.streams import CONSENSUS
from streams import KafkaConfig, TopicsError, configured_topics, ensure_topics
from vigil.ports import free_ports

__all__ = ["Setup", "World"]

BROKERS: Final = 3
ROLES: Final = ("consensus", "anomalies", "dead-letters", "state")
SHARP: Final = 1.0  # a score that every second normal window passes: verdicts enough that nothing can hide
AT_LEAST_ONCE: Final = ("-m", "benchmarks.chaos.at_least_once")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a run is like.

    Attributes:
        kafka: an Apache Kafka of yours, ``None`` to start brokers.
        brokers: how many to start.
        workers: how many at the start.
        partitions: of every topic.
        session_ms: the group's session time-out.
        clusters: of the simulated fleet.
        steps_per_s: how fast its time passes.
        seed: of the telemetry and the faults.
        transactions: off, workers publish and commit at least once.
        keep: folder for data and logs, kept; a temporary one, removed, when ``None``.
    """

    kafka: str | None = None
    brokers: int = BROKERS
    workers: int = 3
    partitions: int = 8
    session_ms: int = 6_000
    clusters: int = 10
    steps_per_s: float = 12.0
    seed: int = 1
    transactions: bool = True
    keep: Path | None = None


class World:
    """Use as a context manager.

    Args:
        setup: what the run is like.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.directory = setup.keep or Path(tempfile.mkdtemp(prefix="vigil-chaos-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        ports = free_ports(4 * setup.brokers + 1)
        self.redis = RedisServer(self.directory, ports[0])
        self.cluster: Cluster | None = None
        self.network: Network | None = None
        if setup.kafka is None:
            proxies, own = ports[1 : 1 + setup.brokers], ports[1 + setup.brokers :]
            self.cluster = Cluster(self.directory, proxies, own)
            routes = {port: broker.workers_port for port, broker in zip(proxies, self.cluster.brokers, strict=True)}
            self.network = Network(routes)
            self.bootstrap, self._workers_bootstrap = (
                self.cluster.bootstrap,
                ",".join(f"{HOST}:{port}" for port in proxies),
            )
        else:
            self.bootstrap = self._workers_bootstrap = setup.kafka
        name = f"chaos-{uuid.uuid4().hex[:6]}"
        self.kafka = KafkaConfig(
            bootstrap=self.bootstrap, group_id=name, topics={role: f"{name}.{role}" for role in ROLES}
        )
        self.admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        self._looking = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": name,
                "isolation.level": "read_uncommitted",
                "log_level": 0,
            }
        )
        self._artefacts = self.directory / "artefacts"
        config = self.directory / "vigil.toml"
        config.write_text(self._config(), encoding="utf-8")
        command = ("-m", "vigil", "worker") if setup.transactions else AT_LEAST_ONCE
        self.workers = WorkerProcesses(self.directory, config, command)
        self.feed = Feed(
            self.bootstrap,
            self.kafka.topics["consensus"],
            clusters=setup.clusters,
            steps_per_s=setup.steps_per_s,
            seed=setup.seed,
        )

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

    def committed(self) -> dict[int, int]:
        """Return the group's offset of each partition as the group has it now, 0 where there is none."""
        topic = self.kafka.topics["consensus"]
        asked = [TopicPartition(topic, number) for number in range(self.setup.partitions)]
        return {each.partition: max(0, each.offset) for each in self._looking.committed(asked, timeout=10)}

    def offsets(self) -> dict[int, int]:
        """Return the same, however long Kafka takes to answer."""
        found: dict[int, int] = {}

        def answered() -> bool:
            try:
                found.update(self.committed())
            except KafkaException:
                return False
            return True

        wait_until(answered, "the group's offsets")
        return found

    def beyond(self, before: Mapping[int, int], partitions: Collection[int]) -> bool:
        """Tell whether these partitions have gone on."""
        try:
            now = self.committed()
        except KafkaException:
            return False
        return all(now[number] > before[number] for number in partitions)

    def partitions_of(self, name: str) -> set[int]:
        """Return the partitions that a worker holds, as it says."""
        answer = self.workers.ready(name)
        return {int(each.rpartition("[")[2].rstrip("]")) for each in answer.get("partitions", [])}

    def calm(self) -> None:
        """Wait until all brokers are whole and every partition goes on."""
        if self.cluster is not None:
            wait_until(self.cluster.whole, "the brokers to be whole")
        before = self.offsets()
        wait_until(lambda: self.beyond(before, before), "every partition to go on")

    def settle(self) -> float:
        """Stop the telemetry and wait until all of it is worked off; returns the seconds that took."""
        self.feed.stop()
        log = read_topic(self.bootstrap, self.kafka.topics["consensus"], "read_uncommitted")
        ends = dict.fromkeys(range(self.setup.partitions), 0)
        for message in log:
            ends[int(message.partition() or 0)] = max(ends[int(message.partition() or 0)], (message.offset() or 0) + 1)

        def done() -> bool:
            try:
                committed = self.committed()
            except KafkaException:
                return False
            return all(committed[number] >= end for number, end in ends.items())

        return wait_until(done, "the workers to catch up")

    def check(self) -> tuple[Expected, Comparison]:
        """Compare everything with an undisturbed run; the workers have ended."""
        topics = self.kafka.topics
        log = read_topic(self.bootstrap, topics["consensus"], "read_uncommitted")
        scorer = StreamScorer(CONSENSUS, load_detectors(CONSENSUS, (), self._artefacts))
        expected = undisturbed(log, topics["consensus"], scorer)
        with self.redis.client() as redis:
            published = read_topic(self.bootstrap, topics["anomalies"])
            return expected, compare(expected, published, read_topic(self.bootstrap, topics["dead-letters"]), redis)

    def _start(self) -> None:
        sharpened(self._artefacts / "consensus")
        self.redis.start()
        if self.cluster is not None and self.network is not None:
            self.network.start()
            self.cluster.start()
        topics = [each for each in configured_topics(self.kafka) if each.name in self.kafka.topics.values()]
        wanted = [msgspec.structs.replace(each, partitions=self.setup.partitions) for each in topics]

        def made() -> bool:
            try:
                ensure_topics(self.admin, wanted, replication=self.setup.brokers if self.cluster is not None else -1)
            except TopicsError:  # a cluster that has just formed drops connections
                return False
            return True

        wait_until(made, "the topics")
        if self.cluster is not None:
            wait_until(self.cluster.whole, "all replicas in sync")
        self.workers.start([f"worker-{number}" for number in range(self.setup.workers)])
        self.feed.start()
        wait_until(self._begun, "every partition's first commit")

    def _begun(self) -> bool:
        if self.feed.error is not None:
            raise self.feed.error
        try:
            return min(self.committed().values()) > 0
        except KafkaException:
            return False

    def _end(self) -> None:
        self.workers.stop()
        if self.network is not None:
            self.network.stop()
        if self.cluster is not None:
            self.cluster.stop()
        else:
            self.admin.delete_topics(list(self.kafka.topics.values()))
        self.redis.kill()
        if self.setup.keep is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _config(self) -> str:
        sections: dict[str, dict[str, object]] = {
            "kafka": {
                "bootstrap": self._workers_bootstrap,
                "group_id": self.kafka.group_id,
                "session_timeout_ms": self.setup.session_ms,
                "max_poll_interval_ms": 120_000,
            },
            "redis": {"url": self.redis.url},
            "topics": {
                "anomalies": self.kafka.topics["anomalies"],
                "dead_letters": self.kafka.topics["dead-letters"],
            },
            "state": {"topic": self.kafka.topics["state"]},
            "streams.consensus": {"topic": self.kafka.topics["consensus"], "artefacts": str(self._artefacts)},
            "streams.node": {"enabled": False},
            "log": {"format": "json"},
        }
        return "\n".join(_section(name, values) for name, values in sections.items())


def sharpened(directory: Path) -> None:
    """Write the shipped consensus detector with a threshold so low that it has something to say all the time."""
    detector = ConsensusDetector.load(shipped("consensus"))
    metadata = detector.metadata
    parameters = {**metadata.parameters, "levels": [2 * SHARP, 4 * SHARP], "sudden_threshold": SHARP}
    threshold = msgspec.structs.replace(metadata.threshold, value=SHARP, method="set low for a chaos run")
    detector.metadata = msgspec.structs.replace(metadata, parameters=parameters, threshold=threshold)
    directory.mkdir(parents=True)
    detector.save(directory)


def _section(name: str, values: "dict[str, object]") -> str:
    return "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items()), ""])
