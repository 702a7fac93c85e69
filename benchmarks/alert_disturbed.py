"""Disturb an alert service - kill it, take its Alertmanager away - beside one left alone, on the same anomalies."""

import json
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer
from redis import Redis

from benchmarks.alert_pages import Pages, difference
from benchmarks.alert_servers import AlertmanagerServer, ApacheBroker, HookServer
from benchmarks.alert_stage import PARTITIONS, AlertReader, AlertStage, alert_stage
from benchmarks.waiting import PATIENCE_SECONDS, LateError, wait_until
from schemas.codec import encode
from schemas.outputs import Anomaly, Contribution, Severity, Source, anomaly_id
from schemas.topics import partition_of
from streams.alerting.desk import known_alerts
from vigil.demo.stage import WorkerProcess
from vigil.embedded import EmbeddedServers
from vigil.errors import ServiceError

__all__ = ["SETTINGS", "Plan", "anomaly", "disturbed", "publish"]

_SEED: Final = 43_001
SETTINGS: Final = {
    "alerts.clock": "anomalies",
    "alerts.tick_s": "0.2",
    "alerts.linger_s": "0.05",
    "redis.ttl_s": "86400",  # what is over stays to be compared
}
"""Of an alert service without workers."""
_HOLD_BACK_MS: Final = 2_000
_KNOWN_AGAIN_SECONDS: Final = 40.0  # longest wait between two attempts, and Alertmanager's own
_READY_SECONDS: Final = 60.0
_FREE_SECONDS: Final = 5.0  # at the beginning, before the first kill


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to the disturbed service.

    Attributes:
        seconds: how long anomalies come, on the wall clock.
        kills: of the service, at random times.
        away: seconds without Alertmanager, from a quarter of the time on.
        clusters: that have troubles.
        speed: event seconds a second.
    """

    seconds: float
    kills: int
    away: float
    clusters: int = 20
    speed: float = 1.0

    def times(self) -> list[tuple[float, str]]:
        """Return what happens when, in seconds from the beginning."""
        drawn = random.Random(_SEED)
        slot = (self.seconds - _FREE_SECONDS) / max(1, self.kills)
        kills = [(_FREE_SECONDS + slot * (place + drawn.random()), "kill") for place in range(self.kills)]
        return sorted([*kills, (self.seconds / 4, "away"), (self.seconds / 4 + self.away, "back")])


@dataclass(slots=True)
class _Side:
    """One service, and whom it tells: ``pages`` is its Alertmanager's receiver, ``posts`` its own webhook."""

    stage: AlertStage
    alertmanager: AlertmanagerServer
    pages: HookServer
    posts: HookServer
    reader: AlertReader
    service: WorkerProcess | None = None
    restarts: int = 0
    """Times that it was not ready in time, or ended by itself."""

    def start(self) -> WorkerProcess:
        sinks = {"alerts.alertmanagers": self.alertmanager.url, "alerts.webhooks": self.posts.url}
        self.service = self.stage.alerts(sinks, "alerts-0")
        return self.service

    def wait_until_ready(self) -> None:
        """Wait for the service; start it again when it ends by itself, as whatever runs it does."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self.service and time.monotonic() < until:
            with suppress(ServiceError):
                self.service.wait_until_ready(_READY_SECONDS)
                return
            self.service.kill()
            self.restarts += 1
            self.start()

    def has_reached(self, event_s: float) -> bool:
        found = {} if self.service is None else self.service.counters()
        return found.get("vigil_alerts_event_time_seconds", 0.0) >= event_s

    def view(self) -> dict[str, bytes]:
        client = Redis.from_url(str(self.stage.redis_url))
        try:
            found = known_alerts(client, self.stage.settings["redis.key_prefix"])
        finally:
            client.close()
        return {one.fingerprint: encode(one) for one in found}

    def newest(self) -> dict[str, bytes]:
        return {one.alert.fingerprint: one.value for one in self.reader.told}

    def open(self) -> list[tuple[Any, ...]]:
        return sorted(
            (sorted(one["labels"].items()), sorted(one["annotations"].items()), one["startsAt"])
            for one in self.alertmanager.alerts()
        )

    def paged(self) -> Pages:
        return Pages.of(list(self.pages.posts), list(self.pages.times))

    def is_settled(self) -> bool:
        """Whether Redis has what was published, and the receiver was told of what Alertmanager has open."""
        newest = {one.alert.fingerprint: one.alert for one in self.reader.told}
        should = {one.cluster for one in newest.values() if one.status == "firing"}
        there = {one["labels"]["cluster"] for one in self.alertmanager.alerts()}
        paged = {newest[name].cluster for name, page in self.paged().last().items() if page.status == "firing"}
        return paged == there == should and self.view() == self.newest()


def troubles(plan: Plan, start_ms: int) -> list[Anomaly]:
    """Make the anomalies of clusters that have troubles at random times, which get worse, in order of event time."""
    drawn, found = random.Random(_SEED), list[Anomaly]()
    end = plan.seconds * plan.speed
    for place in range(plan.clusters):
        at = drawn.uniform(0, 60)
        while at < end - 5:
            worse, over = drawn.randrange(20, 30), drawn.randrange(45, 70)
            for second in range(int(min(over, end - at))):
                severity: Severity = "warning" if second < worse else "critical"
                at_ms = start_ms + round(1_000 * (at + second))
                found += [anomaly(f"c{place}", member, at_ms, severity) for member in range(3)]
            at += over + drawn.uniform(60, 120)
    return sorted(found, key=lambda one: (one.ts_ms, one.node_id))


def anomaly(cluster: str, member: int, at_ms: int, severity: Severity = "critical") -> Anomaly:
    """Make one anomaly of a member of a cluster."""
    node = f"{cluster}-n{member}"
    return Anomaly(
        id=anomaly_id("consensus", node, at_ms),
        ts_ms=at_ms,
        node_id=node,
        cluster=cluster,
        detector="consensus",
        model_version="drill",
        score=12.0,
        threshold=3.0,
        severity=severity,
        window_start_ms=at_ms - 29_000,
        window_end_ms=at_ms,
        contributions=(Contribution("latency_p99", 0.9, 88.0, 6.0, 8.0),),
        source=Source("dwcp.metrics.consensus", 0, 0),
    )


def publish(stage: AlertStage, log: Sequence[Anomaly]) -> None:
    """Publish anomalies as workers do, a cluster's to one partition, and wait until Kafka has them."""
    settings = {"enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5}
    producer = Producer({"bootstrap.servers": stage.kafka.bootstrap, **settings})
    topic = stage.kafka.topics["anomalies"]
    for place, one in enumerate(log):
        partition = partition_of(one.cluster, one.node_id, PARTITIONS)
        producer.produce(topic, encode(one), one.node_id.encode(), partition)
        if place % 1_000 == 0:
            producer.flush()
    producer.flush()


def disturbed(plan: Plan, bootstrap: str | None = None, *, apache: bool = True) -> dict[str, Any]:
    """Run both, and compare.

    Args:
        plan: what happens.
        bootstrap: a broker's address; one is started when ``None``.
        apache: whether that is Apache Kafka, or the embedded broker.
    """
    with _two_sides(bootstrap, apache=apache) as (alone, other):
        for side in (alone, other):
            side.start().wait_until_ready(PATIENCE_SECONDS)
        span_ms = round(plan.seconds * plan.speed * 1_000)
        log = troubles(plan, time.time_ns() // 1_000_000 + round(plan.seconds * 1_000) - span_ms)
        began = time.monotonic()
        feeding = threading.Thread(target=_feed, args=(alone.stage, log, plan.speed), daemon=True)
        feeding.start()
        away = _disturb(other, plan, began)
        feeding.join()
        until = (log[-1].ts_ms - _HOLD_BACK_MS) / 1_000
        late = ""
        try:
            for side in (alone, other):
                wait_until(partial(side.has_reached, until), "all to be decided")
                wait_until(side.is_settled, "all to be told")
        except LateError as error:  # the figures say then what is missing
            late = str(error)
        return {
            "seconds": round(time.monotonic() - began, 1),
            "kills": plan.kills,
            "restarted_besides": other.restarts,
            "seconds_without_alertmanager": round(plan.away, 1),
            "anomalies": len(log),
            "late": late,
            **_compared(alone, other, away),
        }


def _compared(alone: _Side, other: _Side, away: tuple[float, float]) -> dict[str, Any]:
    told = [one.value for one in other.reader.told]
    expected = {one.value for one in alone.reader.told}
    posts = [(headers["Idempotency-Key"], body) for headers, body in other.posts.posts]
    ends = {json.loads(body)["alert"]["fingerprint"]: key.strip('"') for key, body in posts}
    return {
        "changes_expected": len(expected),
        "changes": len(set(told)),
        "equal": set(told) == expected,
        "changes_repeated": len(told) - len(set(told)),
        "repeats_with_other_bytes": len({one.alert.id for one in other.reader.told}) != len(set(told)),
        "redis_equal": alone.view() == other.view() == other.newest(),
        "open_in_alertmanager": len(other.open()),
        "alertmanager_equal": alone.open() == other.open(),
        **difference(alone.paged(), other.paged(), away),
        "posts": len(posts),
        "posts_end_equal": ends == {one.alert.fingerprint: one.alert.id for one in other.reader.told},
        "posts_repeated": len(posts) - len({key for key, _ in posts}),
        "posts_repeated_with_other_bytes": len(set(posts)) != len({key for key, _ in posts}),
    }


def _disturb(side: _Side, plan: Plan, began: float) -> tuple[float, float]:
    """Do what the plan says; returns when Alertmanager was away, until it could know all again."""
    away = back = began
    for at, what in plan.times():
        time.sleep(max(0.0, began + at - time.monotonic()))
        if what == "kill" and side.service is not None:
            side.service.kill()
            side.start()
            side.wait_until_ready()
        elif what == "away":
            away = time.monotonic()
            side.alertmanager.stop()
        elif what == "back":
            side.alertmanager.start()
            back = time.monotonic() + _KNOWN_AGAIN_SECONDS
    return away, back


def _feed(stage: AlertStage, log: Sequence[Anomaly], speed: float) -> None:
    """Publish each anomaly when its time comes."""
    began, place = time.monotonic(), 0
    while place < len(log):
        reached = log[0].ts_ms + (time.monotonic() - began) * speed * 1_000
        due = place
        while due < len(log) and log[due].ts_ms <= reached:
            due += 1
        publish(stage, log[place:due])
        place = due
        time.sleep(0.2)


@contextmanager
def _two_sides(bootstrap: str | None, *, apache: bool) -> Iterator[tuple[_Side, _Side]]:
    """Start Kafka, Redis, and for each of two services an Alertmanager and receivers; both read the same anomalies."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-drill-")))
        servers = stack.enter_context(EmbeddedServers())
        if bootstrap is None and apache:
            bootstrap = stack.enter_context(ApacheBroker(folder / "kafka")).bootstrap
        alone, other = (
            _side(stack, folder / name, bootstrap or servers.bootstrap, servers) for name in ("alone", "other")
        )
        other.stage.settings |= {"topics.anomalies": alone.stage.kafka.topics["anomalies"]}
        yield alone, other


def _side(stack: ExitStack, folder: Path, bootstrap: str, servers: EmbeddedServers) -> _Side:
    folder.mkdir()
    pages, posts = stack.enter_context(HookServer()), stack.enter_context(HookServer())
    alertmanager = stack.enter_context(AlertmanagerServer(folder, pages.url, interval_s=2))
    stage = stack.enter_context(alert_stage(bootstrap, servers.redis_url))
    stage.settings |= SETTINGS
    reader = stack.enter_context(AlertReader(stage.kafka).running())
    return _Side(stage, alertmanager, pages, posts, reader)
