"""What Prometheus and the orchestrator see of a running worker."""

import json
from http.client import HTTPConnection
from typing import Any

import pytest
from fleet_samples import Telemetry, fleet
from prometheus_client.parser import text_string_to_metric_families
from rig import Rig, WorkerThread, wait_until


def get(thread: WorkerThread, path: str) -> tuple[int, bytes]:
    address = thread.worker.address
    assert address is not None
    connection = HTTPConnection(*address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def probe(thread: WorkerThread, path: str) -> tuple[int, dict[str, Any]]:
    status, body = get(thread, path)
    return status, json.loads(body)


def samples(thread: WorkerThread) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = get(thread, "/metrics")[1].decode()
    families = text_string_to_metric_families(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def test_metrics_count_what_was_committed(rig: Rig) -> None:
    messages = fleet(4, range(45), faults={("n2", 40): 130.0})
    rig.produce([*messages, Telemetry(b"n1", b"{"), Telemetry(b"n1", None)])
    topic = rig.topic("consensus")
    with rig.running(http_port=0) as thread:
        thread.wait_for_records(len(messages) + 2)
        wait_until(lambda: get(thread, "/readyz")[0] == 200, "the worker to be ready")
        found = samples(thread)
    assert value(found, "dwcp_anomalies_detected_total", detector="peak", severity="critical") == 3
    assert value(found, "dwcp_anomaly_detection_latency_seconds_count") == 3
    assert value(found, "dwcp_metrics_processed_total", topic=topic) == 182
    assert value(found, "vigil_dead_letters_total", topic=topic, code="not-json") == 1
    assert value(found, "vigil_dead_letters_total", topic=topic, code="tombstone") == 1
    assert value(found, "vigil_steps_total", stream="consensus", status="window") == 4 * (45 - 29)
    assert value(found, "vigil_steps_total", stream="consensus", status="warming") == 4 * 29
    assert value(found, "vigil_windows_scored_total", stream="consensus", detector="peak") == 4 * (45 - 29)
    assert value(found, "vigil_windows_held", stream="consensus") == 4
    assert value(found, "vigil_model_info", stream="consensus", detector="peak", model_version="peak-1") == 1
    assert value(found, "vigil_assigned_partitions") == 4
    assert value(found, "vigil_broker_up") == 1
    assert value(found, "vigil_transactions_total", result="committed") >= 1
    assert value(found, "vigil_step_mismatch", stream="consensus") == 0
    assert value(found, "vigil_step_observed_seconds", stream="consensus") == 1
    assert {dict(labels)["stage"] for name, labels in found if name == "vigil_stage_seconds_total"} >= {
        "consume",
        "decode",
        "score",
        "publish",
        "view",
    }


def test_lag_is_shown_by_partition_and_is_zero_at_the_end_of_a_transactional_log(rig: Rig) -> None:
    rig.produce(fleet(8, range(5)))
    with rig.running(http_port=0) as thread:
        thread.wait_for_records(40)

        def lags() -> list[float]:
            return [each for (name, _), each in samples(thread).items() if name == "vigil_consumer_lag_records"]

        wait_until(lambda: lags() == [0, 0, 0, 0], "a lag of 0 in all 4 partitions")


def test_no_metric_carries_a_node(rig: Rig) -> None:
    messages = fleet(300, range(3))
    rig.produce(messages)
    with rig.running(http_port=0) as thread:
        thread.wait_for_records(len(messages))
        found = samples(thread)
    assert len(found) < 200
    assert not [labels for _, labels in found if "node_id" in dict(labels)]


def test_ready_only_with_partitions_and_a_broker(bootstrap: str, redis_url: str) -> None:
    rig = Rig(bootstrap, redis_url)
    with rig.running(http_port=0) as thread:
        wait_until(lambda: get(thread, "/healthz")[0] == 200, "the server")
        status, body = probe(thread, "/readyz")
        assert status == 503
        assert body["status"] == "unavailable"
        assert "the worker is starting" in body["reasons"]
        rig.create_topics()
        wait_until(lambda: get(thread, "/readyz")[0] == 200, "the worker to be ready")
        status, body = probe(thread, "/readyz")
    assert body["reasons"] == []
    assert body["phase"] == "running"
    assert body["partitions"] == [f"{rig.topic('consensus')}[{number}]" for number in range(4)]


def test_healthy_while_the_loop_turns_and_not_when_it_stands(rig: Rig) -> None:
    with rig.running(http_port=0, healthy_s=0.001) as thread:
        thread.wait_for_partitions(4)
        wait_until(lambda: get(thread, "/healthz")[0] == 503, "a turn longer than a millisecond")
        assert "the loop has not turned" in probe(thread, "/healthz")[1]["reasons"][0]
        thread.worker.monitor.health._stale_after_s = 60
        assert probe(thread, "/healthz")[0] == 200
        assert get(thread, "/nothing")[0] == 404


def test_the_server_is_gone_when_the_worker_has_ended(rig: Rig) -> None:
    with rig.running(http_port=0) as thread:
        wait_until(lambda: get(thread, "/healthz")[0] == 200, "the server")
    with pytest.raises(ConnectionRefusedError):
        get(thread, "/healthz")
