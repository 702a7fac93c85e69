"""Servers that a drill can stop and start: Alertmanager, Prometheus, a receiver of posts, Apache Kafka."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from benchmarks.waiting import wait_until
from vigil.ports import HOST, free_ports, free_run

__all__ = ["AlertmanagerServer", "ApacheBroker", "HookServer", "PrometheusServer", "ServerMissingError"]

LAUNCHER: Final = Path(__file__).resolve().parents[2] / "shared" / "kafka" / "start"
DEPLOYED: Final = Path(__file__).resolve().parents[1] / "deploy" / "alertmanager" / "alertmanager.yml"
_RECEIVER: Final = """- name: nobody
    webhook_configs: [{{url: "{url}", send_resolved: true, max_alerts: 0}}]"""


class ServerMissingError(Exception):
    """A server is not installed here: the message says which and how to get it."""


class _Process(ABC):
    """A server of its own process, on a port of its own, that can be stopped and started again."""

    def __init__(self) -> None:
        [self.port] = free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Return what runs it."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it does its work."""

    def start(self) -> Self:
        """Start it and wait until it answers."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self.command(), stdout=quiet, stderr=quiet, start_new_session=True)
        wait_until(self.answers, self.command()[0])
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; does nothing when it does not run."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            process.wait(30)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class AlertmanagerServer(_Process):
    """Debian's prometheus-alertmanager, alone, with the deployed configuration; its waits are shorter.

    Args:
        directory: for its data and configuration.
        hook: where it sends notifications; nowhere when ``None``.
        interval_s: pause between two notifications of a group.
    """

    def __init__(self, directory: Path, hook: str | None = None, *, interval_s: int = 8) -> None:
        super().__init__()
        if shutil.which("prometheus-alertmanager") is None:
            raise ServerMissingError("no prometheus-alertmanager: install Debian's package of that name")
        self.url = f"http://{HOST}:{self.port}"
        self._directory = directory
        self._config = directory / "alertmanager.yml"
        self._config.write_text(_shortened(DEPLOYED.read_text(encoding="utf-8"), hook, interval_s))

    def command(self) -> list[str]:
        """Return what runs it."""
        return [
            "prometheus-alertmanager",
            f"--config.file={self._config}",
            f"--storage.path={self._directory / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--cluster.listen-address=",
        ]

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            return bool(urllib.request.urlopen(f"{self.url}/-/ready", timeout=10).status == 200)  # noqa: S310 - our own
        except OSError:
            return False

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts it has that are not over."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=60) as answer:  # noqa: S310 - our own
            return list(json.load(answer))

    def tool(self, *arguments: str) -> str:
        """Run amtool against it and return what it prints."""
        return subprocess.run(
            ["amtool", *arguments, f"--alertmanager.url={self.url}"], capture_output=True, text=True, check=True
        ).stdout


class PrometheusServer(_Process):
    """Debian's prometheus with the deployed rules.

    Args:
        directory: for its data and configuration.
        rules: folder of the rule files.
        jobs: addresses to scrape, ``host:port``, by job.
        interval_s: between two scrapes, and between two evaluations of rules.
    """

    def __init__(self, directory: Path, rules: Path, jobs: dict[str, list[str]], interval_s: float = 1.0) -> None:
        super().__init__()
        if shutil.which("prometheus") is None:
            raise ServerMissingError("no prometheus: install Debian's package of that name")
        self.url = f"http://{HOST}:{self.port}"
        self._directory, self._config = directory, directory / "prometheus.yml"
        pause = f"{round(interval_s * 1000)}ms"
        scrapes = [{"job_name": job, "static_configs": [{"targets": targets}]} for job, targets in jobs.items()]
        # JSON is YAML too.
        self._config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": pause, "evaluation_interval": pause},
                    "rule_files": [str(rules / "*.yml")],
                    "scrape_configs": scrapes,
                }
            )
        )

    def command(self) -> list[str]:
        """Return what runs it."""
        return [
            "prometheus",
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
        ]

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            return bool(urllib.request.urlopen(f"{self.url}/-/ready", timeout=2).status == 200)  # noqa: S310 - our own
        except OSError:
            return False

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Ask its API and return the data. Raises ``ValueError`` with its words when it refuses the question."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:  # noqa: S310 - our own
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{parameters}: {json.load(error).get('error', error)}") from error


def _shortened(text: str, hook: str | None, interval_s: int) -> str:
    """Put the receiver and short waits into a configuration. Raises ``ValueError`` when it says something else."""
    changes = {"group_wait: 10s": "group_wait: 1s", "group_interval: 1m": f"group_interval: {interval_s}s"}
    if hook is not None:
        changes["- name: nobody"] = _RECEIVER.format(url=hook)
    for old, new in changes.items():
        if text.count(old) != 1:
            raise ValueError(f"{DEPLOYED} does not have {old!r} once")
        text = text.replace(old, new)
    return text


class HookServer:
    """A receiver of posts that keeps them; it can refuse, take its time, and go away and come back on the same port."""

    def __init__(self) -> None:
        [self.port] = free_ports(1)
        self.url = f"http://{HOST}:{self.port}/hook"
        self.status = 200
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.times: list[float] = []
        """When each came, seconds, monotonic."""
        self.answering = threading.Event()
        """While it is not set, posts are kept and not answered."""
        self.answering.set()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> Self:
        """Begin to answer."""
        handler = type("Handler", (_Hook,), {"owner": self})
        self._server = ThreadingHTTPServer((HOST, self.port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Go away."""
        server, self._server = self._server, None
        self.answering.set()
        if server is not None:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Hook(BaseHTTPRequestHandler):
    owner: ClassVar[HookServer]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.owner.status == 200:
            self.owner.times.append(time.monotonic())
            self.owner.posts.append((dict(self.headers), body))
        self.owner.answering.wait()
        with suppress(ConnectionError):  # whoever asked may have been killed meanwhile
            self.send_response(self.owner.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's name
        """Say nothing."""


class ApacheBroker(_Process):
    """One Apache Kafka from ``../shared/kafka``; the port behind its own is the controller's."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        if not LAUNCHER.is_file() or shutil.which("java") is None:
            raise ServerMissingError(f"no Apache Kafka at {LAUNCHER}, or no Java 17: give one, --kafka HOST:PORT")
        self._directory = directory
        self.port = free_run(2)  # the second is the controller's
        os.environ.setdefault("KAFKA_HEAP", "320m")

    @property
    def bootstrap(self) -> str:
        """Its address."""
        return f"{HOST}:{self.port}"

    def command(self) -> list[str]:
        """Return what runs it."""
        return [str(LAUNCHER), str(self._directory), str(self.port)]

    def answers(self) -> bool:
        """Whether it lists its cluster."""
        try:
            socket.create_connection((HOST, self.port), timeout=0.2).close()
            admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
            return bool(admin.list_topics(timeout=5.0).brokers)
        except (OSError, KafkaException):
            return False
