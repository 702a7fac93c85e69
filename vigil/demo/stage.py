"""What the demo runs on: servers, topics of its own, and a worker in a process of its own."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from prometheus_client.parser import text_string_to_metric_families

import vigil
from streams.config import KafkaConfig
from streams.topics import configured_topics, ensure_topics
from vigil.doctor import quiet_admin
from vigil.embedded import EmbeddedServers
from vigil.errors import ServiceError
from vigil.ports import HOST, free_ports

__all__ = ["Stage", "WorkerProcess", "set_up"]

PARTITIONS: Final = 4
ROLES: Final = ("consensus", "node", "anomalies", "dead-letters", "state")
READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.05
HTTP_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that is up while the demo plays.

    Attributes:
        kafka: where the records go, with the demo's own topic names.
        worker: the worker process.
    """

    kafka: KafkaConfig
    worker: "WorkerProcess"


class WorkerProcess:
    """A `vigil worker`, or another service, of its own process, watched over HTTP.

    Args:
        arguments: of the command.
        environment: of the process.
        port: where it serves its metrics.
        log: file for its log.
        command: what to run instead of `vigil worker`.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        port: int,
        log: Path,
        command: Sequence[str] = ("worker",),
    ) -> None:
        self.url = f"http://{HOST}:{port}"
        """Where it serves metrics and health."""
        self._name = "the worker" if command[0] == "worker" else f"vigil {' '.join(command)}"
        self._log = log
        with log.open("wb") as out:
            # A session of its own: Ctrl-C reaches the demo, which stops the worker in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vigil", *command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait until it has partitions. Raises ``ServiceError`` when it ends or takes longer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            if self._get("/readyz") is not None:
                return
            time.sleep(POLL_SECONDS)
        raise ServiceError(f"{self._name} was not ready within {seconds:g} s: {self._last_words()}")

    def check(self) -> None:
        """Raise ``ServiceError`` when the process has ended."""
        if self._process.poll() is not None:
            raise ServiceError(f"{self._name} ended with status {self._process.returncode}: {self._last_words()}")

    def counters(self) -> dict[str, float]:
        """Read its counters, each summed over its labels; empty while it does not answer."""
        text = self._get("/metrics")
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(text or ""):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        return totals

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ask it to finish its batch and leave; kill it when it does not."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(self.url + path, timeout=HTTP_SECONDS) as answer:  # noqa: S310 - our own worker
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):  # not listening yet, or 503: not ready
            return None

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "it said nothing"


@contextmanager
def set_up(kafka: KafkaConfig | None, redis_url: str | None, worker_arguments: list[str]) -> Iterator[Stage]:
    """Start what is needed, and take it all down again at the end, whatever the end is.

    Args:
        kafka: servers of the user's own; embedded ones when ``None``. The demo's topics there are deleted at the end.
        redis_url: Redis of the user's own.
        worker_arguments: how the worker reaches the user's own servers.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-demo-")))
        name = f"vigil-demo-{secrets.token_hex(3)}"
        if kafka is None:
            servers = stack.enter_context(EmbeddedServers())
            kafka, redis_url = KafkaConfig(bootstrap=servers.bootstrap), redis_url or servers.redis_url
            environment = {key: value for key, value in os.environ.items() if not key.startswith("VIGIL_")}
        else:
            environment = dict(os.environ)
        topics = {role: f"{name}.{role}" for role in ROLES}
        kafka = replace(kafka, group_id=name, topics=topics)
        _create_topics(kafka, stack)
        [port] = free_ports(1)
        arguments = [*worker_arguments, *_worker_settings(kafka, redis_url, name, port)]
        worker = WorkerProcess(arguments, _with_path(environment), port, folder / "worker.log")
        stack.callback(worker.stop)
        worker.wait_until_ready()
        yield Stage(kafka, worker)


def _create_topics(kafka: KafkaConfig, stack: ExitStack) -> None:
    admin = quiet_admin(kafka)
    wanted = [topic for topic in configured_topics(kafka) if topic.name in kafka.topics.values()]

    def delete() -> None:
        for future in admin.delete_topics([topic.name for topic in wanted], operation_timeout=10).values():
            with contextlib.suppress(KafkaException):  # the embedded broker goes with its folder anyway
                future.result(10)
        for gone in admin.delete_consumer_groups([kafka.group_id], request_timeout=10).values():
            with contextlib.suppress(KafkaException):
                gone.result(10)

    ensure_topics(admin, wanted, partitions=PARTITIONS)
    stack.callback(delete)


def _worker_settings(kafka: KafkaConfig, redis_url: str | None, name: str, port: int) -> list[str]:
    settings = {
        "kafka.bootstrap": kafka.bootstrap,
        "kafka.group_id": kafka.group_id,
        "streams.consensus.topic": kafka.topics["consensus"],
        "streams.node.topic": kafka.topics["node"],
        "topics.anomalies": kafka.topics["anomalies"],
        "topics.dead_letters": kafka.topics["dead-letters"],
        "state.topic": kafka.topics["state"],
        "redis.key_prefix": f"{name}:",
        "redis.enabled": "true" if redis_url else "false",
        "metrics.host": HOST,
        "metrics.port": str(port),
        "metrics.enabled": "true",
        "log.format": "json",
    }
    if redis_url:
        settings["redis.url"] = redis_url
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


def _with_path(environment: Mapping[str, str]) -> dict[str, str]:
    """Let the worker import this very vigil, from a checkout too."""
    root = str(Path(vigil.__file__).resolve().parent.parent)
    known = environment.get("PYTHONPATH")
    return {**environment, "PYTHONPATH": f"{root}{os.pathsep}{known}" if known else root}
