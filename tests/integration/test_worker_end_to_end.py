"""Telemetry through a real broker: verdicts as from scoring without Kafka, and every bad record kept."""

import random
import time
from hashlib import sha256

import pytest
from fleet_samples import Telemetry, consensus, fleet, message, offline, verdicts
from rig import Rig

from schemas.dead_letters import read_dead_letter
from schemas.errors import ErrorCode
from vigil.malformed import KINDS, break_record

FAULTS = {("n1", 40): 60.0, ("n2", 45): 90.0, ("n3", 50): 130.0, ("n3", 51): 131.0}


def test_anomalies_equal_offline_scoring_in_id_score_and_time(rig: Rig) -> None:
    messages = fleet(8, range(60), faults=FAULTS)
    rig.produce(messages)
    with rig.running() as thread:
        thread.wait_for_records(len(messages))
    found = rig.anomalies()
    assert verdicts(found) == verdicts(offline(messages))
    assert len(found) == 3 + 3 + 4
    assert {each.severity for each in found if each.node_id == "n3"} == {"critical"}
    assert {each.source.topic for each in found} == {rig.topic("consensus")}


def test_each_anomaly_names_the_record_it_was_made_from(rig: Rig) -> None:
    messages = fleet(4, range(45), faults={("n2", 40): 75.0})
    rig.produce(messages)
    with rig.running() as thread:
        thread.wait_for_records(len(messages))
    sources = {(each.partition(), each.offset()): each.value() for each in rig.read("consensus")}
    steps = {message(consensus("n2", step, p99=75.0 if step == 40 else 10.0)).value for step in (40, 41, 42)}
    assert {sources[each.source.partition, each.source.offset] for each in rig.anomalies()} == steps


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_of_broken_record_becomes_a_dead_letter_with_its_bytes_key_and_code(
    letters_by_kind: dict[str, tuple[Telemetry, ErrorCode, list[tuple[bytes | None, bytes | None, ErrorCode]]]],
    kind: str,
) -> None:
    sent, code, found = letters_by_kind[kind]
    assert found == [(sent.key, sent.value, code)]


@pytest.fixture(scope="module")
def letters_by_kind(
    bootstrap: str, redis_url: str
) -> dict[str, tuple[Telemetry, ErrorCode, list[tuple[bytes | None, bytes | None, ErrorCode]]]]:
    """Send one record of each broken kind amid good ones; what came back, by kind."""
    rig = Rig(bootstrap, redis_url)
    rig.create_topics(partitions=1)
    rng = random.Random(7)
    good = message(consensus("n1", 0))
    assert good.key is not None
    assert good.value is not None
    broken = [break_record(good.key, good.value, kind, rng) for kind in sorted(KINDS)]
    sent = [Telemetry(each.key, each.value) for each in broken]
    mixed = [each for i, bad in enumerate(sent) for each in (message(consensus("n1", i)), bad)]
    rig.produce(mixed)
    with rig.running() as thread:
        thread.wait_for_records(len(mixed))
        assert thread.worker.monitor.dead_letters == len(broken)
    read = [(each, read_dead_letter(each.headers() or [])) for each in rig.read("dead-letters")]
    at = {letter.offset: (each.key(), each.value(), letter.code) for each, letter in read}
    assert sorted(at) == list(range(1, len(mixed), 2))
    return {each.kind: (sent[i], each.code, [at[2 * i + 1]]) for i, each in enumerate(broken)}


def test_broken_records_change_no_verdict_on_the_good_ones(rig: Rig) -> None:
    messages = fleet(6, range(60), faults=FAULTS)
    rng = random.Random(3)
    mixed = list(messages)
    for kind in sorted(KINDS):
        victim = rng.choice(messages)
        assert victim.key is not None
        assert victim.value is not None
        bad = break_record(victim.key, victim.value, kind, rng)
        mixed.insert(rng.randrange(len(mixed)), Telemetry(bad.key, bad.value))
    rig.produce(mixed)
    with rig.running() as thread:
        thread.wait_for_records(len(mixed))
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))


def test_the_hostile_records_of_the_field_leave_the_worker_alive(rig: Rig) -> None:
    hostile = {
        ErrorCode.TOO_LARGE: Telemetry(b"n1", b'{"node_id":"n1","pad":"' + b"x" * 5_000_000 + b'"}'),
        ErrorCode.TOO_DEEP: Telemetry(b"n1", b'{"a":' * 5000 + b"1" + b"}" * 5000),
        ErrorCode.TOMBSTONE: Telemetry(b"n1", None),
        ErrorCode.EMPTY: Telemetry(b"n1", b""),
        ErrorCode.KEY_MISMATCH: Telemetry(b"n2", message(consensus("n1", 0)).value),
        ErrorCode.MISSING_KEY: Telemetry(None, message(consensus("n1", 0)).value),
    }
    after = fleet(2, range(31), faults={("n1", 30): 99.0})
    rig.produce([*hostile.values(), *after])
    with rig.running() as thread:
        thread.wait_for_records(len(hostile) + len(after))
    read = {read_dead_letter(each.headers() or []).code: each for each in rig.read("dead-letters")}
    assert {code: (each.key(), each.value()) for code, each in read.items()} == {
        code: (each.key, each.value) for code, each in hostile.items()
    }
    assert verdicts(rig.anomalies()) == verdicts(offline(after))


def test_a_dead_letter_keeps_the_records_own_headers_and_kafka_timestamp(rig: Rig) -> None:
    stamp = int(time.time() * 1000) - 12_345
    rig.produce([Telemetry(b"n1", b"no json")], headers=[("trace", b"\x00\xff"), ("empty", None)], timestamp=stamp)
    with rig.running() as thread:
        thread.wait_for_records(1)
    [letter] = rig.read("dead-letters")
    headers = letter.headers() or []
    assert headers[:2] == [("trace", b"\x00\xff"), ("empty", None)]
    assert read_dead_letter(headers).timestamp_ms == stamp


def test_a_value_above_what_dead_letters_may_hold_is_cut_and_says_so(rig: Rig) -> None:
    value = bytes(range(256)) * 1000
    rig.produce([Telemetry(b"n1", value)])
    with rig.running(dead_letter_max_bytes=10_000) as thread:
        thread.wait_for_records(1)
    [letter] = rig.read("dead-letters")
    headers = dict(letter.headers() or [])
    assert letter.value() == value[: 10_000 - len(b"n1")]
    assert headers["vigil-value-bytes"] == b"256000"
    assert headers["vigil-value-sha256"] == sha256(value).hexdigest().encode()


def test_where_the_dead_letter_topic_takes_less_than_configured_the_value_is_cut_until_it_fits(
    bootstrap: str, redis_url: str, broker_kind: str
) -> None:
    if broker_kind == "embedded":
        pytest.skip("the embedded broker takes records of any size")
    rig = Rig(bootstrap, redis_url)
    rig.create_topics(**{"dead-letters": {"max_message_bytes": 100_000}})
    value = random.Random(1).randbytes(1_000_000)  # does not compress
    messages = fleet(2, range(31), faults={("n1", 30): 99.0})
    rig.produce([Telemetry(b"n1", value), *messages])
    with rig.running() as thread:
        thread.wait_for_records(len(messages) + 1)
    [letter] = rig.read("dead-letters")
    cut = letter.value() or b""
    assert 30_000 < len(cut) < 100_000
    assert value.startswith(cut)
    assert verdicts(rig.anomalies()) == verdicts(offline(messages))
