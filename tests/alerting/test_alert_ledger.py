"""What is written of alerts, and what a crash between two writes costs: nothing."""

import itertools
import json
from collections.abc import Iterator

import pytest
from alert_samples import START_MS, flagged
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.alerts import AlertPlane
from detectors.evaluation.alerts import alerts_of
from schemas.codec import encode
from schemas.outputs import Alert, Anomaly
from streams.alerting.ledger import Ledger, Writes
from streams.alerting.rows import Decided, decode_row, progress_key, row_key

Log = list[tuple[int, bytes]]
END_S = 1_000

FAULT = [flagged(f"n{member}", second) for second in range(8) for member in range(3)]
BESIDE = [flagged("m0", 0.5 + second, cluster="etcd-b") for second in range(8)]
AGAIN = [flagged("n0", 40 + second) for second in range(5)]


def numbered(anomalies: list[Anomaly]) -> Log:
    return [(offset, encode(anomaly)) for offset, anomaly in enumerate(anomalies)]


class Kafka:
    """What was written, and a budget of writes after which the service is gone."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.alerts: list[bytes] = []

    def write(self, writes: Writes, budget: Iterator[int]) -> None:
        for _, key, value in writes.rows:
            self._row(key, value, budget)
        for alert in writes.alerts:
            next(budget)
            self.alerts.append(encode(alert))
        for _, key, value in writes.settled:
            self._row(key, value, budget)

    def _row(self, key: bytes, value: bytes | None, budget: Iterator[int]) -> None:
        next(budget)
        self.rows.pop(key, None)
        if value is not None:
            self.rows[key] = value


def serve(kafka: Kafka, log: Log, committed: int, budget: Iterator[int]) -> None:
    """Run a service over the log from where its rows say, a batch of five at a time."""
    ledger = Ledger()
    try:
        kafka.write(ledger.assign({0: len(log)}, kafka.rows, {0: committed}), budget)
        for first in range(ledger.starts()[0], len(log), 5):
            for offset, value in log[first : first + 5]:
                ledger.take(0, offset, value)
            newest = max(json.loads(value)["ts_ms"] for _, value in log[: first + 1])
            ledger.advance(newest - 2_000, {0: first})
            kafka.write(ledger.writes(), budget)
        ledger.advance(START_MS + END_S * 1_000, {0: len(log) - 1})
        kafka.write(ledger.writes(), budget)
    except StopIteration:
        return


def undisturbed(anomalies: list[Anomaly]) -> list[bytes]:
    plane = AlertPlane()
    for anomaly in anomalies:
        plane.observe(anomaly)
    return [encode(one) for one in plane.advance(START_MS + END_S * 1_000)]


@given(st.lists(st.integers(0, 14), max_size=12), st.integers(0, 30))
@settings(deadline=None, max_examples=200)
def test_whatever_a_crash_leaves_unwritten_the_alerts_are_those_of_no_crash_and_repeats_the_same_bytes(
    lives: list[int], committed: int
) -> None:
    """Whatever the group committed, too: rows of a first batch that a crash cut off are all there may be."""
    anomalies = sorted([*FAULT, *AGAIN, *BESIDE], key=lambda one: one.ts_ms)
    kafka, log = Kafka(), numbered(anomalies)
    for writes in lives:
        serve(kafka, log, committed if progress_key(0) in kafka.rows else 0, iter(range(writes)))
    serve(kafka, log, committed if progress_key(0) in kafka.rows else 0, itertools.count())
    assert sorted(set(kafka.alerts)) == sorted(undisturbed(anomalies))


def test_a_clean_life_repeats_nothing_and_forgets_what_is_over() -> None:
    kafka = Kafka()
    serve(kafka, numbered(FAULT), 0, itertools.count())
    assert kafka.alerts == undisturbed(FAULT)
    assert list(kafka.rows) == [progress_key(0)]


def test_a_crash_between_row_and_alert_leaves_the_alert_in_the_row() -> None:
    kafka = Kafka()
    serve(kafka, numbered(FAULT), 0, iter(range(5)))
    found = [decode_row(row) for row in kafka.rows.values()]
    told: list[tuple[Alert, ...]] = [row.unsent for row in found if isinstance(row, Decided)]
    unsent = Ledger().assign({0: 24}, kafka.rows)
    assert [encode(one) for one in unsent.alerts] == [encode(one) for rows in told for one in rows]


def test_time_passes_where_all_before_it_is_in_and_nowhere_else() -> None:
    ledger = Ledger()
    ledger.assign({0: 3, 1: 3}, {})
    ledger.take(0, 2, encode(flagged("n0", 1)))
    assert not ledger.advance(START_MS + 10_000, {0: 2, 1: 2})
    ledger.take(1, 2, encode(flagged("m0", 1, cluster="etcd-b")))
    assert ledger.advance(START_MS + 10_000, {0: 2, 1: 2})


def test_rows_of_an_earlier_topic_keep_their_alert_and_lose_their_offset() -> None:
    before = Ledger()
    before.assign({0: 100}, {})
    for place, anomaly in enumerate(FAULT[:9]):
        before.take(0, 90 + place, encode(anomaly))
    before.advance(START_MS + 3_000, {})
    rows = {key: value for _, key, value in before.writes().settled if value is not None}
    after = Ledger()
    after.assign({0: 1}, rows)
    after.take(0, 0, encode(FAULT[9]))
    assert (after.taken, after.repeated) == (1, 0)
    after.advance(START_MS + END_S * 1_000, {0: 0})
    assert [one.status for one in after.writes().alerts] == ["resolved"]


def test_hours_that_were_missed_are_worked_off_as_if_nothing_had_been_missed() -> None:
    log = [flagged(f"n{member}", 400 * hour + second) for hour in range(20) for second in range(9) for member in (0, 1)]
    ledger, told = Ledger(), list[bytes]()
    ledger.assign({0: len(log)}, {})
    ledger.advance(START_MS + 400 * 20_000, {0: len(log) - 1})
    for offset, anomaly in enumerate(log):
        ledger.take(0, offset, encode(anomaly))
    ledger.advance(START_MS + 400 * 20_000, {0: len(log) - 1})
    told += [encode(one) for one in ledger.writes().alerts]
    assert told == [encode(one) for one in alerts_of(log, AlertPlane(), every=1)][: len(told)]
    assert (len(told), ledger.overflow()) == (40, 0)


def test_what_came_late_survives_a_crash_before_its_time_was_looked_at() -> None:
    ledger, rows = Ledger(), dict[bytes, bytes]()
    ledger.assign({0: 100}, {})

    def write() -> None:
        written = ledger.writes()
        for _, key, value in written.rows + written.settled:
            rows.pop(key, None)
            if value is not None:
                rows[key] = value

    ledger.take(0, 0, encode(flagged("n0", 0)))
    ledger.advance(START_MS + 60_000, {})
    write()
    for offset in range(1, 5):
        ledger.take(0, offset, encode(flagged("n1", offset)))
    write()
    after = Ledger()
    after.assign({0: 100}, rows)
    after.advance(START_MS + 60_000, {})
    assert [one.status for one in after.writes().alerts] == ["firing"]


def test_one_wrong_clock_makes_nothing_late_while_working_off() -> None:
    log = [flagged(f"n{member}", second) for second in range(9) for member in range(3)]
    ahead = flagged("n9", 3_600, cluster="etcd-b")
    ledger = Ledger()
    ledger.assign({0: 100}, {})
    ledger.advance(START_MS + 7_200_000, {0: 99})
    for offset, anomaly in enumerate([*log[:9], ahead, *log[9:]]):
        ledger.take(0, offset, encode(anomaly))
    assert not ledger.writes().alerts
    ledger.advance(START_MS + 20_000, {})
    [fired] = ledger.writes().alerts
    assert fired.updated_ms == START_MS + 1_000


def test_after_a_crash_time_does_not_pass_before_what_it_left_was_read_again() -> None:
    ledger = Ledger()
    ledger.assign({0: 3}, {})
    ledger.take(0, 2, encode(flagged("m0", 1, cluster="etcd-b")))
    rows = {key: value for _, key, value in ledger.writes().rows if value is not None}
    del rows[progress_key(0)]  # the last of what was to be written
    after = Ledger()
    after.assign({0: 3}, rows, {0: 1})
    assert not after.advance(START_MS + 10_000, {0: 2})
    after.take(0, 2, encode(flagged("m0", 1, cluster="etcd-b")))
    assert after.repeated == 1
    assert after.advance(START_MS + 10_000, {0: 2})


def test_rows_of_partitions_that_others_hold_are_left_to_them() -> None:
    ledger = Ledger()
    ledger.assign({0: 9, 1: 9}, {})
    ledger.take(0, 0, encode(FAULT[0]))
    ledger.take(1, 0, encode(flagged("m0", 1, cluster="etcd-b")))
    rows = {key: value for _, key, value in ledger.writes().rows if value is not None}
    other = Ledger()
    other.assign({1: 9}, rows)
    assert other.partitions == {1}
    assert sorted(other.foreign) == sorted([row_key("cluster:etcd-a", 0), progress_key(0)])
    assert other.starts() == {1: 1}


def test_a_row_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 3"):
        decode_row(
            b'{"row":"decided","name":"cluster:a","partition":0,"offset":0,"decided_ms":0,"decided_offset":0,"scope":null,"v":3}'
        )


def test_an_anomaly_is_written_once_however_long_it_waits() -> None:
    ledger = Ledger()
    ledger.assign({0: 1_000}, {})
    written = 0
    for offset in range(300):
        ledger.take(0, offset, encode(flagged(f"n{offset}", 5)))
        rows = ledger.writes().rows
        written += sum(len(value or b"") for _, _, value in rows)
    once = sum(len(encode(flagged(f"n{offset}", 5))) for offset in range(300))
    assert written < 1.3 * once
