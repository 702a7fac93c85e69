"""An Apache Kafka for the tests, from the folder beside the repository."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from vigil.ports import free_run

LAUNCHER = Path(__file__).resolve().parents[2].parent / "shared" / "kafka" / "start"
START_SECONDS = 60.0


class ApacheKafka:
    """One broker; `stop` and `start` again go on with the same data and port.

    `environment` is the launcher's, `client` what a client needs to ask whether it answers.
    """

    def __init__(self, directory: Path, **properties: str) -> None:
        if not LAUNCHER.is_file():
            pytest.skip(f"no Apache Kafka beside the repository ({LAUNCHER} is missing); give one: --kafka HOST:PORT")
        if shutil.which("java") is None:
            pytest.skip("Apache Kafka needs Java 17 (Debian: openjdk-17-jre-headless); or give one: --kafka HOST:PORT")
        self._directory = directory
        self.properties = properties
        self.environment: dict[str, str] = {}
        self.client: dict[str, str] = {}
        self.port = free_run(2)  # the second is the controller's
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        command = [str(LAUNCHER), str(self._directory), str(self.port)]
        command += [f"{name}={value}" for name, value in self.properties.items()]
        environment = {"KAFKA_HEAP": "320m", **os.environ, **self.environment}
        with (self._directory.parent / f"{self._directory.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            self._wait(self._process)
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        return self

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert process.poll() is None, f"Apache Kafka ended: see {self._directory}.log"
            assert time.monotonic() < deadline, "Apache Kafka does not answer"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            process.wait(30)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=0.2).close()
            admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, **self.client})
            return bool(admin.list_topics(timeout=5.0).brokers)
        except (OSError, KafkaException):
            return False
