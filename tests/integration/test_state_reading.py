"""Reading the state topic back: deadlines, refusals, what is open, and errors inside a rebalance."""

import time

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from fleet_samples import fleet
from rig import PARTITIONS, Rig, wait_until

from streams import WorkerFatal
from streams.changelog import Restored
from streams.fencing import Fencing
from streams.kafka import consumer_properties
from streams.publisher import BatchAbandonedError
from streams.recovery import Recovery, RecoveryEvents
from streams.source import Partition, Source
from streams.state import Progress, Saved, SavedPartition, node_key, progress_key
from streams.stopping import StopRequest


class Told:
    """Takes note of what a recovery found."""

    def __init__(self) -> None:
        self.saved: dict[Partition, SavedPartition] = {}
        self.committed: dict[Partition, int | None] = {}
        self.unstable: dict[Partition, int] = {}

    def restore(self, partition: Partition, saved: SavedPartition, committed: int | None) -> Restored:
        self.saved[partition], self.committed[partition] = saved, committed
        return Restored(start=5 if saved.progress else None)


def recovery(
    rig: Rig, *, within_s: float = 20, stop: StopRequest | None = None, topic: str = "", told: Told | None = None
) -> Recovery:
    return Recovery(
        consumer_properties(rig.kafka, statistics_s=1),
        group=rig.name,
        topic=topic or rig.topic("state"),
        within_s=within_s,
        stop=stop or StopRequest(5),
        fencing=Fencing(
            f"{rig.name}.own",
            lambda name: Producer({"bootstrap.servers": rig.bootstrap, "transactional.id": name}),
        ),
        events=RecoveryEvents(unstable=(told or Told()).unstable.update),
    )


def partitions(rig: Rig, count: int = PARTITIONS) -> list[Partition]:
    return [(rig.topic("consensus"), number) for number in range(count)]


def transaction(rig: Rig, name: str) -> Producer:
    producer = Producer({"bootstrap.servers": rig.bootstrap, "transactional.id": f"{rig.name}.{name}"})
    producer.init_transactions(20)
    producer.begin_transaction()
    return producer


def write(
    rig: Rig, producer: Producer, number: int, records: list[tuple[bytes, bytes | None]], worker: str = ""
) -> None:
    for key, value in records:
        producer.produce(rig.topic("state"), value, key, number, headers=[("epoch", "4"), ("worker", worker)])
    assert producer.flush(20) == 0


def test_the_newest_record_of_each_key_counts_and_deleted_ones_are_gone(rig: Rig) -> None:
    topic, group = rig.topic("consensus"), rig.name
    producer = transaction(rig, "a")
    first, second = node_key(group, topic, "n1"), node_key(group, topic, "n2")
    progress = progress_key(group, topic)
    write(rig, producer, 2, [(first, b"old"), (second, b"x"), (progress, b"p"), (first, b"new"), (second, None)])
    producer.commit_transaction(20)
    aborted = transaction(rig, "b")
    write(rig, aborted, 2, [(first, b"never")])
    aborted.abort_transaction(20)
    told = Told()
    assert recovery(rig).restore(partitions(rig), told.restore) == {(topic, 2): 5}
    assert told.saved[topic, 2] == SavedPartition(Saved(4, b"p"), {"n1": Saved(4, b"new")})
    assert told.saved[topic, 1] == SavedPartition()
    assert set(told.committed.values()) == {None}


def test_partitions_without_a_partition_in_the_state_topic_are_left_out(rig: Rig) -> None:
    told = Told()
    recovery(rig).restore(partitions(rig, PARTITIONS + 2), told.restore)
    assert sorted(told.saved) == partitions(rig)


def test_a_state_topic_that_cannot_be_read_in_time_ends_the_worker_instead_of_its_state(rig: Rig) -> None:
    told = Told()
    with pytest.raises(WorkerFatal, match=r"within 0\.3 s, half of kafka\.max_poll_interval_ms"):
        recovery(rig, within_s=0.3, topic=f"{rig.name}.gone").restore(partitions(rig), told.restore)
    assert told.saved == {}


def test_a_stop_request_ends_the_waiting(rig: Rig) -> None:
    stop = StopRequest(5)
    stop.request()
    with pytest.raises(BatchAbandonedError, match="asked to stop"):
        recovery(rig, stop=stop).restore(partitions(rig), Told().restore)


def test_an_open_transaction_is_waited_for_only_where_nothing_else_is_known(rig: Rig, broker_kind: str) -> None:
    if broker_kind == "embedded":
        pytest.skip("the embedded broker shows no end beyond an open transaction")
    topic, group = rig.topic("consensus"), rig.name
    commit_offsets(rig, {1: 10, 2: 10})
    done = transaction(rig, "a")
    write(rig, done, 1, [(progress_key(group, topic), b"p")])
    done.commit_transaction(20)
    open_ = transaction(rig, "b")
    write(rig, open_, 1, [(progress_key(group, topic), b"open")])
    told = Told()
    assert recovery(rig, within_s=10).restore([(topic, 1)], told.restore) == {(topic, 1): 5}
    assert told.saved[topic, 1].progress == Saved(4, b"p")
    write(rig, open_, 2, [(progress_key(group, topic), b"open")])
    with pytest.raises(WorkerFatal, match="within 2 s"):
        recovery(rig, within_s=2).restore([(topic, 2)], told.restore)
    open_.commit_transaction(20)
    recovery(rig).restore([(topic, 2)], told.restore)
    assert told.saved[topic, 2].progress == Saved(4, b"open")
    assert told.committed[topic, 2] == 10


def progress(next_: int) -> bytes:
    return msgspec.json.encode(Progress(start=next_ - 3, next=next_, watermark=None, made_by={}))


def left_open(rig: Rig, name: str, offsets: dict[int, int]) -> Producer:
    """A transaction over the group's offsets alone: what a lost marker looks like to the group."""
    producer = transaction(rig, name)
    consumer = Consumer({"bootstrap.servers": rig.bootstrap, "group.id": rig.name})
    producer.send_offsets_to_transaction(
        [TopicPartition(rig.topic("consensus"), number, at) for number, at in offsets.items()],
        consumer.consumer_group_metadata(),
        20,
    )
    consumer.close()
    return producer


def test_where_the_group_goes_on_is_in_the_state_topic_when_a_transaction_over_its_offsets_never_ends(
    rig: Rig, broker_kind: str
) -> None:
    unstable_offsets(broker_kind)
    topic, key = rig.topic("consensus"), progress_key(rig.name, rig.topic("consensus"))
    commit_offsets(rig, {0: 10, 1: 10})
    done = transaction(rig, "a")
    write(rig, done, 0, [(key, progress(10))])
    write(rig, done, 1, [(key, progress(17))])
    done.commit_transaction(20)
    hanging = left_open(rig, "b", {0: 12, 1: 17, 2: 4})
    told = Told()
    starts = recovery(rig, told=told).restore(partitions(rig, 3), told.restore)
    assert starts == {(topic, 0): 5, (topic, 1): 5, (topic, 2): OFFSET_BEGINNING}
    assert told.committed == {(topic, 0): 10, (topic, 1): 17, (topic, 2): None}
    assert told.unstable == {(topic, 0): 10, (topic, 1): 17}
    hanging.abort_transaction(20)


def test_an_undecided_transaction_is_waited_for_and_then_named_with_the_command_that_finds_it(
    rig: Rig, broker_kind: str
) -> None:
    unstable_offsets(broker_kind)
    topic, key = rig.topic("consensus"), progress_key(rig.name, rig.topic("consensus"))
    commit_offsets(rig, {1: 10})
    done = transaction(rig, "a")
    write(rig, done, 1, [(key, progress(10))])
    done.commit_transaction(20)
    undecided = left_open(rig, "b", {1: 20})
    write(rig, undecided, 1, [(key, progress(20))])
    told = Told()
    with pytest.raises(WorkerFatal, match=r"kafka-transactions\.sh .* find-hanging"):
        recovery(rig, within_s=4, told=told).restore([(topic, 1)], told.restore)
    assert told.saved == {}
    undecided.commit_transaction(20)
    recovery(rig, told=told).restore([(topic, 1)], told.restore)
    assert told.committed[topic, 1] == 20


def test_the_transaction_that_a_dead_worker_left_open_is_ended_at_once_and_no_other(rig: Rig, broker_kind: str) -> None:
    unstable_offsets(broker_kind)
    topic, key = rig.topic("consensus"), progress_key(rig.name, rig.topic("consensus"))
    commit_offsets(rig, {1: 10, 2: 10})
    done = transaction(rig, "a")
    write(rig, done, 1, [(key, progress(10))])
    done.commit_transaction(20)
    dead = left_open(rig, "dead", {1: 20})
    write(rig, dead, 1, [(key, progress(20))], f"{rig.name}.dead")
    neighbour = transaction(rig, "neighbour")
    write(rig, neighbour, 1, [(progress_key(rig.name, "other"), progress(7))], f"{rig.name}.neighbour")
    told, began = Told(), time.monotonic()
    recovery(rig, told=told).restore([(topic, 1)], told.restore)
    assert time.monotonic() - began < 10, "the broker would end it after a minute"
    assert told.committed == {(topic, 1): 10}
    assert told.unstable == {}
    with pytest.raises(KafkaException):
        dead.commit_transaction(20)
    neighbour.commit_transaction(20)


def test_progress_that_is_older_than_what_was_committed_decides_nothing(rig: Rig, broker_kind: str) -> None:
    unstable_offsets(broker_kind)
    topic, key = rig.topic("consensus"), progress_key(rig.name, rig.topic("consensus"))
    commit_offsets(rig, {1: 10})
    done = transaction(rig, "a")
    write(rig, done, 1, [(key, progress(9))])
    done.commit_transaction(20)
    hanging = left_open(rig, "b", {1: 12})
    with pytest.raises(WorkerFatal, match="within 4 s"):
        recovery(rig, within_s=4).restore([(topic, 1)], Told().restore)
    hanging.abort_transaction(20)


def unstable_offsets(broker_kind: str) -> None:
    if broker_kind == "embedded":
        pytest.skip("the embedded broker answers for a group's offsets while a transaction over them is open")


def commit_offsets(rig: Rig, offsets: dict[int, int]) -> None:
    consumer = Consumer({"bootstrap.servers": rig.bootstrap, "group.id": rig.name, "enable.auto.commit": False})
    consumer.commit(
        offsets=[TopicPartition(rig.topic("consensus"), number, at) for number, at in offsets.items()],
        asynchronous=False,
    )
    consumer.close()


def test_what_is_raised_inside_a_rebalance_comes_out_of_reading(rig: Rig) -> None:
    def refuse(_: list[Partition]) -> dict[Partition, int]:
        raise WorkerFatal("state is away")

    source = Source(
        consumer_properties(rig.kafka, statistics_s=1),
        [rig.topic("consensus")],
        on_assigned=refuse,
        on_revoked=lambda *_: None,
    )
    source.join()

    def read() -> bool:
        source.read(10, wait=0.1, linger=0)
        return False

    with pytest.raises(WorkerFatal, match="state is away"):
        wait_until(read, "the rebalance")
    source.close()


def test_where_partitions_start_is_what_the_assignment_says(rig: Rig) -> None:
    rig.produce(fleet(1, range(10)), partition=0)
    source = Source(
        consumer_properties(rig.kafka, statistics_s=1),
        [rig.topic("consensus")],
        on_assigned=lambda found: dict.fromkeys(found, 0) | {(rig.topic("consensus"), 0): 7},
        on_revoked=lambda *_: None,
    )
    source.join()
    offsets: list[int] = []

    def has_all() -> bool:
        offsets.extend(at for each in source.read(10, wait=0.1, linger=0.1) for at in each.offsets.tolist())
        return len(offsets) >= 3

    wait_until(has_all, "three records")
    assert offsets == [7, 8, 9]
    source.close()
