"""`vigil state rebuild`: what a Redis that lost its data gets back, and what it must not say."""

import json

import pytest
from fleet_samples import START_MS, Telemetry, fleet, message
from redis.exceptions import RedisError
from rig import Rig

from streams import KafkaConfig, RedisConfig
from streams.errors import RebuildError
from streams.rebuild import Rebuilt, rebuild_view
from vigil.cli.app import create_app

FAULTS = {("n1", 35): 130.0, ("n2", 38): 60.0, ("n2", 44): 90.0}


def work_off(rig: Rig, messages: list[Telemetry], *, redis: RedisConfig | None = None) -> None:
    rig.produce(messages)
    before = rig.read_through()
    with rig.running(redis=redis) as thread:
        thread.wait_for_records(len(messages))
    assert rig.read_through() == before + len(messages)


def lose(rig: Rig) -> dict[str, str]:
    """Delete the view, and return the newest anomaly that it showed of n1 and of n2."""
    client = rig.client()
    shown = {node: anomaly_of(rig, node)["anomaly_id"] for node in ("n1", "n2")}
    client.delete(*client.keys(f"{rig.redis.key_prefix}*"))
    return shown


def anomaly_of(rig: Rig, node: str) -> dict[str, str]:
    return rig.client().hgetall(f"{rig.redis.key_prefix}verdict:peak:{node}")


def rebuild(rig: Rig, redis: RedisConfig | None = None) -> Rebuilt:
    return rebuild_view(rig.kafka, redis or rig.redis, say=lambda _stage, _done, _total: None)


def test_every_node_has_its_newest_anomaly_again_and_nothing_is_called_active(rig: Rig) -> None:
    work_off(rig, fleet(4, range(48), faults=FAULTS))
    shown = lose(rig)

    done = rebuild(rig)

    assert (done.anomalies, done.nodes, done.unreadable) == (9, 2, 0)
    assert {node: anomaly_of(rig, node)["anomaly_id"] for node in shown} == shown
    found = anomaly_of(rig, "n2")
    assert (found["anomaly_severity"], int(found["anomaly_ts_ms"])) == ("warning", START_MS + 46_000)
    assert "severity" not in found
    client, prefix = rig.client(), rig.redis.key_prefix
    assert client.keys(f"{prefix}active:*") + client.keys(f"{prefix}worst:*") == []
    assert 0 < client.pttl(f"{prefix}verdict:peak:n1") <= 600_000


def test_the_next_step_of_each_node_completes_it(rig: Rig) -> None:
    work_off(rig, fleet(4, range(48), faults=FAULTS))
    shown = lose(rig)
    rebuild(rig)

    work_off(rig, fleet(4, range(48, 50)))

    found = anomaly_of(rig, "n1")
    assert (found["ts_ms"], found["severity"], found["anomaly_id"]) == (str(START_MS + 49_000), "", shown["n1"])


def test_what_is_newer_in_redis_stays_and_doing_it_again_changes_nothing(rig: Rig) -> None:
    work_off(rig, fleet(4, range(48), faults=FAULTS | {("n3", 47): 130.0}))
    before = {node: anomaly_of(rig, node) for node in ("n1", "n2", "n3")}

    rebuild(rig)
    rebuild(rig)

    assert {node: anomaly_of(rig, node) for node in before} == before
    assert rig.client().zrange(f"{rig.redis.key_prefix}active:critical", 0, -1) == ["peak:n3"]


def test_a_record_that_is_no_anomaly_is_counted_and_passed_over(rig: Rig) -> None:
    work_off(rig, fleet(2, range(48), faults=FAULTS))
    rig.produce_to("anomalies", [Telemetry(b"n1", b"rubbish"), message({"node_id": "n1"})])
    assert (rebuild(rig).anomalies, rebuild(rig).unreadable) == (3, 2)


def test_a_topic_that_is_not_there_and_a_redis_that_does_not_answer_are_errors(rig: Rig) -> None:
    with pytest.raises(RebuildError, match="absent does not exist"):
        rebuild_view(
            KafkaConfig(bootstrap=rig.bootstrap, topics={"anomalies": "absent"}), rig.redis, say=lambda *_: None
        )
    with pytest.raises(RedisError):
        rebuild(rig, RedisConfig(url="redis://127.0.0.1:1/0", timeout_s=0.2))


def test_the_command_prints_what_it_did(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    work_off(rig, fleet(3, range(48), faults=FAULTS))
    words = ["state", "rebuild", "--json", "--kafka", rig.bootstrap, "--redis", rig.redis_url]
    words += ["--set", f"topics.anomalies={rig.topic('anomalies')}", "--set", f"redis.key_prefix={rig.name}:"]
    create_app(words)(args=words, standalone_mode=False)
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: printed[name] for name in ("anomalies", "unreadable", "nodes")} == {
        "anomalies": 9,
        "unreadable": 0,
        "nodes": 2,
    }
