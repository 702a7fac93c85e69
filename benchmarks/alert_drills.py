"""What faults and load do to the alert service: ``python -m benchmarks.alert_drills [crashes|outage|storm ...]``.

``crashes``: killed again and again while anomalies come; what it published is compared with an undisturbed run, byte
for byte. ``outage``: Alertmanager goes away and comes back. ``storm``: 100,000 anomalies of one second at once.
Crashes need Apache Kafka (``--kafka HOST:PORT``, or the one beside the repository), Alertmanager is Debian's.
"""

import argparse
import json
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer
from redis import Redis

from benchmarks.alert_servers import AlertmanagerServer, ApacheBroker, HookServer
from benchmarks.alert_stage import PARTITIONS, AlertReader, AlertStage, alert_stage
from benchmarks.alert_trials import START_MS, storm
from benchmarks.waiting import PATIENCE_SECONDS, LateError, wait_until
from detectors.alerts import AlertPlane
from detectors.evaluation.alerts import alerts_of
from schemas.codec import encode
from schemas.outputs import Alert, Anomaly, Contribution, Source, anomaly_id
from schemas.topics import partition_of
from streams.alerting.desk import known_alerts
from vigil.demo.stage import WorkerProcess
from vigil.embedded import EmbeddedServers

_SEED: Final = 43_001
_STORM: Final = 100_000
_SETTINGS: Final = {"alerts.clock": "anomalies", "alerts.tick_s": "0.2", "alerts.linger_s": "0.05"}
_LATER_MS: Final = 3_600_000


def troubles(clusters: int, minutes: int, seed: int) -> list[Anomaly]:
    """Make the anomalies of clusters that have short troubles at random times, in order of event time."""
    drawn = random.Random(seed)
    found = []
    for place in range(clusters):
        at = START_MS + drawn.randrange(30_000)
        while at < START_MS + minutes * 60_000:
            seconds = range(drawn.randrange(3, 12))
            found += [_anomaly(f"c{place}", member, at + 1_000 * one) for one in seconds for member in range(3)]
            at += drawn.randrange(20_000, 150_000)
    return sorted(found, key=lambda one: (one.ts_ms, one.node_id))


def crashes(kills: int, bootstrap: str | None) -> dict[str, Any]:
    """Kill the service ``kills`` times while anomalies come, and compare with an undisturbed run."""
    log = troubles(20, 20, _SEED)
    expected = {encode(change) for change in _undisturbed(log)}
    with _world(bootstrap) as (stage, alertmanager, hook):
        stage.settings |= _SETTINGS
        sinks = {"alerts.alertmanagers": alertmanager.url, "alerts.webhooks": hook.url, "alerts.retry_s": "1"}
        done = threading.Event()
        feeding = threading.Thread(target=_feed, args=(stage, log, done), daemon=True)
        with AlertReader(stage.kafka).running() as reader:
            service = stage.alerts(sinks, "alerts-0")
            service.wait_until_ready(PATIENCE_SECONDS)
            feeding.start()
            drawn, began = random.Random(_SEED), time.monotonic()
            for _ in range(kills):
                time.sleep(drawn.uniform(0.1, 3.0))
                service.kill()
                service = stage.alerts(sinks, "alerts-0")
                service.wait_until_ready(PATIENCE_SECONDS)
            seconds, fed_meanwhile = time.monotonic() - began, feeding.is_alive()
            done.set()
            feeding.join()
            with suppress(LateError):  # the figures say then what is missing
                wait_until(lambda: {one.value for one in reader.told} >= expected, "all alerts", timeout=300)
            newest = {one.alert.fingerprint: one.alert.id for one in reader.told}
            wait_until(lambda: _view(stage) == newest, "the view in Redis")
            wait_until(lambda: not alertmanager.alerts(), "Alertmanager to have nothing open")
            service.stop()
    told = [one.value for one in reader.told]
    posted = Counter(headers["X-Vigil-Alert-Id"] for headers, _ in hook.posts if "X-Vigil-Alert-Id" in headers)
    return {
        "kills": kills,
        "seconds": round(seconds, 1),
        "fed_to_the_end": fed_meanwhile,
        "anomalies": len(log),
        "changes_expected": len(expected),
        "changes_published": len(set(told)),
        "changes_missing": len(expected - set(told)),
        "equal": set(told) == expected,
        "repeats": len(told) - len(set(told)),
        "repeats_with_other_bytes": len({one.alert.id for one in reader.told}) != len(set(told)),
        "posts": posted.total(),
        "posts_repeated": sum(count - 1 for count in posted.values()),
        "redis_equal": True,
        "alertmanager_open": 0,
    }


def outage(seconds: float, bootstrap: str | None) -> dict[str, Any]:
    """Let Alertmanager go away while alerts begin and end, and count what it tells afterwards."""
    clusters = 12
    with _world(bootstrap, apache=False) as (stage, alertmanager, pages):
        stage.settings |= _SETTINGS
        sinks = {"alerts.alertmanagers": alertmanager.url, "alerts.retry_s": "5", "alerts.resend_s": "5"}
        service = stage.alerts(sinks)
        service.wait_until_ready(PATIENCE_SECONDS)
        with AlertReader(stage.kafka).running() as reader:
            _publish(stage, _lasting(range(clusters), range(6)))
            wait_until(lambda: len(alertmanager.alerts()) == clusters, "all alerts")
            wait_until(lambda: _paged(pages)["firing"] == clusters, "all pages")
            alertmanager.stop()
            began = time.monotonic()
            again = range(clusters // 2)  # these go on; the others end
            _publish(stage, _lasting(again, range(6, 60)))
            wait_until(lambda: sum(one.alert.status == "resolved" for one in reader.told) == clusters // 2, "the ends")
            time.sleep(max(0.0, seconds - (time.monotonic() - began)))
            alertmanager.start()
            back = wait_until(lambda: len(alertmanager.alerts()) == clusters // 2, "what is open", timeout=120)
            wait_until(lambda: _paged(pages)["resolved"] == clusters // 2, "the pages of what ended")
            settled = _paged(pages)
        service.stop()
    return {
        "seconds_away": round(seconds, 1),
        "alerts": clusters,
        "ended_meanwhile": clusters // 2,
        "seconds_until_right": round(back, 1),
        "pages": dict(settled),
        "pages_twice": sum(count - 1 for count in _pages_by_group(pages).values()),
    }


def burst(anomalies: int, clusters: int, bootstrap: str | None) -> dict[str, Any]:
    """Publish a storm of one second before the service starts, and measure how it gets through."""
    log = storm(anomalies, clusters)
    with ExitStack() as stack:
        stage = stack.enter_context(alert_stage(bootstrap))
        stage.settings |= _SETTINGS
        _publish(stage, log)
        with AlertReader(stage.kafka).running() as reader:
            service = stage.alerts()
            stack.callback(service.stop)
            service.wait_until_ready(PATIENCE_SECONDS)
            wait_until(lambda: _taken(service) > 0, "the first anomaly")
            first, began, at_first = time.monotonic(), _cpu_seconds(service), _taken(service)
            wait_until(lambda: _taken(service) >= len(log), "the last anomaly", timeout=600)
            seconds, cpu = time.monotonic() - first, _cpu_seconds(service) - began
            _publish(stage, [_anomaly(f"late-{place}", 0, log[-1].ts_ms + _LATER_MS) for place in range(64)])
            wait_until(lambda: len({one.alert.cluster for one in reader.told}) >= clusters, "the alerts", timeout=300)
            peak = _peak_mib(service)
        opened = Counter(cluster for cluster, _ in {(one.alert.cluster, one.alert.fingerprint) for one in reader.told})
    return {
        "anomalies": len(log),
        "clusters": clusters,
        "alerts_a_cluster": max(opened.values()),
        "anomalies_a_second": round((len(log) - at_first) / seconds),
        "anomalies_a_cpu_second": round((len(log) - at_first) / cpu),
        "peak_mib": peak,
    }


def _anomaly(cluster: str, member: int, at_ms: int) -> Anomaly:
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
        severity="critical",
        window_start_ms=at_ms - 29_000,
        window_end_ms=at_ms,
        contributions=(Contribution("latency_p99", 0.9, 88.0, 6.0, 8.0),),
        source=Source("dwcp.metrics.consensus", 0, 0),
    )


def _lasting(clusters: Sequence[int], seconds: Sequence[int]) -> list[Anomaly]:
    return [_anomaly(f"c{place}", 0, START_MS + 1_000 * second) for second in seconds for place in clusters]


def _undisturbed(log: Sequence[Anomaly]) -> list[Alert]:
    return alerts_of(log, AlertPlane())


def _feed(stage: AlertStage, log: Sequence[Anomaly], hurry: threading.Event) -> None:
    """Publish the log over six minutes, or at once when it is time to end; then something much later."""
    for first in range(0, len(log), 20):
        _publish(stage, log[first : first + 20])
        hurry.wait(1.2)
    _publish(stage, [_anomaly("later", 0, log[-1].ts_ms + _LATER_MS)])


def _publish(stage: AlertStage, log: Sequence[Anomaly]) -> None:
    settings = {"enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5}
    producer = Producer({"bootstrap.servers": stage.kafka.bootstrap, **settings})
    topic = stage.kafka.topics["anomalies"]
    for place, one in enumerate(log):
        partition = partition_of(one.cluster, one.node_id, PARTITIONS)
        producer.produce(topic, encode(one), one.node_id.encode(), partition)
        if place % 1_000 == 0:
            producer.flush()
    producer.flush()


@contextmanager
def _world(
    bootstrap: str | None, *, apache: bool = True
) -> Iterator[tuple[AlertStage, AlertmanagerServer, HookServer]]:
    """Start Kafka, Redis, Alertmanager and a receiver of posts."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-drill-")))
        servers = stack.enter_context(EmbeddedServers())
        if bootstrap is None and apache:
            bootstrap = stack.enter_context(ApacheBroker(folder / "kafka")).bootstrap
        hook = stack.enter_context(HookServer())
        alertmanager = stack.enter_context(AlertmanagerServer(folder, hook.url))
        stage = stack.enter_context(alert_stage(bootstrap or servers.bootstrap, servers.redis_url))
        yield stage, alertmanager, hook


def _view(stage: AlertStage) -> dict[str, str]:
    client = Redis.from_url(str(stage.redis_url))
    try:
        return {one.fingerprint: one.id for one in known_alerts(client, stage.settings["redis.key_prefix"])}
    finally:
        client.close()


def _pages_by_group(pages: HookServer) -> Counter[tuple[str, str]]:
    bodies = [json.loads(body) for _, body in pages.posts]
    return Counter((body["groupLabels"]["cluster"], body["status"]) for body in bodies)


def _paged(pages: HookServer) -> Counter[str]:
    return Counter(status for (_, status), count in _pages_by_group(pages).items() for _ in range(count))


def _taken(service: WorkerProcess) -> float:
    return service.counters().get("vigil_alerts_anomalies_total", 0.0)


def _peak_mib(service: WorkerProcess) -> int:
    status = Path(f"/proc/{service.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


def _cpu_seconds(service: WorkerProcess) -> float:
    fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """Run the drills asked for, and print one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", choices=["crashes", "outage", "storm", []])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--away", type=float, default=300.0, help="seconds that Alertmanager is away")
    parser.add_argument("--anomalies", type=int, default=_STORM)
    parser.add_argument("--clusters", type=int, default=20)
    parser.add_argument("--kafka", help="a broker's address")
    parser.add_argument("--json", action="store_true", help="on one line")
    asked = parser.parse_args()
    drills = asked.drills or ["crashes", "outage", "storm"]
    result: dict[str, Any] = {}
    if "crashes" in drills:
        result["crashes"] = crashes(asked.kills, asked.kafka)
    if "outage" in drills:
        result["outage"] = outage(asked.away, asked.kafka)
    if "storm" in drills:
        result["storm"] = burst(asked.anomalies, asked.clusters, asked.kafka)
    print(json.dumps(result, indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
