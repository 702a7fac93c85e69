"""The seams of a transaction on a real broker: limits, sizes, ages, partitions that go while a batch is gathered."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer, TopicPartition
from fleet_samples import Telemetry, fleet, offline, verdicts
from rig import PARTITIONS, Rig, WorkerThread, wait_until

from streams import DeadLetterLimit, DeadLetterLimits, StreamsConfigError, WorkerFatal
from streams.kafka import consumer_properties, producer_properties
from streams.publisher import BatchAbandonedError, OutputRecord, Publisher
from streams.source import Partition, Source
from streams.stopping import StopRequest


@contextmanager
def joined(rig: Rig) -> Iterator[Source]:
    """A source with all partitions."""
    held: set[Partition] = set()

    def assigned(partitions: list[Partition]) -> dict[Partition, int]:
        held.update(partitions)
        return {}

    source = Source(
        consumer_properties(rig.kafka, statistics_s=1),
        [rig.topic("consensus")],
        on_assigned=assigned,
        on_revoked=lambda partitions, _: held.difference_update(partitions),
    )
    source.join()
    try:

        def has_all() -> bool:
            assert not source.read(1, wait=0.05, linger=0)
            return len(held) == PARTITIONS

        wait_until(has_all, "all partitions")
        yield source
    finally:
        source.close()


def publisher(rig: Rig, *, timeout_ms: int = 10_000) -> Publisher:
    properties = producer_properties(rig.kafka, transactional_id=rig.name, message_max_bytes=1_000_000)
    made = Publisher({**properties, "transaction.timeout.ms": timeout_ms}, stop=StopRequest(5))
    made.open()
    return made


def output(rig: Rig, value: bytes = b"{}") -> OutputRecord:
    return OutputRecord(rig.topic("anomalies"), b"k", value, [])


class Overtaken:
    """Membership of a worker that, in the middle of its transaction, is overtaken by a producer of its own name."""

    def __init__(self, rig: Rig, source: Source, *, age_s: float) -> None:
        self._rig, self._source, self._age_s = rig, source, age_s
        self.began = time.monotonic()

    def group_metadata(self) -> object | None:
        other = publisher(self._rig)
        wait_until(lambda: time.monotonic() - self.began > self._age_s, "the transaction to be old enough")
        other.close()
        return self._source.group_metadata()


def test_fenced_within_its_time_is_fatal(rig: Rig) -> None:
    with joined(rig) as source:
        mine = publisher(rig)
        with pytest.raises(WorkerFatal, match="a newer worker publishes under the same transactional id"):
            mine.publish([output(rig)], [], Overtaken(rig, source, age_s=0))
        mine.close()
    assert rig.read("anomalies") == []


def test_a_transaction_that_the_broker_may_have_ended_for_its_age_is_given_up_and_the_next_one_works(rig: Rig) -> None:
    with joined(rig) as source:
        mine = publisher(rig, timeout_ms=1000)
        with pytest.raises(BatchAbandonedError, match="Kafka ended it"):
            mine.publish([output(rig, b"lost")], [], Overtaken(rig, source, age_s=1.1))
        mine.publish([output(rig, b"kept")], [], source)
        mine.close()
    assert [each.value() for each in rig.read("anomalies")] == [b"kept"]


class NoMember:
    def group_metadata(self) -> object | None:
        return None


def test_who_is_no_member_of_the_group_commits_nothing(rig: Rig) -> None:
    mine = publisher(rig)
    with pytest.raises(BatchAbandonedError, match="no longer a member"):
        mine.publish([output(rig)], [], NoMember())
    mine.close()
    assert rig.read("anomalies") == []
    assert len(rig.read("anomalies", isolation="read_uncommitted")) == 1


def test_records_of_a_partition_that_goes_while_they_are_gathered_are_not_returned_and_read_again(rig: Rig) -> None:
    with joined(rig) as source:
        rig.produce([Telemetry(b"a", b"%d" % i) for i in range(10)], partition=0)
        rig.produce([Telemetry(b"b", b"%d" % i) for i in range(10)], partition=1)
        topic = rig.topic("consensus")
        messages: list[object] = []

        def has_all() -> bool:
            messages.extend(source._consumer.consume(100, 0.05))
            return len(messages) == 20

        wait_until(has_all, "20 records")
        source._revoked = {(topic, 0)}
        kept = source._without_revoked(messages)  # type: ignore[arg-type]
        assert {each.partition() for each in kept} == {1}
        again: list[int] = []

        def has_again() -> bool:
            for each in source.read(100, wait=0.05, linger=0.05):
                assert each.partitions.tolist() == [0] * len(each)
                again.extend(each.offsets.tolist())
            return len(again) == 10

        wait_until(has_again, "the records once more")
        assert again == list(range(10))


def test_a_batch_goes_back_to_what_the_group_has_committed(rig: Rig) -> None:
    with joined(rig) as source:
        topic = rig.topic("consensus")
        rig.produce([Telemetry(b"a", b"%d" % i) for i in range(10)], partition=2)
        read: list[int] = []

        def has_all() -> bool:
            read.extend(offset for each in source.read(100, wait=0.05, linger=0.05) for offset in each.offsets.tolist())
            return len(read) >= 10

        wait_until(has_all, "10 records")
        source.rewind_to_committed({(topic, 2): 4, ("not mine", 0): 0}, stop=StopRequest(5))
        read.clear()
        wait_until(lambda: has_all() or len(read) == 6, "the records once more")
        assert read == list(range(4, 10))


def test_waiting_for_what_the_group_has_committed_ends_where_kafka_never_decides(
    rig: Rig, broker_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broker_kind == "embedded":
        pytest.skip("the embedded broker answers for a group's offsets while a transaction over them is open")
    monkeypatch.setattr("streams.source.UNSTABLE_SECONDS", 0.5)
    topic = rig.topic("consensus")
    with joined(rig) as source:
        wait_until(lambda: source.read(1, wait=0.05, linger=0) == [] and source.state.broker_up, "the client's word")
        open_ = Producer({"bootstrap.servers": rig.bootstrap, "transactional.id": f"{rig.name}.left-open"})
        open_.init_transactions(20)
        open_.begin_transaction()
        open_.send_offsets_to_transaction([TopicPartition(topic, 2, 1)], source.group_metadata(), 20)
        assert not source.rewind_to_committed({(topic, 2): 4}, stop=StopRequest(5))
        open_.abort_transaction(20)
        assert source.rewind_to_committed({(topic, 2): 4}, stop=StopRequest(5))


def test_a_flood_of_broken_records_halts_the_worker_before_any_of_it_is_committed(rig: Rig) -> None:
    rig.produce([Telemetry(b"n1", b"flood %d" % i) for i in range(200)])
    thread = WorkerThread(rig.worker(limits=DeadLetterLimits(max_run=100)))
    with pytest.raises(DeadLetterLimit, match=r"in a row are unusable .limit 100.; first at offset 0: not-json"):
        thread.join()
    assert rig.read("dead-letters") == []
    assert set(rig.committed().values()) == {-1001}
    assert thread.worker.lifecycle.reason.startswith(rig.topic("consensus"))


def test_a_flood_is_let_through_and_counted_where_the_settings_say_so(rig: Rig) -> None:
    messages = fleet(2, range(31), faults={("n1", 30): 99.0})
    rig.produce([Telemetry(b"n1", b"flood %d" % i) for i in range(200)])
    rig.produce(messages)
    with rig.running(limits=DeadLetterLimits(max_run=100, action="continue")) as thread:
        thread.wait_for_records(200 + len(messages))
    assert len(rig.read("dead-letters")) == 200
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))
    passed = thread.worker.registry.get_sample_value("vigil_dead_letter_limit_total")
    assert passed is not None
    assert passed >= 1


def test_anomalies_that_the_topic_takes_in_no_size_are_fatal_and_nothing_is_committed(
    bootstrap: str, redis_url: str, broker_kind: str
) -> None:
    if broker_kind == "embedded":
        pytest.skip("the embedded broker takes records of any size")
    rig = Rig(bootstrap, redis_url)
    rig.create_topics(anomalies={"max_message_bytes": 100})
    rig.produce(fleet(2, range(31), faults={("n1", 30): 99.0}))
    thread = WorkerThread(rig.worker())
    with pytest.raises(WorkerFatal, match="for its size"):
        thread.join()
    assert all(offset < 31 for offset in rig.committed().values())
    assert rig.anomalies() == []


def test_a_worker_without_streams_or_with_two_on_one_topic_is_refused(rig: Rig) -> None:
    with pytest.raises(StreamsConfigError, match="at least one stream"):
        rig.worker(scorers=())
