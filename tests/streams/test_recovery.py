"""Windows and detector states come back from committed state alone, and verdicts are those of an undisturbed run."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from state_log import (
    GROUP,
    START_MS,
    STEP_MS,
    KeptByKafka,
    Message,
    Reader,
    everything,
    fleet_log,
    message,
    processor,
    random_log,
    records,
    scorer,
    undisturbed,
)

from detectors.scoring import StreamScorer
from streams import StateConfig
from streams.changelog import Restored
from streams.changes import Changes
from streams.state import Saved, node_key, progress_key, sort_saved

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def live_through(kafka: KeptByKafka, random: Random, config: StateConfig, *, trouble: float) -> int:
    """Two workers share the partitions until all is committed, with crashes and moves; returns how many there were."""
    events = 0
    owners = dict.fromkeys(kafka.logs, 0)
    workers = [Reader(kafka, config), Reader(kafka, config)]
    for partition, owner in owners.items():
        workers[owner].take(partition)
    while any(kafka.offsets.get(p, 0) < len(log) for p, log in kafka.logs.items()):
        owner = random.randrange(2)
        batch = workers[owner].read(random, random.choice([1, 2, 5, 20]))
        if random.random() >= trouble:
            if batch.offsets:
                kafka.commit(batch)
            continue
        events += 1
        if batch.offsets and random.random() < 0.5:
            kafka.commit(batch)
            partition = random.choice(list(owners))
            if random.random() < 0.5:
                kafka.commit(workers[owners[partition]].processor.unsaved())
            workers[owners[partition]].give_up(partition)
            owners[partition] = random.randrange(2)
            workers[owners[partition]].take(partition, behind=random.choice([0, 0, 1, 3]))
        else:
            workers[owner] = Reader(kafka, config)
            for partition in [p for p, one in owners.items() if one == owner]:
                workers[owner].take(partition, behind=random.choice([0, 0, 1, 3]))
    return events


@settings(PATIENT, max_examples=120)
@given(
    random=st.randoms(use_true_random=True),
    every=st.integers(1, 6),
    replay=st.sampled_from([1, 3, 10, 1000]),
    size=st.integers(0, 150),
)
def test_crashes_and_moves_anywhere_change_no_verdict(random: Random, every: int, replay: int, size: int) -> None:
    logs = {0: random_log(random, size), 1: random_log(random, size // 2)}
    kafka = KeptByKafka(logs)
    live_through(kafka, random, StateConfig(every_steps=every, replay_records=replay), trouble=0.3)
    assert everything(kafka.anomalies) == everything(undisturbed(logs))


@settings(PATIENT, max_examples=120)
@given(
    random=st.randoms(use_true_random=True),
    every=st.integers(1, 30),
    replay=st.sampled_from([1, 10, 100, 1000]),
    size=st.integers(50, 250),
)
def test_crashes_and_moves_anywhere_tell_each_silence_once(random: Random, every: int, replay: int, size: int) -> None:
    logs = {0: fleet_log(random, size), 1: fleet_log(random, size // 2)}
    kafka = KeptByKafka(logs)
    live_through(kafka, random, StateConfig(every_steps=every, replay_records=replay), trouble=0.3)
    expected = undisturbed(logs)
    event(f"silences: {min(3, sum(each.detector == 'silence' for each in expected))}")
    assert everything(kafka.anomalies) == everything(expected)


def test_a_silence_told_before_a_restart_is_not_told_after_it_and_the_next_one_is() -> None:
    silences = [(20, 45), (60, 90)]
    log = [
        message(f"n{i}", START_MS + second * STEP_MS + i, 1.0)
        for second in range(90)
        for i in range(3)
        if i or not any(begin <= second < end for begin, end in silences)
    ]
    kafka = KeptByKafka({0: log})
    while kafka.offsets.get(0, 0) < len(log):
        worker = Reader(kafka, StateConfig(every_steps=1))  # a new one for every batch
        assert worker.take(0) == 0
        kafka.commit(worker.read(Random(0), 7))
    told = [each for each in kafka.anomalies if each.detector == "silence"]
    assert [(each.node_id, each.window_start_ms) for each in told] == [
        ("n0", START_MS + 19_000),
        ("n0", START_MS + 59_000),
    ]


def settled(every: int = 5, size: int = 120) -> KeptByKafka:
    """A log that one worker has worked off in small batches."""
    kafka = KeptByKafka({0: random_log(Random(3), size)})
    worker = Reader(kafka, StateConfig(every_steps=every))
    worker.take(0)
    while kafka.offsets.get(0, 0) < size:
        kafka.commit(worker.read(Random(0), 7))
    return kafka


def test_what_is_replayed_is_bounded_by_the_steps_of_the_nodes() -> None:
    log = [message(f"n{i}", START_MS + step * STEP_MS, 1.0) for step in range(40) for i in range(8)]
    for every in (1, 4, 20):
        kafka = KeptByKafka({0: log})
        worker = Reader(kafka, StateConfig(every_steps=every))
        worker.take(0)
        while kafka.offsets.get(0, 0) < len(log):
            kafka.commit(worker.read(Random(0), 8))
        assert Reader(kafka, StateConfig(every_steps=every)).take(0) <= (every - 1) * 8


def test_a_clean_stop_leaves_nothing_to_replay() -> None:
    log = random_log(Random(5), 200)
    config = StateConfig(every_steps=1000)
    kafka = KeptByKafka({0: log})
    for until in (70, 140, 200):
        worker = Reader(kafka, config)
        assert worker.take(0) == 0
        while kafka.offsets.get(0, 0) < until:
            kafka.commit(worker.read(Random(0), 7))
        assert Reader(kafka, config).take(0) > 20, "without a clean stop there is much to replay"
        kafka.commit(worker.processor.unsaved())
        assert worker.processor.unsaved().offsets == {}, "once is enough"
    assert everything(kafka.anomalies) == everything(undisturbed({0: log}))


def test_a_stop_in_mid_replay_saves_nothing_of_that_partition() -> None:
    kafka = settled(every=50)
    worker = Reader(kafka, StateConfig(every_steps=50))
    behind = worker.take(0)
    worker.read(Random(0), behind // 2)
    assert worker.processor.unsaved().offsets == {}
    worker.read(Random(0), behind)
    assert worker.processor.unsaved().offsets == {("probe", 0): 120}


def test_what_is_replayed_is_bounded_by_the_setting_and_a_batch_where_nodes_are_many() -> None:
    log = [message(f"n{i:04d}", START_MS + step * STEP_MS, 1.0) for step in range(6) for i in range(500)]
    config = StateConfig(every_steps=1000, replay_records=600)
    kafka = KeptByKafka({0: log})
    worker = Reader(kafka, config)
    worker.take(0)
    sizes = []
    while kafka.offsets.get(0, 0) < len(log):
        batch = worker.read(Random(0), 100)
        sizes.append(len(batch.states))
        kafka.commit(batch)
        assert Reader(kafka, config).take(0) <= 700
    assert max(sizes) < 150, "nodes are saved a few at a time, not all at once"


def test_snapshots_are_spread_over_the_steps_though_all_nodes_began_together() -> None:
    log = [message(f"n{i:04d}", START_MS + step * STEP_MS, 1.0) for step in range(90) for i in range(300)]
    kafka = KeptByKafka({0: log})
    worker = Reader(kafka, StateConfig(every_steps=30))
    worker.take(0)
    sizes = [len(worker.read(Random(0), 300).states) for _ in range(90)]
    assert sum(sizes) == pytest.approx(300 * 90 / 30, rel=0.2)
    assert max(sizes) < 3 * 300 / 30


def test_a_replay_gives_no_anomaly_no_dead_letter_no_verdict_and_no_count() -> None:
    kafka = settled(every=50)
    worker = Reader(kafka, StateConfig(every_steps=50))
    behind = worker.take(0)
    assert behind > 20
    batch = worker.read(Random(0), 120)
    assert batch.replayed == {"probe": behind}
    assert (batch.anomalies, batch.dead_letters, batch.verdicts, batch.columns, batch.states) == ([], [], [], [], [])
    assert (batch.size, batch.offsets, batch.counts.steps) == (0, {}, {})


def test_a_batch_may_end_the_replay_and_go_on() -> None:
    kafka = settled(every=50)
    more = [message("n0", START_MS + 10**7 + i * STEP_MS, 5.0) for i in range(9)]
    kafka.logs[0] += more
    worker = Reader(kafka, StateConfig(every_steps=50))
    behind = worker.take(0)
    batch = worker.read(Random(0), 200)
    assert batch.replayed == {"probe": behind}
    assert batch.offsets == {("probe", 0): 129}
    assert batch.starts == {("probe", 0): 120}
    assert {each.source.offset for each in batch.anomalies} == {122 + i for i in range(7)}


def back(kafka: KeptByKafka, used: StreamScorer | None = None, committed: int | None = 120) -> Restored:
    return processor(StateConfig(), used).restore(("probe", 0), kafka.saved(0), committed)


def test_state_of_another_model_or_other_settings_is_refused_by_name() -> None:
    kafka = settled()
    nodes = back(kafka).nodes
    assert nodes > 0
    for used, reason in (
        (scorer("counting-2"), "detectors ['counting-1 (2)'], now ['counting-2 (2)']"),
        (scorer(late_steps=5), "late_steps 3, now 5"),
        (scorer(step_ms=500), "step_ms 1000, now 500"),
    ):
        restored = back(kafka, used)
        assert reason in restored.cold
        assert (restored.start, restored.nodes) == (None, 0)
        assert restored.refused >= nodes
        assert len(used.store) == 0


def test_settings_that_do_not_change_what_a_snapshot_means_may_change() -> None:
    assert back(settled(), scorer(gap_steps=3, idle_ms=20_000)).cold == ""


def test_offsets_set_back_make_the_state_useless_and_it_never_comes_back() -> None:
    kafka = settled()
    kafka.offsets[0] = 60
    kafka.anomalies.clear()
    worker = Reader(kafka, StateConfig(every_steps=5))
    assert "set back" in back(kafka, committed=60).cold
    worker.take(0)
    kafka.commit(worker.read(Random(0), 7))
    epochs = {saved.epoch for saved in kafka.saved(0).nodes.values()}
    assert epochs <= {2}
    assert kafka.saved(0).progress is not None
    again = Reader(kafka, StateConfig(every_steps=5))
    again.take(0)
    while kafka.offsets[0] < 120:
        kafka.commit(again.read(Random(0), 7))
    log = kafka.logs[0]
    expected = processor(None).process([records(log, 0, 60, 120)]).anomalies
    assert everything(kafka.anomalies) == everything(expected)


def test_nothing_in_the_state_topic_is_cold_only_where_something_was_committed() -> None:
    empty = KeptByKafka({0: []})
    assert back(empty, committed=None).cold == ""
    assert back(empty, committed=0).cold == ""
    assert back(empty, committed=5).cold == "the state topic has nothing about it"


def test_a_damaged_snapshot_costs_its_own_node_alone() -> None:
    kafka = settled()
    whole = back(kafka)
    versions = kafka.states[0][-1]
    key = next(each for each in versions if each.count(b",") == 2)
    versions[key] = versions[key]._replace(value=versions[key].value[:-1])
    restored = back(kafka)
    assert (restored.nodes, restored.refused) == (whole.nodes - 1, whole.refused + 1)
    assert (restored.cold, restored.start) == ("", whole.start)


def test_a_damaged_progress_record_is_said() -> None:
    kafka = settled()
    versions = kafka.states[0][-1]
    versions[progress_key(GROUP, "probe")] = Saved(1, b"{}")
    assert back(kafka).cold.startswith("its progress record cannot be read")


def test_groups_and_topics_share_the_state_topic_without_meeting() -> None:
    mixed = {
        node_key("a", "t", "n"): Saved(1, b"1"),
        node_key("b", "t", "n"): Saved(1, b"2"),
        node_key("a", 'u"', "n"): Saved(1, b"3"),
        progress_key("a", "t"): Saved(1, b"4"),
        b"no JSON": Saved(1, b"5"),
        b"7": Saved(1, b"6"),
    }
    found = sort_saved(mixed, "a")
    assert {topic: (one.progress, one.nodes) for topic, one in found.items()} == {
        "t": (Saved(1, b"4"), {"n": Saved(1, b"1")}),
        'u"': (None, {"n": Saved(1, b"3")}),
    }


def test_a_forgotten_node_leaves_the_state_topic_once_no_replay_can_meet_it() -> None:
    log = [message("gone", START_MS + step * STEP_MS, 1.0) for step in range(4)]
    log += [message(f"n{i}", START_MS + step * STEP_MS, 1.0) for step in range(40) for i in range(3)]
    kafka = KeptByKafka({0: log})
    worker = Reader(kafka, StateConfig(every_steps=4))
    worker.take(0)
    known = []
    while kafka.offsets.get(0, 0) < len(log):
        kafka.commit(worker.read(Random(0), 3))
        known.append("gone" in kafka.saved(0).nodes)
    assert any(known)
    assert not known[-1]
    assert set(kafka.saved(0).nodes) == {"n0", "n1", "n2"}


def test_records_chosen_from_a_batch_keep_their_envelopes() -> None:
    log = [message("a", START_MS + i, 1.0) for i in range(4)]
    batch = replace(records(log, 0, 0, 4), envelope=lambda index: ((("i", b"%d" % index),), index))
    chosen = batch.where(batch.offsets % 2 == 1)
    assert chosen.offsets.tolist() == [1, 3]
    assert chosen.keys == [log[1][0], log[3][0]]
    assert chosen.envelope(1) == ((("i", b"3"),), 3)


def nearly_forgotten() -> list[Message]:
    """A node that pauses for less than it takes to be forgotten, then for more, while two others leap in time."""
    slow = [0, 1, 2, 3, 4, 11, 12, 19, 20, 21, 28, 29, 30, *range(45, 60)]
    seconds = {"slow": slow, "a": range(0, 63, 3), "b": range(0, 63, 3)}
    steps = sorted((second, node) for node, each in seconds.items() for second in each)
    return [message(node, START_MS + second * STEP_MS, float(second)) for second, node in steps]


def test_a_crash_after_any_commit_changes_no_verdict_where_the_watermark_decides() -> None:
    """A replay must begin with the watermark of its start: with a later one the slow node would be forgotten."""
    log = nearly_forgotten()
    expected = everything(undisturbed({0: log}))
    for cut in range(2, len(log), 2):
        kafka = KeptByKafka({0: log})
        for until in (cut, len(log)):
            worker = Reader(kafka, StateConfig(every_steps=3))
            worker.take(0)
            while kafka.offsets.get(0, 0) < until:
                batch = worker.read(Random(0), 2)
                if batch.offsets:
                    kafka.commit(batch)
        assert everything(kafka.anomalies) == expected, f"after a crash at {cut}"


def test_a_node_forgotten_after_a_restart_leaves_the_state_topic_too() -> None:
    log = [message("gone", START_MS + step * STEP_MS, 1.0) for step in range(4)]
    log += [message(f"n{i}", START_MS + step * STEP_MS, 1.0) for step in range(40) for i in range(3)]
    kafka = KeptByKafka({0: log})
    for until in (12, len(log)):
        worker = Reader(kafka, StateConfig(every_steps=4))
        worker.take(0)
        while kafka.offsets.get(0, 0) < until:
            batch = worker.read(Random(0), 3)
            if batch.offsets:
                kafka.commit(batch)
        assert ("gone" in kafka.saved(0).nodes) == (until == 12)


def test_a_node_that_is_back_after_it_was_forgotten_is_not_deleted() -> None:
    changes = Changes(every_steps=3, replay_records=1000)
    changes.observe(["x", "a"], 0, 2, None)
    changes.saved(["x"])
    assert changes.forget(["x"]) == ["x"]
    changes.observe(["x"], 2, 3, None)
    changes.saved(["x", "a"])
    assert changes.start == 3
    assert changes.deletable() == []
