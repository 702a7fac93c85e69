"""A deployment that lives for some minutes: broker, Redis, worker, alert service, Prometheus, simulated fleets."""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from redis import Redis

from benchmarks.alert_servers import AlertmanagerServer, PrometheusServer
from benchmarks.alert_stage import AlertStage, alert_stage
from benchmarks.chaos.servers import RedisServer
from benchmarks.waiting import wait_until
from streams.kafka import client_properties
from vigil.demo.stage import WorkerProcess
from vigil.malformed import KINDS, break_record
from vigil.ports import free_ports
from vigil.publisher import Publisher
from vigil.simulator import ConsensusFleet, simulate_consensus

__all__ = ["RULES", "Live", "live"]

RULES: Final = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"
READY_SECONDS: Final = 180.0
PRODUCERS: Final = (
    ("consensus", "--nodes", "36", "--minutes", "40", "--history", "15", "--faults", "12"),
    ("node", "--nodes", "48", "--minutes", "1440", "--history", "720", "--faults", "6"),
)


@dataclass(frozen=True, slots=True)
class Live:
    """What is up.

    Attributes:
        stage: topics and settings.
        prometheus: scrapes the worker and the alert service every second.
        redis: a client that decodes.
        worker, alerts: the services.
    """

    stage: AlertStage
    prometheus: PrometheusServer
    redis: Redis
    worker: WorkerProcess
    alerts: WorkerProcess

    @property
    def prefix(self) -> str:
        """Of all keys in Redis."""
        return self.stage.settings["redis.key_prefix"]

    def opened(self) -> list[dict[str, Any]]:
        """Return the alerts that Redis has, the open ones and those that are over."""
        keys = list(self.redis.scan_iter(f"{self.prefix}alert:*"))
        return [json.loads(text) for text in self.redis.mget(keys) if text] if keys else []

    def say(self, *words: str) -> None:
        """Run `vigil alerts ...` as a person would."""
        subprocess.run(
            [sys.executable, "-m", "vigil", "alerts", *words, "--by", "kim", *_flags(self.stage)],
            check=True,
            capture_output=True,
        )

    def break_records(self) -> None:
        """Send one record of each kind that cannot be used."""
        rng = random.Random(1)
        fleet = ConsensusFleet(clusters=1, members=3, name="broken")
        records = list(simulate_consensus(fleet, len(KINDS), 1, time.time_ns() // 1_000_000).records())
        topic = self.stage.kafka.topics["consensus"]
        with Publisher(topic, client_properties(self.stage.kafka, "producer")) as publisher:
            for record, kind in zip(records, KINDS, strict=False):
                broken = break_record(record.key, record.value, kind, rng)
                publisher.send(broken.key, broken.value, node=record.key)
            publisher.flush()


def _flags(stage: AlertStage) -> list[str]:
    return [part for key, value in stage.settings.items() for part in ("--set", f"{key}={value}")]


@contextmanager
def live(producers: Sequence[Sequence[str]] = PRODUCERS) -> Iterator[Live]:
    """Start everything and wait until the fleets' history is scored; take it all down at the end.

    Raises:
        ServerMissingError, ServerError: a server is not installed: the message says which.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-dashboards-")))
        [port] = free_ports(1)
        server = RedisServer(folder, port)
        server.start()
        stack.callback(server.kill)
        alertmanager = stack.enter_context(AlertmanagerServer(folder))
        stage = stack.enter_context(alert_stage(redis_url=server.url))
        worker, alerts = stage.worker(), stage.alerts({"alerts.alertmanagers": alertmanager.url})
        for one in (worker, alerts):
            one.wait_until_ready(READY_SECONDS)
        jobs = {
            "vigil-worker": [worker.url.removeprefix("http://")],
            "vigil-alerts": [alerts.url.removeprefix("http://")],
        }
        prometheus = stack.enter_context(PrometheusServer(folder, RULES, jobs))
        redis = stack.enter_context(contextlib.closing(Redis.from_url(server.url, decode_responses=True)))
        for arguments in producers:
            stack.enter_context(_running(stage, arguments))
        made = Live(stage, prometheus, redis, worker, alerts)
        wait_until(lambda: _caught_up(worker), "the history of the fleets to be scored")
        yield made


def _caught_up(worker: WorkerProcess) -> bool:
    worker.check()
    now = worker.counters()
    return now.get("vigil_windows_scored_total", 0) > 20_000 and now.get("vigil_consumer_lag_records", 1) < 100


@contextmanager
def _running(stage: AlertStage, arguments: Sequence[str]) -> Iterator[None]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("VIGIL_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "vigil", "simulate", *arguments, *_flags(stage)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)
