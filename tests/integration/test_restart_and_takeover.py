"""Verdicts after a restart, a crash or a takeover are those of a worker that was never away, ids and scores alike."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fleet_samples import Telemetry, fleet, offline, verdicts
from rig import Rig, WorkerThread, lively_fleet, sharp_scorer, wait_until
from structlog.testing import capture_logs

from streams import Batch, Processor, StateConfig

PROCESS = Path(__file__).with_name("worker_process.py")


@contextmanager
def process(rig: Rig, **settings: Any) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, str(PROCESS), rig.bootstrap, rig.redis_url, rig.name, json.dumps(settings)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield running
    finally:
        running.kill()
        running.wait(30)


def metric(thread: WorkerThread, name: str, **labels: str) -> float:
    return thread.worker.registry.get_sample_value(name, labels) or 0.0


def kept(rig: Rig, expected: int = 0) -> list[tuple[str, float, str, int]]:
    """All verdicts published, once there are as many as expected; fails where one was published twice.

    Readers of committed data wait for the transaction that a killed worker left open, until the broker ends it.
    """
    wait_until(lambda: len(rig.anomalies()) >= expected, f"{expected} anomalies")
    anomalies = rig.anomalies()
    assert len({each.id for each in anomalies}) == len(anomalies), "an anomaly was published twice"
    return verdicts(anomalies)


def test_a_worker_stopped_in_mid_stream_goes_on_as_if_it_had_not_been_away(rig: Rig) -> None:
    messages = lively_fleet(4, 150)
    third = len(messages) // 3
    parts = [messages[:third], messages[third : 2 * third], messages[2 * third :]]
    for part in parts:
        rig.produce(part)
        with rig.running(scorers=[sharp_scorer()], batch_max=50) as thread:
            thread.wait_for_records(len(part))
    expected = verdicts(offline(messages, sharp_scorer()))
    assert len(expected) > 200
    assert kept(rig) == expected
    assert metric(thread, "vigil_restored_nodes_total", stream="consensus") == 18
    assert metric(thread, "vigil_replayed_records_total", topic=rig.topic("consensus")) == 0
    assert metric(thread, "dwcp_metrics_processed_total", topic=rig.topic("consensus")) == len(parts[2])
    assert metric(thread, "vigil_cold_partitions_total", stream="consensus") == 0


def test_a_fault_in_the_first_second_after_a_restart_is_seen(rig: Rig) -> None:
    first, second = fleet(8, range(45)), fleet(8, range(45, 47), faults={("n3", 45): 90.0})
    rig.produce(first)
    with rig.running() as thread:
        thread.wait_for_records(len(first))
    rig.produce(second)
    with rig.running() as thread:
        thread.wait_for_records(len(second))
    assert [(node, round(score)) for _, score, node, _ in kept(rig)] == [("n3", 90), ("n3", 90)]


def test_what_is_replayed_publishes_no_dead_letter_twice(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fleet(4, range(40)) + [Telemetry(b"n1", b"broken %d" % i) for i in range(20)]
    rig.produce(first)
    state = StateConfig(every_steps=1000)
    with monkeypatch.context() as patched, rig.running(state=state) as thread:
        patched.setattr(Processor, "unsaved", lambda _: Batch())  # as if it had been killed
        thread.wait_for_records(len(first))
        thread.worker.stop()
        thread.join()
    rig.produce(fleet(4, range(40, 42)))
    with rig.running(state=state) as thread:
        thread.wait_for_records(8)
    assert metric(thread, "vigil_replayed_records_total", topic=rig.topic("consensus")) > 20
    assert len(rig.read("dead-letters")) == 20


def test_state_made_by_another_model_is_refused_said_and_the_nodes_start_anew(rig: Rig) -> None:
    first, second = lively_fleet(2, 80), lively_fleet(2, 40)
    rig.produce(first)
    with rig.running(scorers=[sharp_scorer()]) as thread:
        thread.wait_for_records(len(first))
    rig.produce(second)
    changed = sharp_scorer()
    changed.detectors[0].version = "consensus-other"
    with capture_logs() as logs, rig.running(scorers=[changed]) as thread:
        thread.wait_for_records(len(second))
    said = [each["reason"] for each in logs if each["event"].startswith("windows begin empty")]
    assert said
    assert all("consensus-other" in each for each in said)
    assert metric(thread, "vigil_refused_snapshots_total", stream="consensus") == 8
    assert metric(thread, "vigil_restored_nodes_total", stream="consensus") == 0
    assert metric(thread, "vigil_cold_partitions_total", stream="consensus") == len(said)
    rig.produce(fleet(1, range(2)))
    with rig.running(scorers=[changed_again()]) as thread:
        thread.wait_for_records(2)
    assert metric(thread, "vigil_restored_nodes_total", stream="consensus") == 8


def changed_again() -> Any:
    made = sharp_scorer()
    made.detectors[0].version = "consensus-other"
    return made


def test_without_a_state_topic_a_worker_says_so_and_works(bootstrap: str, redis_url: str) -> None:
    rig = Rig(bootstrap, redis_url)
    rig.create_topics(without=("state",))
    messages = fleet(4, range(40), faults={("n1", 35): 90.0})
    rig.produce(messages)
    with capture_logs() as logs, rig.running() as thread:
        thread.wait_for_records(len(messages))
    [said] = [each for each in logs if each["event"].startswith("windows are not kept")]
    assert rig.topic("state") in said["reason"]
    assert "vigil topics create" in said["fix"]
    assert kept(rig) == verdicts(offline(messages))


def test_a_lost_state_topic_is_said_and_windows_begin_empty(rig: Rig) -> None:
    first = fleet(4, range(45))
    rig.produce(first)
    with rig.running() as thread:
        thread.wait_for_records(len(first))
    admin = rig.admin
    admin.delete_topics([rig.topic("state")])[rig.topic("state")].result(20)
    wait_until(lambda: rig.topic("state") not in admin.list_topics(timeout=10).topics, "the topic to be gone")
    rig.create_topics()
    rig.produce(fleet(4, range(45, 80), faults={("n1", 46): 90.0, ("n1", 79): 70.0}))
    with capture_logs() as logs, rig.running() as thread:
        thread.wait_for_records(4 * 35)
    assert {each["reason"] for each in logs if each["event"].startswith("windows begin empty")} == {
        "the state topic has nothing about it"
    }
    assert [(node, round(score)) for _, score, node, _ in kept(rig)] == [("n1", 70)]


def apache_only(broker_kind: str) -> None:
    if broker_kind == "embedded":
        pytest.skip("the embedded broker never notices a member that died: only with --kafka=apache")


@pytest.mark.parametrize("name", [None, "worker-0"], ids=["no name", "stable name"])
def test_a_worker_killed_in_mid_stream_and_started_again_changes_no_verdict(
    rig: Rig, broker_kind: str, name: str | None
) -> None:
    apache_only(broker_kind)
    messages = lively_fleet(6, 300)
    rig.produce(messages)
    settings = {"sharp": True, "worker": {"batch_max": 100}, "kafka": {"group_instance_id": name}}
    for share in (0.2, 0.45, 0.7):
        with process(rig, **settings) as worker:
            wait_until(lambda part=share: rig.read_through() > part * len(messages), f"{share:.0%} committed")
            worker.send_signal(signal.SIGKILL)
            assert worker.wait(20) == -signal.SIGKILL
    assert rig.read_through() < len(messages)
    with process(rig, **settings):
        wait_until(lambda: rig.read_through() == len(messages), "all records committed")
    expected = verdicts(offline(messages, sharp_scorer()))
    assert len(expected) > 500
    assert kept(rig, len(expected)) == expected


def test_a_successor_started_beside_a_worker_under_its_name_takes_over_and_changes_no_verdict(rig: Rig) -> None:
    messages = lively_fleet(6, 300)
    half = len(messages) // 2
    settings = {"sharp": True, "worker": {"batch_max": 100}, "kafka": {"group_instance_id": "worker-0"}}
    with process(rig, **settings) as older:
        rig.produce(messages[:half])
        wait_until(lambda: rig.read_through() > 0.2 * len(messages), "records committed")
        with process(rig, **settings) as newer:
            assert older.wait(60) == 1
            rig.produce(messages[half:])
            wait_until(lambda: rig.read_through() == len(messages), "all records committed")
            newer.send_signal(signal.SIGTERM)
            assert newer.wait(60) == 0
    expected = verdicts(offline(messages, sharp_scorer()))
    assert kept(rig, len(expected)) == expected


def test_a_worker_that_takes_over_from_a_killed_one_changes_no_verdict(rig: Rig, broker_kind: str) -> None:
    apache_only(broker_kind)
    messages = lively_fleet(6, 300)
    half = len(messages) // 2
    settings = {"sharp": True, "worker": {"batch_max": 100}}
    with rig.running(scorers=[sharp_scorer()], batch_max=100) as thread:
        thread.wait_for_partitions(4)
        with process(rig, **settings) as other:
            thread.wait_for_partitions(2)
            rig.produce(messages[:half])
            wait_until(lambda: 0.4 * len(messages) < rig.read_through(), "records of both committed")
            other.send_signal(signal.SIGKILL)
            rig.produce(messages[half:])
            thread.wait_for_partitions(4)
            wait_until(lambda: rig.read_through() == len(messages), "all records committed")
        assert metric(thread, "vigil_restored_nodes_total", stream="consensus") > 0
    expected = verdicts(offline(messages, sharp_scorer()))
    assert kept(rig, len(expected)) == expected


def test_a_partition_that_moves_between_living_workers_keeps_its_windows(rig: Rig, broker_kind: str) -> None:
    apache_only(broker_kind)
    messages = lively_fleet(6, 200)
    half = len(messages) // 2
    with rig.running(scorers=[sharp_scorer()]) as one:
        one.wait_for_partitions(4)
        rig.produce(messages[:half])
        one.wait_for_records(half)
        with rig.running(scorers=[sharp_scorer()]) as other:
            other.wait_for_partitions(2)
            rig.produce(messages[half:])
            wait_until(lambda: rig.read_through() == len(messages), "all records committed")
            assert metric(other, "vigil_restored_nodes_total", stream="consensus") > 0
    assert kept(rig) == verdicts(offline(messages, sharp_scorer()))
