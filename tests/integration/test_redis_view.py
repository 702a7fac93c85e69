"""The live view: the keys of docs/operations/redis.md, in any order of writing, through an outage of Redis."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fleet_samples import START_MS, Telemetry, fleet, offline
from prometheus_client import CollectorRegistry
from redis import Redis
from redis_servers import redis_server
from rig import Rig, wait_until

from features.nodes import NO_LABEL
from streams import RedisConfig, RedisView
from streams.metrics import WorkerMetrics
from streams.verdict_columns import VerdictColumns
from streams.verdicts import About, NodeAnomaly, NodeVerdict
from vigil.ports import free_run


def verdict(node: str = "n1", second: int = 0, *, severity: str = "", score: float = 10.0) -> NodeVerdict:
    at = START_MS + 1000 * second
    anomaly = NodeAnomaly(at, f"{second:032x}", score, severity) if severity else None
    return NodeVerdict(
        about=About("consensus", "peak", 50.0, "peak-1"),
        node=node,
        ts_ms=at,
        score=score,
        severity=severity,
        cluster="alpha",
        region="eu-1",
        anomaly=anomaly,
    )


def columns(nodes: int, second: int) -> VerdictColumns:
    at, names = np.full(nodes, START_MS + 1000 * second), [f"n{i}" for i in range(nodes)]
    about, nothing = About("consensus", "peak", 50.0, "peak-1"), [NO_LABEL] * nodes
    values, unvalued = np.zeros((0, 0), np.float32), np.full(nodes, -1, np.int32)
    return VerdictColumns(about, names, at, np.full(nodes, 10.0), nothing, {}, [""] * nodes, values, unvalued)


@contextmanager
def writing(config: RedisConfig, **options: object) -> Iterator[tuple[RedisView, CollectorRegistry]]:
    registry = CollectorRegistry()
    view = RedisView(config, worker="w", events=WorkerMetrics(registry), **options)  # type: ignore[arg-type]
    view.start()
    try:
        yield view, registry
    finally:
        view.close(5)


def write(config: RedisConfig, *verdicts: NodeVerdict) -> None:
    """Write through a view of its own, as another worker would."""
    with writing(config) as (view, _):
        view.offer(verdicts)
    assert view.waiting == 0


@pytest.fixture
def config(redis_url: str, request: pytest.FixtureRequest) -> RedisConfig:
    return RedisConfig(url=redis_url, key_prefix=f"{request.node.name}:", ttl_s=600, flush_interval_s=0.02)


def test_a_worker_leaves_the_newest_verdict_of_every_node(rig: Rig) -> None:
    messages = fleet(4, range(45), faults={("n2", 44): 130.0, ("n3", 38): 60.0})
    rig.produce(messages)
    with rig.running() as thread:
        thread.wait_for_records(len(messages))
    client, prefix = rig.client(), rig.redis.key_prefix
    [anomaly] = [each for each in offline(messages) if each.node_id == "n2"]
    stored = client.hgetall(f"{prefix}verdict:peak:n2")
    assert {name: stored[name] for name in ("ts_ms", "severity", "stream", "model_version", "cluster", "region")} == {
        "ts_ms": str(START_MS + 44_000),
        "severity": "critical",
        "stream": "consensus",
        "model_version": "peak-1",
        "cluster": "alpha",
        "region": "eu-1",
    }
    assert (float(stored["score"]), float(stored["threshold"])) == (130.0, 50.0)
    assert (stored["anomaly_id"], int(stored["anomaly_ts_ms"])) == (anomaly.id, START_MS + 44_000)
    assert client.hget(f"{prefix}verdict:peak:n3", "severity") == ""
    assert client.hget(f"{prefix}verdict:peak:n3", "anomaly_severity") == "info"
    assert 0 < client.pttl(f"{prefix}verdict:peak:n1") <= 600_000


def test_a_worker_keeps_the_active_anomalies_by_severity_and_the_worst_nodes(rig: Rig) -> None:
    messages = fleet(4, range(45), faults={("n2", 44): 130.0, ("n3", 43): 60.0, ("n1", 35): 90.0})
    rig.produce(messages)
    with rig.running() as thread:
        thread.wait_for_records(len(messages))
    client, prefix = rig.client(), rig.redis.key_prefix
    now = START_MS + 44_000
    assert client.zrange(f"{prefix}active:critical", 0, -1, withscores=True) == [("peak:n2", now)]
    assert client.zrange(f"{prefix}active:info", 0, -1, withscores=True) == [("peak:n3", now)]
    assert client.zrange(f"{prefix}active:warning", 0, -1) == []
    assert client.zrevrange(f"{prefix}worst:peak", 0, 1, withscores=True) == [("n2", 2.6), ("n3", 1.2)]


def test_a_worker_shows_its_counters(rig: Rig) -> None:
    messages = fleet(4, range(45), faults={("n2", 40): 130.0})
    rig.produce(messages)
    with rig.running() as thread:
        thread.wait_for_records(len(messages))
    found = rig.client().hgetall(f"{rig.redis.key_prefix}worker:{thread.worker.name}")
    assert {name: found[name] for name in ("records", "anomalies", "dead_letters")} == {
        "records": "180",
        "anomalies": "3",
        "dead_letters": "0",
    }


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_the_newest_event_time_wins_whatever_order_workers_write_in(
    config: RedisConfig, redis_url: str, order: tuple[int, int]
) -> None:
    for second in order:
        write(config, verdict(second=second, score=float(second)))
    client = Rig("", redis_url).client()
    assert client.hget(f"{config.key_prefix}verdict:peak:n1", "ts_ms") == str(START_MS + 1000 * 2)
    assert client.zscore(f"{config.key_prefix}worst:peak", "n1") == 2 / 50


def test_an_anomaly_moves_to_its_new_severity_and_leaves_when_the_node_is_normal_again(
    config: RedisConfig, redis_url: str
) -> None:
    client, prefix = Rig("", redis_url).client(), config.key_prefix

    def active() -> dict[str, list[str]]:
        return {each: client.zrange(f"{prefix}active:{each}", 0, -1) for each in ("warning", "critical")}

    write(config, verdict(second=1, severity="warning", score=90))
    assert active() == {"warning": ["peak:n1"], "critical": []}
    write(config, verdict(second=2, severity="critical", score=130))
    assert active() == {"warning": [], "critical": ["peak:n1"]}
    write(config, verdict(second=1, severity="warning", score=90))
    assert active() == {"warning": [], "critical": ["peak:n1"]}
    write(config, verdict(second=3))
    assert active() == {"warning": [], "critical": []}
    assert client.hget(f"{prefix}verdict:peak:n1", "anomaly_ts_ms") == str(START_MS + 2000)


def test_a_node_that_falls_silent_leaves_every_key_after_its_time_to_live(redis_url: str, config: RedisConfig) -> None:
    short = replace(config, ttl_s=1)
    client, prefix = Rig("", redis_url).client(), config.key_prefix
    write(short, verdict("silent", severity="critical", score=130), verdict("silent:too"))
    assert client.exists(f"{prefix}verdict:peak:silent") == 1
    wait_until(lambda: client.exists(f"{prefix}verdict:peak:silent:too") == 0, "the time to live to pass")
    write(short, verdict("other"))
    assert client.zrange(f"{prefix}worst:peak", 0, -1) == ["other"]
    assert client.zrange(f"{prefix}active:critical", 0, -1) == []
    assert client.zrange(f"{prefix}expiry", 0, -1) == ["peak:other"]


def test_a_node_id_of_any_characters_is_one_member(config: RedisConfig, redis_url: str) -> None:
    node = 'a:b>"c\\d é ☃ {x}'
    write(config, verdict(node, severity="info", score=60))
    client = Rig("", redis_url).client()
    assert client.zrange(f"{config.key_prefix}worst:peak", 0, -1) == [node]
    assert client.hget(f"{config.key_prefix}verdict:peak:{node}", "score") == "60"


@pytest.mark.parametrize(("threshold", "worst"), [(5e-324, 1e300), (0.0, 10.0)])
def test_a_threshold_of_next_to_nothing_leaves_an_order(
    config: RedisConfig, redis_url: str, threshold: float, worst: float
) -> None:
    write(config, msgspec.structs.replace(verdict(), about=About("consensus", "peak", threshold, "peak-1")))
    assert Rig("", redis_url).client().zscore(f"{config.key_prefix}worst:peak", "n1") == worst


def test_thousands_of_nodes_go_out_in_one_write_each_once(config: RedisConfig, redis_url: str) -> None:
    with writing(config) as (view, registry):
        for second in range(20):
            view.offer(columns=[columns(2000, second)])
    client = Rig("", redis_url).client()
    assert client.zcard(f"{config.key_prefix}worst:peak") == 2000
    assert client.hget(f"{config.key_prefix}verdict:peak:n1999", "ts_ms") == str(START_MS + 19_000)
    flushes = registry.get_sample_value("vigil_redis_flushes_total", {"result": "ok"})
    assert flushes is not None
    assert flushes <= 21


class Flushes:
    """Notes when writes ended and how long they took, in seconds; a ``ViewEvents``."""

    def __init__(self) -> None:
        self.ended: list[tuple[float, float]] = []

    def redis_flushed(self, nodes: int, seconds: float) -> None:  # noqa: ARG002 - a view says both
        self.ended.append((time.monotonic(), seconds))

    def redis_failed(self) -> None:
        raise AssertionError("Redis was there")

    def redis_lost(self, nodes: int) -> None:
        raise AssertionError(f"{nodes} nodes were forgotten")


def test_a_view_that_takes_long_to_write_leaves_redis_four_fifths_of_its_time(config: RedisConfig) -> None:
    flushes = Flushes()
    view = RedisView(replace(config, flush_interval_s=0.0), worker="w", events=flushes)
    view.start()
    view.offer(columns=[columns(20_000, 0)])
    wait_until(lambda: len(flushes.ended) == 1, "the first write")
    view.offer(columns=[columns(20_000, 1)])
    view.offer(columns=[columns(20_000, 2)])
    assert view.waiting == 20_000, "each node once"
    wait_until(lambda: len(flushes.ended) == 2, "the second write")
    assert view.close(30)
    (first, took), (second, again) = flushes.ended[:2]
    assert second - again - first >= 3.9 * took > 0.05


def test_while_redis_is_away_only_the_newest_verdicts_wait_and_no_more_than_allowed(config: RedisConfig) -> None:
    away = replace(config, url="redis://127.0.0.1:1/0", buffer_nodes=100, timeout_s=0.2)
    with writing(away) as (view, registry):
        for second in range(3):
            view.offer([verdict("told", second)], [columns(149, second)])
        wait_until(lambda: view.up is False, "the outage to be noticed")
        wait_until(lambda: view.waiting == 100, "the oldest to be forgotten")
    dropped = registry.get_sample_value("vigil_redis_dropped_nodes_total")
    assert dropped is not None
    assert dropped >= 50
    assert view.close(0.1) is False


def test_an_outage_of_redis_holds_nothing_up_and_repairs_itself(rig: Rig, tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("stops a Redis of its own: needs redis-server (Debian: redis-server)")
    port = free_run(1)
    own = replace(rig.redis, url=f"redis://127.0.0.1:{port}/0", timeout_s=0.5)
    client = Rig("", own.url).client()
    first, second = fleet(4, range(40)), fleet(4, range(40, 60), faults={("n2", 59): 130.0})
    with rig.running(redis=own) as thread:
        with redis_server(tmp_path, port):
            rig.produce(first)
            thread.wait_for_records(len(first))
            key = f"{own.key_prefix}verdict:peak:n1"
            wait_until(lambda: client.hget(key, "ts_ms") == str(START_MS + 39_000), "the view to be current")
        rig.produce(second)
        thread.wait_for_records(len(first) + len(second))
        view = thread.worker.monitor.view
        assert view is not None
        wait_until(lambda: view.up is False, "the outage to be noticed")
        with redis_server(tmp_path, port):
            wait_until(lambda: client.hget(key, "ts_ms") == str(START_MS + 59_000), "the view to be repaired")
            assert client.zrange(f"{own.key_prefix}active:critical", 0, -1) == ["peak:n2"]
            assert client.zcard(f"{own.key_prefix}worst:peak") == 4
            thread.worker.stop()
            thread.join()


def test_a_redis_that_lost_everything_is_told_again_who_is_silent(rig: Rig, tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        pytest.skip("needs a redis-server of its own to kill")
    port = free_run(1)
    with redis_server(tmp_path, port) as url:
        config = replace(rig.redis, url=url)
        before = [each for each in fleet(4, range(60)) if each.key != b"n3"] + fleet(4, range(31))
        rig.produce(sorted(before, key=when))
        with rig.running(redis=config, kafka={"group_instance_id": "w"}) as thread:
            thread.wait_for_records(len(before))
            key = f"{rig.name}:active:critical"
            with Redis.from_url(url, decode_responses=True) as client:
                wait_until(lambda: client.zrange(key, 0, -1) == ["silence:n3"], "the silence")
                told = client.hgetall(f"{rig.name}:verdict:silence:n3")
                client.flushall()
                after = [each for each in fleet(4, range(60, 64)) if each.key != b"n3"]
                rig.produce(after[:3])
                thread.wait_for_records(len(before) + 3)
                wait_until(lambda: bool(client.exists(f"{rig.name}:worker:w")), "the loss to be noticed")
                rig.produce(after[3:])
                wait_until(lambda: client.zrange(key, 0, -1) == ["silence:n3"], "the silence again")
                assert client.hgetall(f"{rig.name}:verdict:silence:n3") == told


def test_an_end_of_a_silence_that_redis_never_heard_of_is_told_by_whoever_takes_the_partition(rig: Rig) -> None:
    messages = fleet(4, range(45))
    rig.produce(messages)
    about = About("consensus", "silence", 6.0, "silence-6000ms")
    silence = msgspec.structs.replace(verdict("n3", 20, severity="critical"), about=about)
    never = msgspec.structs.replace(verdict("unknown", 20, severity="critical"), about=about)
    write(rig.redis, silence, never)
    with rig.running() as thread:
        thread.wait_for_records(len(messages))
    client = rig.client()
    assert client.zrange(f"{rig.name}:active:critical", 0, -1) == ["silence:unknown"]
    assert client.hget(f"{rig.name}:verdict:silence:n3", "severity") == ""
    assert not client.exists(f"{rig.name}:verdict:silence:n1"), "there was nothing to end"
    client.close()


def when(one: Telemetry) -> int:
    return int(msgspec.json.decode(one.value or b"")["ts_ms"])
