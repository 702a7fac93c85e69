"""A backlog worked off, Kafka to Kafka: a vigil worker in a process of its own, as it is deployed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.speed.servers import Servers
from streams import KafkaConfig
from vigil.ports import free_ports

__all__ = ["Mark", "WorkerProcess", "peer_rate", "process_usage", "rate_between"]

LOOK_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 600.0
STAGES: Final = ("idle", "consume", "decode", "score", "state", "collect", "publish", "view", "replay")


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a process was at a moment: clock and CPU seconds, records done, resident bytes."""

    clock: float
    cpu: float
    records: int
    rss: int


def rate_between(first: Mark, last: Mark) -> dict[str, float]:
    """Return records a second by the clock and by CPU time, and microseconds of CPU a record."""
    records = last.records - first.records
    cpu = last.cpu - first.cpu
    return {
        "records": records,
        "records_per_second": records / (last.clock - first.clock),
        "records_per_cpu_second": records / cpu,
        "cpu_us_per_record": 1e6 * cpu / records,
    }


def process_usage(pid: int) -> tuple[float, int]:
    """Return CPU seconds and resident bytes of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK"), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")


class WorkerProcess:
    """`vigil worker` on the consensus stream.

    Args:
        servers: Kafka and Redis.
        kafka: topics and group.
        settings: further settings, by dotted name.
    """

    def __init__(self, servers: Servers, kafka: KafkaConfig, settings: Mapping[str, str] | None = None) -> None:
        [self._port] = free_ports(1)
        topics = kafka.topics
        chosen = {
            "kafka.bootstrap": servers.bootstrap,
            "kafka.group_id": kafka.group_id,
            "redis.url": servers.redis_url,
            "redis.key_prefix": f"{kafka.group_id}:",
            "streams.consensus.topic": topics["consensus"],
            "streams.node.enabled": "false",
            "topics.anomalies": topics["anomalies"],
            "topics.dead_letters": topics["dead-letters"],
            "state.topic": topics["state"],
            "metrics.port": str(self._port),
            **(settings or {}),
        }
        self._command = [sys.executable, "-m", "vigil", "worker"]
        self._command += [part for name, value in chosen.items() for part in ("--set", f"{name}={value}")]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 -- closed in __exit__

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        self._log.close()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("the worker was not started")
        return self._process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    def page(self) -> str:
        """Return its metrics page, empty while there is none."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric over the series that have these labels."""
        return _total(self.page(), name, labels)

    def mark(self) -> Mark:
        """Say where it is."""
        records = int(self.total("dwcp_metrics_processed_total"))
        cpu, rss = process_usage(self.pid)
        return Mark(time.monotonic(), cpu, records, rss)

    def wait_for(self, records: int) -> Mark:
        """Wait until it has committed this many records."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (mark := self.mark()).records < records:
            if self._running().poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the worker committed {mark.records} of {records} records:\n{self._tail()}")
            time.sleep(LOOK_SECONDS)
        return mark

    def stages(self) -> dict[str, float]:
        """Return wall seconds spent, by stage of the loop."""
        page = self.page()
        return {name: round(_total(page, "vigil_stage_seconds_total", {"stage": name}), 3) for name in STAGES}

    def _tail(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]


def _total(page: str, name: str, labels: Mapping[str, str]) -> float:
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = (line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(each in line for each in wanted))


def peer_rate(command: Sequence[str]) -> dict[str, float]:
    """Run a peer until it says that it has worked the backlog off.

    It prints ``{"records": N, "clock": S, "cpu": S}`` when it has seen its first records, and again at the end.

    Raises:
        RuntimeError: it ended before, or took too long; the message holds the end of what it complained about.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        alarm = threading.Timer(PATIENCE_SECONDS, process.kill)
        alarm.start()
        try:
            lines = (line for line in process.stdout or () if line.lstrip().find("{") >= 0)
            marks = [_peer_mark(json.loads(line[line.index("{") :])) for line in islice(lines, 2)]
        finally:
            alarm.cancel()
            process.kill()
            process.wait(10)
        if len(marks) != 2:
            errors.seek(0)
            raise RuntimeError(f"{command[1]} did not work its backlog off:\n{errors.read().decode()[-2000:]}")
    return rate_between(*marks)


def _peer_mark(line: Mapping[str, Any]) -> Mark:
    return Mark(float(line["clock"]), float(line["cpu"]), int(line["records"]), 0)
