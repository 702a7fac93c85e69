"""The alert service in a process of its own, on a broker over TCP."""

import time
from collections.abc import Callable

import pytest
from alert_samples import START_MS, flagged
from alert_watch import ready, sample
from confluent_kafka import Consumer, Producer, TopicPartition
from msgspec.structs import replace

from benchmarks.alert_stage import AlertReader, AlertStage
from benchmarks.waiting import PATIENCE_SECONDS, wait_until
from detectors.alerts import AlertPlane
from schemas.codec import encode
from schemas.outputs import Anomaly
from vigil.demo.stage import WorkerProcess
from vigil.errors import ServiceError

Send = Callable[..., None]
Start = Callable[..., WorkerProcess]

FAULT = [flagged(f"n{member}", second) for second in range(12) for member in range(3)]
LATER = flagged("elsewhere", 120, cluster="other", severity="info")


def offline(anomalies: list[Anomaly], until_s: float) -> list[bytes]:
    plane = AlertPlane()
    for anomaly in anomalies:
        plane.observe(anomaly)
    return [encode(change) for change in plane.advance(START_MS + round(until_s * 1000))]


def test_alerts_are_those_of_the_core_byte_for_byte(start: Start, send: Send, reader: AlertReader) -> None:
    start()
    send(*FAULT, LATER)
    wait_until(lambda: len(reader.told) == 2, "an alert and its end")
    assert [one.value for one in reader.told] == offline(FAULT, 118)


def test_a_restarted_service_goes_on_where_it_was_and_repeats_nothing(
    start: Start, send: Send, reader: AlertReader
) -> None:
    first = start()
    send(*FAULT[:18])
    wait_until(lambda: len(reader.told) == 1, "an alert")
    first.stop()
    start()
    send(*FAULT[18:], LATER)
    wait_until(lambda: len(reader.told) == 2, "its end")
    assert [one.value for one in reader.told] == offline(FAULT, 118)


def test_two_instances_share_the_clusters(start: Start, send: Send, reader: AlertReader) -> None:
    one, two = start(), start()
    clusters = [f"etcd-{place}" for place in range(12)]
    wait_until(lambda: {len(ready(service)["partitions"]) for service in (one, two)} == {2}, "two partitions each")
    send(*(flagged(f"{name}-n0", second, cluster=name) for second in range(6) for name in clusters), LATER)
    wait_until(lambda: {told.alert.cluster for told in reader.told} == set(clusters), "an alert of each cluster")
    assert len({told.alert.fingerprint for told in reader.told}) == len(clusters)


def test_what_was_aborted_raises_no_alert(stage: AlertStage, start: Start, send: Send, reader: AlertReader) -> None:
    start()
    producer = Producer({"bootstrap.servers": stage.kafka.bootstrap, "transactional.id": stage.kafka.group_id})
    producer.init_transactions()
    producer.begin_transaction()
    for one in FAULT:
        producer.produce(stage.kafka.topics["anomalies"], encode(one), one.node_id.encode(), 0)
    producer.flush()
    producer.abort_transaction()
    other = [flagged("m0", second, cluster="etcd-b") for second in range(6)]
    send(*other, LATER)
    wait_until(lambda: len(reader.told) == 2, "the alert of the others")
    assert {told.alert.cluster for told in reader.told} == {"etcd-b"}


BROKEN = pytest.mark.parametrize("broken", [b"{", b'{"x": ' + b"[" * 5_000], ids=["cut", "too deep"])


@BROKEN
def test_a_record_that_is_no_anomaly_is_counted_and_passed_over(
    stage: AlertStage, start: Start, send: Send, reader: AlertReader, broken: bytes
) -> None:
    service = start()
    producer = Producer({"bootstrap.servers": stage.kafka.bootstrap, "enable.idempotence": True})
    for partition in range(4):
        producer.produce(stage.kafka.topics["anomalies"], broken, b"k", partition)
    producer.flush()
    send(*FAULT)
    wait_until(lambda: reader.told, "the alert")
    wait_until(
        lambda: sample(service, "vigil_alerts_anomalies_total", outcome="unreadable") == 4, "four unreadable records"
    )


@BROKEN
def test_telemetry_and_words_of_people_that_cannot_be_read_stop_no_clock(
    stage: AlertStage, start: Start, send: Send, broken: bytes
) -> None:
    service, telemetry = start(clock="telemetry"), Telemetry(stage)
    send(*FAULT)
    producer = Producer({"bootstrap.servers": stage.kafka.bootstrap})
    producer.produce(stage.kafka.topics["alerts-controls"], broken, b"k")
    producer.flush()
    telemetry.publish(START_MS + 27_000)
    telemetry.publish_raw(broken)
    telemetry.score()
    wait_until(
        lambda: round(sample(service, "vigil_alerts_event_time_seconds") * 1000) == START_MS + 25_000,
        "event time, two seconds behind telemetry",
        timeout=60,
    )


def test_event_time_goes_on_without_anomalies_as_far_as_telemetry_was_scored(
    stage: AlertStage, start: Start, send: Send, reader: AlertReader
) -> None:
    service, telemetry = start(clock="telemetry"), Telemetry(stage)

    def event_time() -> int:
        return round(sample(service, "vigil_alerts_event_time_seconds") * 1000)

    send(*FAULT)
    telemetry.publish(START_MS + 12_000)
    telemetry.score()
    wait_until(lambda: len(reader.told) == 1, "the alert")
    telemetry.publish(START_MS + 27_000)
    telemetry.score()
    wait_until(lambda: event_time() == START_MS + 25_000, "event time, two seconds behind telemetry")
    assert len(reader.told) == 1
    telemetry.publish(START_MS + 90_000)  # not scored: anomalies of it may come
    telemetry.publish(START_MS + 31_000, partition=1)
    telemetry.score(1)
    wait_until(lambda: telemetry.looked_at_twice(service), "two looks at the clock")
    assert event_time() == START_MS + 25_000
    telemetry.score()
    wait_until(lambda: len(reader.told) == 2, "its end")
    over = reader.told[1].alert
    assert (over.status, over.ended_ms, over.updated_ms) == ("resolved", START_MS + 11_000, START_MS + 26_000)


class Telemetry:
    """Telemetry, and the offsets that a worker would commit of it."""

    def __init__(self, stage: AlertStage) -> None:
        self._topic = stage.kafka.topics["consensus"]
        client = {"bootstrap.servers": stage.kafka.bootstrap}
        self._producer = Producer(client)
        self._group = Consumer({**client, "group.id": stage.kafka.group_id, "enable.auto.commit": False})
        self._sent = dict.fromkeys(range(4), 0)

    def publish(self, at_ms: int, partition: int = 0) -> None:
        self.publish_raw(b'{"ts_ms":%d}' % at_ms, partition)

    def publish_raw(self, value: bytes, partition: int = 0) -> None:
        self._producer.produce(self._topic, value, b"n0", partition)
        self._sent[partition] += 1
        assert self._producer.flush(30) == 0

    def score(self, partition: int = 0) -> None:
        offset = TopicPartition(self._topic, partition, self._sent[partition])
        self._group.commit(offsets=[offset], asynchronous=False)

    def looked_at_twice(self, service: WorkerProcess) -> bool:
        looks = sample(service, "vigil_alerts_clock_looks_total")
        self._first = getattr(self, "_first", looks)
        return looks >= self._first + 2


def test_a_service_that_gets_no_partitions_though_kafka_answers_ends_and_says_so(
    stage: AlertStage, start: Start
) -> None:
    """The embedded broker never lets go of a member that was killed without a name: its group stands still."""
    start().kill()
    second = stage.alerts({"worker.stuck_exit_s": "2"})
    with pytest.raises(ServiceError, match=r"ended with status 1: .*in which Kafka answered"):
        second.wait_until_ready(PATIENCE_SECONDS)


def test_the_wall_clock_ends_what_no_telemetry_tells_of(start: Start, send: Send, reader: AlertReader) -> None:
    start(clock="wall")
    began_ms = time.time_ns() // 1_000_000 - 60_000
    send(*(replace(flagged("n0", second), ts_ms=began_ms + 1_000 * second) for second in range(6)))
    wait_until(lambda: [told.alert.status for told in reader.told] == ["firing", "resolved"], "an alert and its end")


pytestmark = pytest.mark.timeout(600)
