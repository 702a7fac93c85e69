"""The servers of a chaos run: three Kafka brokers and a Redis, each a process that can be killed and started again."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from redis import Redis
from redis.exceptions import RedisError

from benchmarks.waiting import LateError, wait_until

__all__ = ["Broker", "Cluster", "RedisServer", "ServerError"]

LAUNCHER: Final = Path(__file__).resolve().parents[3] / "shared" / "kafka" / "start"
HOST: Final = "127.0.0.1"


class ServerError(LateError):
    """A server cannot be started: the message says why."""


def _replication(brokers: int) -> dict[str, str]:
    """Every record on every broker, taken when all but one have it."""
    replicas, least = str(brokers), str(max(1, brokers - 1))
    return {
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": least,
        "min.insync.replicas": least,
        "broker.session.timeout.ms": "6000",
    }


class Broker:
    """One Kafka broker (and controller) from ``../shared/kafka``.

    Args:
        number: node id, from 1.
        directory: its data.
        ports: the port for brokers and this program, the controller's, and the workers'.
        advertised: port that workers are told to use instead of theirs (the proxy's).
        voters: ``controller.quorum.voters``.
    """

    def __init__(
        self, number: int, directory: Path, ports: tuple[int, int, int], *, advertised: int, voters: str
    ) -> None:
        self.number = number
        self.port, self.workers_port = ports[0], ports[2]
        self.closed = False
        """Set when the run is over: it starts no more."""
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        names = ("PLAINTEXT", "CONTROLLER", "WORKERS")
        listeners = ",".join(f"{name}://{HOST}:{port}" for name, port in zip(names, ports, strict=True))
        self._properties = {
            **_replication(voters.count("@")),
            "node.id": str(number),
            "controller.quorum.voters": voters,
            "listeners": listeners,
            "advertised.listeners": f"PLAINTEXT://{HOST}:{ports[0]},WORKERS://{HOST}:{advertised}",
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in names),
        }

    def start(self) -> None:
        """Start the process; it goes on with the data that is there."""
        if self.closed:
            return
        command = [str(LAUNCHER), str(self._directory), str(self.port)]
        command += [f"{name}={value}" for name, value in self._properties.items()]
        environment = {"KAFKA_HEAP": "320m", "KAFKA_JIT": "1", **os.environ}
        with (self._directory.parent / f"{self._directory.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process: SIGTERM hands leadership over first, SIGKILL is a crash."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(number)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


class Cluster:
    """Three brokers.

    Args:
        directory: where their data goes.
        proxies: ports that workers are told to use, one a broker.
        ports: three for each broker.
    """

    def __init__(self, directory: Path, proxies: Sequence[int], ports: Sequence[int]) -> None:
        if not LAUNCHER.is_file() or shutil.which("java") is None:
            raise ServerError(f"no Apache Kafka at {LAUNCHER} (or no Java 17): name one of yours, --kafka HOST:PORT")
        mine = [(ports[3 * i], ports[3 * i + 1], ports[3 * i + 2]) for i in range(len(proxies))]
        voters = ",".join(f"{i + 1}@{HOST}:{each[1]}" for i, each in enumerate(mine))
        self.brokers = [
            Broker(i + 1, directory / f"kafka-{i + 1}", mine[i], advertised=proxies[i], voters=voters)
            for i in range(len(proxies))
        ]
        self.bootstrap = ",".join(f"{HOST}:{broker.port}" for broker in self.brokers)
        self._admin: AdminClient | None = None

    @property
    def admin(self) -> AdminClient:
        """A client that reaches the brokers past the proxies."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    def start(self) -> None:
        """Start all and wait until they form a cluster."""
        for broker in self.brokers:
            broker.start()
        wait_until(lambda: self._count() == len(self.brokers), "the brokers")

    def stop(self) -> None:
        """End all, for good."""
        for broker in self.brokers:
            broker.closed = True
        for broker in self.brokers:
            broker.stop(signal.SIGKILL)

    def whole(self) -> bool:
        """Tell whether all brokers are there and every replica is in sync: then one more may fail."""
        try:
            metadata = self.admin.list_topics(timeout=5)
        except KafkaException:
            return False
        parts = [part for topic in metadata.topics.values() for part in topic.partitions.values()]
        return len(metadata.brokers) == len(self.brokers) and all(
            len(part.isrs) == len(part.replicas) and part.leader > 0 for part in parts
        )

    def _count(self) -> int:
        try:
            return len(self.admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return 0


class RedisServer:
    """A redis-server without persistence: killed, it forgets everything."""

    def __init__(self, directory: Path, port: int) -> None:
        if shutil.which("redis-server") is None:
            raise ServerError("no redis-server: install Debian's redis-server")
        self.url = f"redis://{HOST}:{port}/0"
        self._command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(directory), "--bind", HOST]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, start_new_session=True)
        wait_until(self._answers, "redis-server")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    @contextlib.contextmanager
    def client(self) -> "Iterator[Redis]":
        """Give a client for the time of the block."""
        client = Redis.from_url(self.url, decode_responses=True)
        try:
            yield client
        finally:
            client.close()

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except RedisError:
                return False
