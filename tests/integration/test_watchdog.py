"""A partition that is assigned and does not advance is noticed, said with stacks, and ends the worker."""

import threading

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from fleet_samples import PeakDetector, fleet
from numpy.typing import NDArray
from rig import Rig, WorkerThread, wait_until
from structlog.testing import capture_logs

from detectors.scoring import StreamScorer
from features.batch import WindowBatch
from schemas.streams import CONSENSUS
from streams import StateConfig, WorkerFatal


class HangingDetector(PeakDetector):
    """Never comes back until released."""

    def __init__(self) -> None:
        super().__init__()
        self.release = threading.Event()

    def score(self, windows: WindowBatch, state: NDArray[np.float32] | None = None) -> NDArray[np.float64]:
        if len(windows):
            self.release.wait(60)
        return super().score(windows, state)


def stuck(thread: WorkerThread) -> float:
    return thread.worker.registry.get_sample_value("vigil_stuck_partitions") or 0.0


def test_a_hanging_batch_is_reported_with_the_stacks_of_all_threads_and_ends_the_worker(rig: Rig) -> None:
    detector, hung = HangingDetector(), threading.Event()
    rig.produce(fleet(4, range(40)))
    with capture_logs() as logs:
        worker = rig.worker(scorers=[StreamScorer(CONSENSUS, [detector])], stuck_s=0.5, stuck_exit_s=2, shutdown_s=0.1)
        worker.on_hang = hung.set
        thread = WorkerThread(worker)
        wait_until(lambda: stuck(thread) > 0, "the metric")
        assert hung.wait(40), "the watchdog to give the worker up"
        detector.release.set()
        with pytest.raises(WorkerFatal, match=rf"stand still .*{rig.name}\.consensus\[\d\] at its start of \d+ for"):
            thread.join()
    [said] = [each for each in logs if each["event"].startswith("partitions stand still")]
    assert "self.release.wait" in said["stacks"]
    assert "thread watchdog" in said["stacks"]
    assert thread.worker.lifecycle.phase == "failed"


def test_an_idle_worker_and_a_working_one_are_not_stuck(rig: Rig) -> None:
    with capture_logs() as logs, rig.running(stuck_s=0.3, stuck_exit_s=0.6) as thread:
        for part in range(4):
            messages = fleet(4, range(10 * part, 10 * part + 10))
            rig.produce(messages)
            thread.wait_for_records(40 * (part + 1))
        ends = threading.Event()
        assert not ends.wait(1.5)
        assert thread.alive
        assert stuck(thread) == 0
    assert not [each for each in logs if each["event"].startswith("partitions stand still")]


def test_offsets_that_stay_unstable_end_a_worker_without_state_and_name_the_command(rig: Rig, broker_kind: str) -> None:
    if broker_kind == "embedded":
        pytest.skip("the embedded broker answers for a group's offsets while a transaction over them is open")
    open_ = Producer({"bootstrap.servers": rig.bootstrap, "transactional.id": f"{rig.name}.left-open"})
    open_.init_transactions(20)
    open_.begin_transaction()
    consumer = Consumer({"bootstrap.servers": rig.bootstrap, "group.id": rig.name})
    open_.send_offsets_to_transaction(
        [TopicPartition(rig.topic("consensus"), 0, 1)], consumer.consumer_group_metadata(), 20
    )
    consumer.close()
    rig.produce(fleet(4, range(40)), partition=0)
    thread = WorkerThread(rig.worker(state=StateConfig(enabled=False), stuck_s=0.5, stuck_exit_s=2))
    with pytest.raises(WorkerFatal, match=r"kafka-transactions\.sh .* find-hanging"):
        thread.join()
    open_.abort_transaction(20)
