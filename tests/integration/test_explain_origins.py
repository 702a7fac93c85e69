"""From where `vigil explain` replays: snapshots, the beginning, later snapshots, telemetry that is left."""

import time
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition
from explaining import by_detector, explain, page, strongest, work
from fleet_samples import START_MS
from rig import PARTITIONS, Rig, lively_fleet

from schemas.topics import STATE
from streams import StateConfig, ensure_topics

STEPS = 240


def expire(rig: Rig, before: dict[int, int]) -> None:
    """Let records before an offset of partitions expire."""
    wanted = [TopicPartition(rig.topic("consensus"), number, offset) for number, offset in before.items()]
    admin = rig.admin
    for future in admin.delete_records(wanted).values():
        future.result(20)


def compacted(rig: Rig) -> str:
    """Copy what compaction leaves of the state topic, the newest record of each key, to a topic of its own."""
    name = f"{rig.name}.compacted"
    ensure_topics(rig.admin, [msgspec.structs.replace(STATE, name=name, partitions=PARTITIONS)], replication=1)
    newest = {(each.partition(), each.key()): each for each in rig.read("state")}
    producer = Producer({"bootstrap.servers": rig.bootstrap, "enable.idempotence": True})
    for each in sorted(newest.values(), key=lambda one: one.offset() or 0):
        producer.produce(name, each.value(), each.key(), each.partition() or 0, headers=each.headers())
    assert producer.flush(20) == 0
    return name


def test_after_a_restart_the_replay_starts_from_a_snapshot_and_gives_the_same_score(rig: Rig) -> None:
    messages = lively_fleet(4, STEPS)
    half = len(messages) // 2
    rig.produce(messages[:half])
    work(rig, half)
    rig.produce(messages[half:])
    work(rig, len(messages) - half)
    anomaly = by_detector(rig, "consensus")[-1]
    replay = explain(rig, anomaly.id)["replay"]
    assert (replay["status"], replay["score"], replay["origin"]) == ("equal", anomaly.score, "snapshot")
    whole = explain(rig, anomaly.id, "--set", "state.enabled=false")["replay"]
    assert (whole["status"], whole["score"], whole["origin"]) == ("equal", anomaly.score, "beginning")
    assert replay["records"] < whole["records"]
    # Only the snapshot is left of what was before the restart, and it is enough.
    expire(rig, {anomaly.source.partition: whole["records"] - replay["records"]})
    left = explain(rig, anomaly.id)
    assert (left["replay"]["status"], left["replay"]["score"]) == ("equal", anomaly.score)
    lost = explain(rig, anomaly.id, "--set", "state.enabled=false")["replay"]
    assert (lost["status"], lost["origin"]) == ("approximate", "later")
    assert "--warm-up" in lost["reason"]


def test_where_only_later_snapshots_are_left_the_detector_knows_what_it_knows_by_now(rig: Rig) -> None:
    messages = lively_fleet(4, STEPS)
    rig.produce(messages)
    work(rig, len(messages))
    told = by_detector(rig, "consensus")
    middle = START_MS + 500 * STEPS
    anomaly = next(each for each in reversed(told) if each.ts_ms < middle)
    left = ("--set", f"state.topic={compacted(rig)}")
    whole = explain(rig, anomaly.id, *left)["replay"]
    assert (whole["status"], whole["origin"]) == ("equal", "beginning")
    expire(rig, {anomaly.source.partition: 5})
    seen = explain(rig, anomaly.id, *left)["replay"]
    assert (seen["status"], seen["origin"], seen["flagged"]) == ("approximate", "seeded", True)
    assert "no snapshot from before the anomaly any more" in seen["reason"]
    learned = explain(rig, anomaly.id, "--warm-up", "all", *left)["replay"]
    assert learned["origin"] == "later"
    assert seen["score"] != learned["score"] != anomaly.score


def test_telemetry_that_expired_is_said_and_what_was_recorded_is_shown(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = lively_fleet(4, STEPS)
    rig.produce(messages)
    work(rig, len(messages))
    anomaly = strongest(rig)
    expire(rig, {anomaly.source.partition: anomaly.source.offset - 40})
    few = explain(rig, anomaly.id, "--set", "state.enabled=false")
    assert (few["replay"]["status"], few["window"]) == ("impossible", None)
    assert "the window cannot be filled" in few["replay"]["reason"]
    expire(rig, {anomaly.source.partition: anomaly.source.offset + 1})
    seen = explain(rig, anomaly.id)
    assert (seen["replay"]["status"], seen["window"], seen["replay"]["score"]) == ("impossible", None, None)
    assert "expired" in seen["replay"]["reason"]
    assert f"keeps offset {anomaly.source.offset + 1} and later" in seen["replay"]["reason"]
    lines = page(rig, anomaly.id, monkeypatch, "--png", "unused.png")
    assert any(anomaly.contributions[0].feature in line for line in lines)
    assert any("impossible" in line for line in lines)
    assert not Path("unused.png").exists()


def test_the_worker_that_began_anew_in_between_is_not_what_is_replayed_from_the_beginning(rig: Rig) -> None:
    messages = lively_fleet(4, STEPS)
    half = len(messages) // 2
    rig.produce(messages[:half])
    work(rig, half)
    rig.produce(messages[half:])
    work(rig, len(messages) - half, state=StateConfig(enabled=False))
    anomaly = by_detector(rig, "consensus")[-1]
    seen = explain(rig, anomaly.id, "--set", "state.enabled=false", expect=1)["replay"]
    assert (seen["status"], seen["origin"]) == ("differs", "beginning")
    assert seen["score"] != anomaly.score


def test_without_a_snapshot_as_much_telemetry_is_read_as_asked(rig: Rig) -> None:
    messages = lively_fleet(2, STEPS)
    half = len(messages) // 2
    now_ms = time.time_ns() // 1_000_000
    rig.produce(messages[:half], timestamp=now_ms - 7_200_000)
    before = len(rig.read("consensus"))
    rig.produce(messages[half:], timestamp=now_ms)
    work(rig, len(messages))
    anomaly = by_detector(rig, "consensus")[-1]
    number = anomaly.source.partition
    older = sum(each.partition() == number for each in rig.read("consensus") if each.timestamp()[1] < now_ms)
    assert 0 < older < before
    without = ("--set", "state.enabled=false", "--warm-up")
    seen = explain(rig, anomaly.id, *without, "30m")["replay"]
    assert (seen["origin"], seen["records"]) == ("later", anomaly.source.offset + 1 - older)
    assert (seen["status"], seen["flagged"]) == ("approximate", True)
    assert f"from offset {older}" in seen["reason"]
    assert seen["score"] == pytest.approx(anomaly.score, rel=0.9)
    for longer in ("3h", "all"):
        whole = explain(rig, anomaly.id, *without, longer)["replay"]
        assert (whole["origin"], whole["status"], whole["score"]) == ("beginning", "equal", anomaly.score)
