"""A broker that speaks the Kafka protocol and a Redis, started in a temporary folder and gone at the end.

They serve `vigil demo` and the tests: real servers over TCP, from one wheel (the extra ``embedded``), with no container
engine, no Java and no configuration. Production is Apache Kafka and Redis.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from vigil import long_polls
from vigil.errors import EmbeddedError
from vigil.ports import HOST, free_ports

__all__ = ["EmbeddedServers"]

START_ATTEMPTS = 3  # a free port may be taken by someone else between the look and the bind
STOP_SECONDS = 5.0
POLL_SECONDS = 0.02


class EmbeddedServers:
    """Kafka and Redis on free local ports while the ``with`` block runs.

    >>> with EmbeddedServers() as servers:              # doctest: +SKIP
    ...     print(servers.bootstrap, servers.redis_url)
    127.0.0.1:40123 redis://127.0.0.1:40124/0

    Args:
        directory: where the data lives; a temporary folder, removed at the end, when not given. A given folder is kept,
            and what it holds is there again at the next start.
        start_seconds: how long both may take to answer.

    Raises:
        EmbeddedError: the extra ``embedded`` is not installed, or the servers do not answer in time.
    """

    def __init__(self, directory: Path | None = None, *, start_seconds: float = 20.0) -> None:
        self._given = directory
        self._start_seconds = start_seconds
        self._directory: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._before: subprocess.Popen[bytes] | None = None  # what stands before the broker: vigil.long_polls
        self._kafka_port = 0
        self._redis_port = 0

    @property
    def bootstrap(self) -> str:
        """Kafka's address, ``host:port``."""
        return f"{HOST}:{self._kafka_port}"

    @property
    def redis_url(self) -> str:
        """Redis' address, ``redis://host:port/0``."""
        return f"redis://{HOST}:{self._redis_port}/0"

    @property
    def pid(self) -> int:
        """Process id of the servers (one process), 0 when they do not run."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> Self:
        """Start both servers and wait until they answer."""
        binary = _binary()
        self._directory = self._given or Path(tempfile.mkdtemp(prefix="vigil-embedded-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._start_seconds
        for _ in range(START_ATTEMPTS):
            self._kafka_port, broker_port, self._redis_port = free_ports(3)
            self._launch(binary, broker_port)
            try:
                if self._wait_until_answering(deadline):
                    return self
            except BaseException:
                self.stop()
                raise
        output = self._output()
        self.stop()
        raise EmbeddedError(
            f"the embedded Kafka and Redis did not answer within {self._start_seconds:g} s: {output or 'no output'}",
            hint="name servers of your own instead: --kafka HOST:PORT --redis redis://HOST:PORT/0",
        )

    def stop(self) -> None:
        """Stop the servers (SIGTERM, then SIGKILL) and remove a temporary folder. Does nothing when they do not run."""
        self._end_all()
        directory, self._directory = self._directory, None
        if directory is not None and self._given is None:
            shutil.rmtree(directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log(self) -> Path:
        if self._directory is None:
            raise EmbeddedError("the embedded servers do not run", hint="call start() or use them in a with block")
        return self._directory / "server.log"

    def _launch(self, binary: Path, broker_port: int) -> None:
        self._end_all()
        ports = ["--kafka-port", str(broker_port), "--redis-port", str(self._redis_port)]
        command = [str(binary), "start", "--only", "kafka,redis", "--host", HOST, *ports]
        # The server's own words go to a file: its loader prints a harmless warning on older glibc.
        # A session of its own: Ctrl-C reaches the caller first, who then stops worker and servers in order.
        with self._log.open("wb") as log:
            self._process = _spawn([*command, "--data-dir", str(self._directory)], log)
            polls = [sys.executable, "-I", long_polls.__file__, str(self._kafka_port), str(broker_port)]
            self._before = _spawn(polls, log, stdin=subprocess.PIPE)

    def _end_all(self) -> None:
        before, self._before = self._before, None
        process, self._process = self._process, None
        for one in (before, process):
            if one is not None:
                _end(one)
                if one.stdin is not None:
                    one.stdin.close()

    def _wait_until_answering(self, deadline: float) -> bool:
        while time.monotonic() < deadline and self._is_running():
            if _redis_answers(self._redis_port) and _kafka_answers(self.bootstrap):
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _is_running(self) -> bool:
        return all(one is not None and one.poll() is None for one in (self._process, self._before))

    def _output(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines() if self._log.exists() else []
        return " | ".join(line for line in lines if "weak version" not in line)[-500:]


def _binary() -> Path:
    """Find the server's executable in the wheel."""
    spec = find_spec("noida_db")
    locations = spec.submodule_search_locations if spec is not None else None
    if not locations:
        raise EmbeddedError(
            "the embedded Kafka and Redis are not installed (package noida-db)",
            hint="pip install 'vigil-dwcp[embedded]', or use servers of your own: --kafka HOST:PORT --redis URL",
        )
    binary = Path(next(iter(locations))) / "noida-db"
    if not binary.is_file():
        raise EmbeddedError(
            f"package noida-db holds no server for this platform ({binary} is missing)",
            hint="use servers of your own: --kafka HOST:PORT --redis redis://HOST:PORT/0",
        )
    if not os.access(binary, os.X_OK):  # some installers drop the bit
        binary.chmod(0o755)
    return binary


def _spawn(command: list[str], log: IO[bytes], stdin: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(command, stdin=stdin, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        raise EmbeddedError(
            f"the embedded servers cannot be started: {error}",
            hint="use servers of your own: --kafka HOST:PORT --redis redis://HOST:PORT/0",
        ) from error


def _end(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _redis_answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def _kafka_answers(bootstrap: str) -> bool:
    # log_level 0: a refused connection while the server starts is no news.
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
    try:
        return bool(admin.list_topics(timeout=2.0).brokers)
    except KafkaException:
        return False
