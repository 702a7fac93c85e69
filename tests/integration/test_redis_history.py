"""What dashboards ask Redis for beside the newest verdicts: a node's newest steps, and which places there are."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from fleet_samples import START_MS, fleet
from prometheus_client import CollectorRegistry
from redis import Redis
from rig import Rig, wait_until

from streams import RedisConfig, RedisView
from streams.metrics import WorkerMetrics
from streams.verdict_columns import VerdictColumns
from streams.verdicts import About, NodeAnomaly


@pytest.fixture
def config(redis_url: str, request: pytest.FixtureRequest) -> RedisConfig:
    return RedisConfig(url=redis_url, key_prefix=f"{request.node.name}:", ttl_s=600, flush_interval_s=0.02)


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as made:
        yield made


def columns(second: int, nodes: int = 2, flagged: tuple[int, ...] = ()) -> VerdictColumns:
    at = START_MS + 1000 * second
    anomalies = {i: NodeAnomaly(at, f"{i:032x}", 60.0, "critical") for i in flagged}
    return VerdictColumns(
        About("own", "peak", 50.0, "peak-1", ("depth", "score")),
        [f"n{i}" for i in range(nodes)],
        np.full(nodes, at),
        np.full(nodes, 10.25),
        [("alpha", "eu-1")] * nodes,
        anomalies,
        ["wan"] * nodes,
        np.tile(np.array([[second, 0.1]], np.float32), (nodes, 1)),
        np.arange(nodes, dtype=np.int32),
    )


def write(config: RedisConfig, *parts: VerdictColumns) -> None:
    for part in parts:
        view = RedisView(config, worker="w", events=WorkerMetrics(CollectorRegistry()))
        view.start()
        view.offer(columns=[part])
        assert view.close(5)


def steps(client: Redis, config: RedisConfig, node: str) -> list[tuple[str, dict[str, str]]]:
    return list(client.xrange(f"{config.key_prefix}history:peak:{node}"))


def test_the_newest_steps_of_a_node_stay_by_event_time_with_values_and_score(
    config: RedisConfig, client: Redis
) -> None:
    write(replace(config, history_steps=3), *(columns(second) for second in range(5)))
    found = steps(client, config, "n1")
    assert [name for name, _ in found] == [f"{START_MS + 1000 * second}-0" for second in (2, 3, 4)]
    assert found[-1][1] == {
        "score": "10.25",
        "threshold": "50",
        "severity": "0",
        "depth": "4",
        "score_": "0.1",  # a value of the same name gives way
    }
    assert 0 < client.pttl(f"{config.key_prefix}history:peak:n1") <= 600_000


def test_steps_that_come_again_or_late_change_nothing(config: RedisConfig, client: Redis) -> None:
    write(config, columns(1), columns(3))
    before = steps(client, config, "n0")
    write(config, columns(3), columns(2))
    client.delete(f"{config.key_prefix}verdict:peak:n0")
    write(config, columns(2))
    assert steps(client, config, "n0") == before
    assert client.hget(f"{config.key_prefix}verdict:peak:n0", "ts_ms") == str(START_MS + 2000)


def test_a_large_fleet_leaves_the_steps_of_its_anomalous_nodes_alone(config: RedisConfig, client: Redis) -> None:
    few = replace(config, history_nodes=2)
    write(few, columns(1, nodes=3), columns(2, nodes=3, flagged=(1,)))
    assert [len(steps(client, config, f"n{i}")) for i in range(3)] == [1, 2, 1]
    assert steps(client, config, "n1")[-1][1]["severity"] == "3"


def test_a_write_of_many_nodes_tells_the_steps_of_anomalous_ones_alone(config: RedisConfig, client: Redis) -> None:
    write(config, columns(1, nodes=1001, flagged=(7,)))
    assert client.zcard(f"{config.key_prefix}worst:peak") == 1001
    assert [len(steps(client, config, node)) for node in ("n7", "n8")] == [1, 0]


def test_no_steps_are_kept_when_none_are_wanted(config: RedisConfig, client: Redis) -> None:
    write(replace(config, history_steps=0), columns(1, flagged=(0,)))
    assert steps(client, config, "n0") == []


def test_places_are_known_while_they_report(config: RedisConfig, client: Redis) -> None:
    prefix, short = config.key_prefix, replace(config, ttl_s=1)
    write(short, columns(1))
    found = {each: client.zrange(prefix + each, 0, -1) for each in ("clusters", "regions", "tiers")}
    assert found == {"clusters": ["alpha"], "regions": ["eu-1"], "tiers": ["wan"]}
    assert client.hget(f"{prefix}verdict:peak:n0", "tier") == "wan"
    elsewhere = replace(columns(2), labels=[("beta", "eu-1")] * 2)
    wait_until(lambda: not client.exists(f"{prefix}verdict:peak:n0"), "the time to live to pass")
    write(short, elsewhere)
    assert client.zrange(f"{prefix}clusters", 0, -1) == ["beta"]


def test_a_worker_leaves_the_steps_of_its_nodes(rig: Rig) -> None:
    messages = fleet(3, range(40), faults={("n2", 39): 130.0})
    rig.produce(messages)
    with rig.running() as thread:
        thread.wait_for_records(len(messages))
    [*_, (name, newest)] = rig.client().xrange(f"{rig.redis.key_prefix}history:peak:n2")
    assert name == f"{START_MS + 39_000}-0"
    assert {each: newest[each] for each in ("score", "threshold", "severity", "latency_p99")} == {
        "score": "130",
        "threshold": "50",
        "severity": "3",
        "latency_p99": "130",
    }
