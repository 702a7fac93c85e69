"""Stopping, starting, sharing, being fenced: what was committed is never repeated, what was not is never lost."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from apache import ApacheKafka
from fleet_samples import PeakDetector, Telemetry, fleet, offline, verdicts
from numpy.typing import NDArray
from rig import Rig, WorkerThread, wait_until

from detectors.scoring import StreamScorer
from features.batch import WindowBatch
from schemas.streams import CONSENSUS
from streams import DeadLetterLimits, WorkerFatal
from streams.kafka import producer_properties
from streams.publisher import Publisher
from streams.stopping import StopRequest
from streams.worker import run

PROCESS = Path(__file__).with_name("worker_process.py")
QUICK = {"session_timeout_ms": 6000, "max_poll_interval_ms": 6000}
FAULTS = {("n1", 40): 60.0, ("n2", 95): 90.0, ("n3", 98): 130.0, ("n5", 33): 70.0}


@contextmanager
def process(rig: Rig) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, str(PROCESS), rig.bootstrap, rig.redis_url, rig.name]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield running
    finally:
        if running.poll() is None:
            running.terminate()
        running.communicate(timeout=30)


def read_through(rig: Rig) -> int:
    return sum(max(0, offset) for offset in rig.committed().values())


def test_a_restarted_worker_goes_on_at_the_committed_offset_and_repeats_nothing(rig: Rig) -> None:
    first, second = fleet(8, range(60), faults=FAULTS), fleet(8, range(60, 120), faults=FAULTS)
    rig.produce(first)
    with rig.running() as thread:
        thread.wait_for_records(len(first))
    rig.produce(second)
    with rig.running() as thread:
        thread.wait_for_records(len(second))
    assert thread.worker.monitor.records == len(second)
    found = rig.anomalies()
    assert verdicts(found) == verdicts(offline(first + second))
    assert len({each.id for each in found}) == len(found) == 12


def test_sigterm_commits_the_batch_leaves_the_group_and_exits_with_0(rig: Rig) -> None:
    messages = fleet(8, range(60), faults=FAULTS)
    rig.produce(messages)
    with process(rig) as worker:
        wait_until(lambda: read_through(rig) == len(messages), "all records committed")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
    rig.take_all_partitions()
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))


def test_the_signal_handlers_stop_a_worker_and_are_put_back(rig: Rig) -> None:
    messages = fleet(4, range(31), faults={("n1", 30): 99.0})
    rig.produce(messages)
    worker, before = rig.worker(), signal.getsignal(signal.SIGTERM)

    def end_when_done() -> None:
        wait_until(lambda: worker.monitor.records == len(messages), "all records committed")
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=end_when_done)
    watcher.start()
    assert run(worker) == 0
    watcher.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))


def test_a_worker_that_cannot_go_on_exits_with_1(rig: Rig) -> None:
    rig.produce([Telemetry(b"n1", b"flood") for _ in range(20)])
    assert run(rig.worker(limits=DeadLetterLimits(max_run=10))) == 1


def test_sigterm_in_the_middle_of_a_backlog_loses_and_repeats_nothing(rig: Rig) -> None:
    messages = fleet(50, range(200))
    rig.produce(messages)
    with process(rig) as worker:
        wait_until(lambda: read_through(rig) > 0, "the first commit")
        worker.send_signal(signal.SIGINT)
        assert worker.wait(20) == 0
    done = read_through(rig)
    with rig.running() as thread:
        if done < len(messages):
            thread.wait_for_records(len(messages) - done)
    assert thread.worker.monitor.records == len(messages) - done
    assert read_through(rig) == len(messages)


def needs_a_second_rebalance(broker_kind: str) -> None:
    if broker_kind == "embedded":
        pytest.skip("the embedded broker stalls when a member that gave partitions up joins again (cooperative-sticky)")


def test_two_workers_share_the_partitions_and_together_find_what_one_would(rig: Rig, broker_kind: str) -> None:
    needs_a_second_rebalance(broker_kind)
    messages = fleet(24, range(45), faults={(f"n{node}", 35): 60.0 + node for node in range(24)})
    with rig.running() as one:
        one.wait_for_partitions(4)
        with rig.running() as other:
            one.wait_for_partitions(2)
            other.wait_for_partitions(2)
            rig.produce(messages)
            counts = [one.worker.monitor, other.worker.monitor]
            wait_until(lambda: sum(each.records for each in counts) == len(messages), "all records committed")
            assert min(each.records for each in counts) > 0
            assert one.worker.lifecycle.held.isdisjoint(other.worker.lifecycle.held)
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))


def test_when_one_of_two_workers_leaves_the_other_takes_over_its_partitions(rig: Rig, broker_kind: str) -> None:
    needs_a_second_rebalance(broker_kind)
    with rig.running() as staying:
        with rig.running() as leaving:
            leaving.wait_for_partitions(2)
            staying.wait_for_partitions(2)
        staying.wait_for_partitions(4)
        messages = fleet(8, range(45), faults=FAULTS)
        rig.produce(messages)
        staying.wait_for_records(len(messages))
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))


class HeldDetector(PeakDetector):
    """Lets nothing through until released: a batch that takes longer than the group allows."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.release = threading.Event()

    def score(self, windows: WindowBatch, state: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        if len(windows):
            self.entered.set()
            self.release.wait(60)
        return super().score(windows, state)


def test_a_batch_that_outlives_its_membership_is_not_committed_but_read_again(rig: Rig) -> None:
    messages = fleet(8, range(45), faults=FAULTS)
    rig.produce(messages)
    detector = HeldDetector()
    with rig.running(scorers=[StreamScorer(CONSENSUS, [detector])], kafka=QUICK) as thread:
        assert detector.entered.wait(30)
        rig.take_all_partitions()
        assert read_through(rig) == 0
        detector.release.set()
        wait_until(lambda: read_through(rig) == len(messages), "all records committed after all")
    metrics = thread.worker.registry
    assert metrics.get_sample_value("vigil_transactions_total", {"result": "abandoned"}) == 1
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))


def test_a_worker_fenced_by_a_newer_one_of_its_name_ends_as_fatal(rig: Rig) -> None:
    name = {"group_instance_id": "worker-0"}
    thread = WorkerThread(rig.worker(kafka=name))
    thread.wait_for_partitions(4)
    usurper = Publisher(
        producer_properties(rig.kafka, transactional_id=f"{rig.name}.worker-0", message_max_bytes=1_000_000),
        stop=StopRequest(5),
    )
    usurper.open()
    rig.produce(fleet(4, range(45), faults=FAULTS))
    with pytest.raises(WorkerFatal, match="fenced"):
        thread.join()
    usurper.close()
    assert rig.anomalies() == []
    assert read_through(rig) == 0


def test_readers_of_committed_data_never_see_an_aborted_transaction(rig: Rig) -> None:
    name = {"group_instance_id": "worker-0"}
    thread = WorkerThread(rig.worker(kafka=name))
    thread.wait_for_partitions(4)
    usurper = Publisher(
        producer_properties(rig.kafka, transactional_id=f"{rig.name}.worker-0", message_max_bytes=1_000_000),
        stop=StopRequest(5),
    )
    usurper.open()
    messages = fleet(4, range(45), faults=FAULTS)
    rig.produce(messages)
    with pytest.raises(WorkerFatal):
        thread.join()
    usurper.close()
    with rig.running(kafka=name) as again:
        again.wait_for_records(len(messages))
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))


def test_missing_topics_are_waited_for(bootstrap: str, redis_url: str) -> None:
    rig = Rig(bootstrap, redis_url)
    with rig.running() as thread:
        wait_until(lambda: "topics do not exist" in thread.worker.monitor.health.waiting, "the reason to be known")
        rig.create_topics()
        thread.wait_for_partitions(4)


def test_a_worker_survives_an_outage_of_kafka_and_loses_and_repeats_nothing(
    broker_kind: str, redis_url: str, tmp_path: Path
) -> None:
    if broker_kind != "apache":
        pytest.skip("crashes a broker of its own: only with --kafka=apache")
    broker = ApacheKafka(tmp_path / "kafka").start()
    try:
        rig = Rig(broker.bootstrap, redis_url)
        rig.create_topics()
        first, second = fleet(8, range(45), faults=FAULTS), fleet(8, range(45, 90), faults={("n4", 46): 66.0})
        with rig.running() as thread:
            rig.produce(first)
            thread.wait_for_records(len(first))
            # A crash between a commit and its marker in the group's partition is a fault of the broker's own (4.3.1):
            # the group's offsets then stay unstable for good.
            wait_until(lambda: read_through(rig) == len(first), "the commit to be complete on the broker")
            broker.stop(signal.SIGKILL)
            wait_until(lambda: not thread.worker.monitor.state().broker_up, "the outage to be noticed")
            broker.start()
            rig.produce(second)
            thread.wait_for_records(len(first) + len(second))
            assert thread.alive
        # Membership lapsed, so windows were brought back: the fault comes with the second step after the outage.
        assert verdicts(rig.anomalies()) == verdicts(offline(first + second))
    finally:
        broker.stop()


def test_a_stop_request_while_kafka_is_away_ends_the_worker_within_its_bound(
    broker_kind: str, redis_url: str, tmp_path: Path
) -> None:
    if broker_kind != "apache":
        pytest.skip("stops a broker of its own: only with --kafka=apache")
    broker = ApacheKafka(tmp_path / "kafka").start()
    try:
        rig = Rig(broker.bootstrap, redis_url)
        rig.create_topics()
        detector = HeldDetector()
        rig.produce(fleet(8, range(45), faults=FAULTS))
        thread = WorkerThread(rig.worker(scorers=[StreamScorer(CONSENSUS, [detector])], shutdown_s=3))
        assert detector.entered.wait(30)
        broker.stop(signal.SIGKILL)
        thread.worker.stop()
        detector.release.set()
        thread.join(20)
    finally:
        broker.stop()
    assert thread.worker.monitor.records == 0


def test_a_worker_that_is_asked_to_stop_before_kafka_answers_ends(redis_url: str) -> None:
    rig = Rig("127.0.0.1:1", redis_url)
    thread = WorkerThread(rig.worker())
    wait_until(lambda: thread.worker.monitor.health.waiting == "waiting for Kafka", "the start")
    thread.worker.stop()
    thread.join(20)
