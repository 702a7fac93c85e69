"""Nodes that stop reporting are told once, by event time, and nobody else is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from slow_windows import SlowWindows
from window_logs import PATIENT, Record, Run, cuts, pieces, store_of

from features import WindowRules

START_MS = 1_700_000_000_000
STEP_MS = 1000
RULES = WindowRules(
    features=2,
    window=30,
    step_ms=STEP_MS,
    gap_steps=5,
    late_steps=5,
    idle_ms=1_800_000,
    state_width=1,
    silence_ms=6 * STEP_MS,
)
WARM = 40  # seconds of a regular start


@dataclass(frozen=True)
class Span:
    """Seconds without a record: those later than ``begin``, and earlier than ``end``."""

    begin: float
    end: float

    def hides(self, at: float) -> bool:
        return self.begin < at < self.end


def beat(node: str, seconds: float, *silences: Span, phase: float = 0.0) -> list[tuple[float, str]]:
    """A node's steps as (second, node)."""
    times = [phase + second for second in range(int(seconds))]
    return [(at, node) for at in times if not any(span.hides(at) for span in silences)]


def log_of(*nodes: list[tuple[float, str]], ahead: dict[str, float] | None = None, partition: int = 0) -> list[Record]:
    steps = sorted(step for node in nodes for step in node)
    shift = ahead or {}
    return [
        Record(partition, node, START_MS + round(1000 * (at + shift.get(node, 0.0))), (at, 1.0)) for at, node in steps
    ]


def told(log: Sequence[Record], rules: WindowRules = RULES) -> list[tuple[str, float, float]]:
    """Each silence: who, seconds of its last step, seconds of the record with which it was told."""
    run = Run(store_of(rules))
    run.feed(log, first_offset=0)
    return [
        (key, (last_ms - START_MS) / 1000, (log[record].ts_ms - START_MS) / 1000)
        for record, key, last_ms in run.silences
    ]


def test_a_node_is_told_when_two_others_have_come_a_step_further_than_its_limit_and_a_step() -> None:
    log = log_of(beat("a", 80, Span(WARM, 60)), beat("b", 80, phase=0.3), beat("c", 80, phase=0.6))
    assert told(log) == [("a", 40.0, 48.6)]


def test_a_silence_as_long_as_the_limit_is_none_and_a_step_more_is_one_when_the_node_is_back() -> None:
    others = beat("b", 80, phase=0.3), beat("c", 80, phase=0.6)
    assert told(log_of(beat("a", 80, Span(WARM, WARM + 6)), *others)) == []
    assert told(log_of(beat("a", 80, Span(WARM, WARM + 7)), *others)) == [("a", 40.0, 47.0)]


def test_every_silence_of_a_node_is_told_once() -> None:
    spans = Span(40, 50), Span(70, 100), Span(115, 122)
    log = log_of(beat("a", 150, *spans), beat("b", 150, phase=0.3), beat("c", 150, phase=0.6))
    assert [(key, last) for key, last, _ in told(log)] == [("a", 40.0), ("a", 70.0), ("a", 115.0)]


def test_a_node_that_never_comes_back_is_told_once_and_then_forgotten() -> None:
    rules = replace(RULES, idle_ms=60_000)
    log = log_of(beat("a", 300, Span(WARM, 300)), beat("b", 300, phase=0.3), beat("c", 300, phase=0.6))
    run = Run(store_of(rules))
    run.feed(log)
    assert [(key, last) for _, key, last in run.silences] == [("a", START_MS + 40_000)]
    assert run.evicted == [(0, "a")]
    assert run.store.silent_nodes == 0


def test_who_is_silent_now_is_counted() -> None:
    log = log_of(beat("a", 80, Span(40, 60)), beat("b", 80, phase=0.3), beat("c", 80, phase=0.6))
    run, counts = Run(store_of(RULES)), set()
    for record in log:
        run.feed([record])
        counts.add((record.ts_ms >= START_MS + 48_600, record.ts_ms >= START_MS + 60_000, run.store.silent_nodes))
    assert counts == {(False, False, 0), (True, False, 1), (True, True, 0)}


def test_a_partition_that_stands_still_tells_nothing_whoever_resumes_first() -> None:
    stall = Span(WARM, 100)
    nodes = [beat(f"n{i}", 150, Span(stall.begin + i / 3, stall.end + (7 - i) / 3), phase=i / 10) for i in range(7)]
    assert told(log_of(*nodes)) == []


def test_a_node_that_is_not_back_when_the_others_resume_is_told() -> None:
    stall = Span(WARM, 100)
    late = beat("late", 150, Span(WARM, 130))
    nodes = [beat(f"n{i}", 150, stall, phase=i / 10) for i in range(1, 7)]
    assert [key for key, _, _ in told(log_of(late, *nodes))] == ["late"]


@pytest.mark.parametrize("others", [2, 3, 8])
@pytest.mark.parametrize("ahead", [5.0, 60.0, 3600.0, -3600.0])
def test_one_clock_that_is_wrong_makes_nobody_silent(others: int, ahead: float) -> None:
    nodes = [beat(f"n{i}", 120, phase=i / 10) for i in range(others)]
    assert told(log_of(beat("wrong", 120), *nodes, ahead={"wrong": ahead})) == []


def test_a_clock_that_jumps_ahead_for_one_record_makes_nobody_silent() -> None:
    log = log_of(*(beat(f"n{i}", 120, phase=i / 10) for i in range(4)))
    at = next(i for i, record in enumerate(log) if record.key == "n2" and record.ts_ms >= START_MS + 60_000)
    log[at] = replace(log[at], ts_ms=log[at].ts_ms + 3_600_000)
    assert told(log) == []


def test_records_of_a_node_that_come_at_once_after_the_others_went_on_are_no_silence_of_the_others() -> None:
    """Its producer was cut off for a minute, kept its records and sent them together."""
    burst = [(100.0 + i / 100, "cut") for i in range(60)]
    nodes = [beat(f"n{i}", 150, phase=i / 10) for i in range(1, 4)]
    log = log_of(beat("cut", WARM), burst, beat("cut", 50, phase=101.0), *nodes)
    for i, place in enumerate([i for i, record in enumerate(log) if record.key == "cut"]):
        log[place] = replace(log[place], ts_ms=START_MS + 1000 * i)
    assert [(key, last) for key, last, _ in told(log)] == [("cut", 39.0)]


def test_two_nodes_that_send_a_minute_at_once_do_not_make_the_one_silent_that_reported_all_along() -> None:
    log = log_of(beat("a", WARM), beat("b", WARM, phase=0.3), beat("c", WARM, phase=0.6))
    log += log_of([(float(WARM + second), "a") for second in range(60)])
    log += log_of(*([(WARM + second + 0.3, "b"), (WARM + second + 0.6, "c")] for second in range(60)))
    log += log_of(beat("a", 20, phase=100.0), beat("b", 20, phase=100.3), beat("c", 20, phase=100.6))
    assert [key for key, _, _ in told(log)] == ["b", "c"]


def test_of_two_nodes_the_one_left_tells_of_the_other_after_three_times_as_long() -> None:
    log = log_of(beat("a", 120, Span(WARM, 100)), beat("b", 120, phase=0.3))
    assert told(log) == [("a", 40.0, 64.3)]
    short = log_of(beat("a", 120, Span(WARM, 50)), beat("b", 120, phase=0.3))
    assert told(short) == [("a", 40.0, 50.0)]


def test_two_of_three_members_that_die_together_are_told() -> None:
    dead = Span(WARM, 200)
    log = log_of(beat("a", 120, dead), beat("b", 120, dead, phase=0.3), beat("c", 120, phase=0.6))
    assert [(key, last) for key, last, _ in told(log)] == [("b", 39.3), ("a", 40.0)]


def test_a_node_alone_in_its_partition_is_told_by_its_own_next_record() -> None:
    assert told(log_of(beat("a", 80, Span(WARM, 60)))) == [("a", 40.0, 60.0)]


def test_a_node_seen_now_and_then_is_not_watched() -> None:
    others = beat("b", 300, phase=0.3), beat("c", 300, phase=0.6)
    seldom = [(float(at), "a") for at in range(0, 300, 12)]
    assert told(log_of(seldom, *others)) == []
    assert told(log_of(beat("a", 9), *others)) == []
    assert [key for key, _, _ in told(log_of(beat("a", 10), *others))] == ["a"]


def test_a_fleet_that_reports_at_another_pace_than_configured_is_not_silent() -> None:
    nodes = [[(i / 20 + at, f"n{i}") for at in range(0, 600, 12)] for i in range(20)]
    assert told(log_of(*nodes)) == []


def test_a_node_whose_clock_was_set_back_still_reports() -> None:
    """Its steps come too late to be used; it is there all the same."""
    log = log_of(beat("a", 120), beat("b", 120, phase=0.3), beat("c", 120, phase=0.6))
    log = [
        replace(one, ts_ms=one.ts_ms - 600_000) if one.key == "a" and one.ts_ms > START_MS + 40_000 else one
        for one in log
    ]
    assert told(log) == []


def test_without_a_limit_nothing_is_told() -> None:
    log = log_of(beat("a", 80, Span(WARM, 60)), beat("b", 80, phase=0.3), beat("c", 80, phase=0.6))
    assert told(log, replace(RULES, silence_ms=0)) == []


def test_a_limit_within_a_gap_that_is_carried_is_refused() -> None:
    with pytest.raises(ValueError, match="silence_ms is 5999: a gap that is carried"):
        replace(RULES, silence_ms=5999)


@st.composite
def outages(draw: st.DrawFn) -> list[Record]:
    """A fleet in one partition: silences, stalls, wrong clocks, records that come in another order."""
    random = draw(st.randoms(use_true_random=False))
    nodes, seconds = random.randint(1, 6), random.randint(30, 120)
    stall = Span(at := random.uniform(0, seconds), at + random.choice([0, 0, 5, 12, 40]))
    steps = []
    for i in range(nodes):
        spans = [stall, *(_outage(random, seconds) for _ in range(random.choice([0, 1, 3])))]
        ahead = random.choice([0.0, 0.0, 0.0, 3.0, 60.0, -60.0])
        slow = random.choice([0.0, 0.0, 0.4, 8.0])
        for at, node in beat(f"n{i}", seconds, *spans, phase=random.random()):
            steps.append((at + random.uniform(0, slow), round(1000 * (at + ahead)), node))
    return [Record(0, node, START_MS + ts_ms, (1.0, 2.0)) for _, ts_ms, node in sorted(steps)]


def _outage(random: Random, seconds: int) -> Span:
    begin = random.uniform(0, seconds)
    return Span(begin, begin + random.choice([2, 6, 7, 8, 20, 1000]))


@settings(PATIENT, max_examples=150)
@given(data=st.data(), log=outages(), idle=st.sampled_from([15_000, 30_000, 1_800_000]))
def test_outages_in_any_batches_are_told_as_one_record_at_a_time_tells_them(
    data: st.DataObject, log: list[Record], idle: int
) -> None:
    rules = replace(RULES, window=12, idle_ms=idle)
    slow = SlowWindows(rules)
    for record in log:
        slow.append(record.partition, record.key, record.ts_ms, record.row)
    run = Run(store_of(rules))
    for piece in pieces(log, data.draw(cuts(len(log)))):
        run.feed(piece)
    event(f"silences: {min(len(slow.silences), 3)}")
    assert (run.silences, run.returned) == (slow.silences, slow.returned)


@st.composite
def fleets(draw: st.DrawFn) -> tuple[dict[str, list[tuple[float, str]]], float]:
    """Nodes that report in order, one of them without a break, and silences of others that end."""
    random = draw(st.randoms(use_true_random=False))
    seconds = random.randint(60, 150)
    nodes = {"steady": beat("steady", seconds, phase=random.random())}
    for i in range(random.randint(1, 4)):
        spans = []
        at = 15.0
        while (at := at + random.uniform(3, 40)) < seconds - 45:
            spans.append(Span(at, at := at + random.choice([1, 3, 5, 6.5, 7, 7.5, 9, 30])))
        nodes[f"n{i}"] = beat(f"n{i}", seconds, *spans, phase=random.random())
    return nodes, seconds


def silences_of(log: Iterable[Record]) -> set[tuple[str, int]]:
    run = Run(store_of(RULES))
    run.feed(list(log), first_offset=0)
    return {(key, last_ms) for _, key, last_ms in run.silences}


@settings(PATIENT, max_examples=100)
@given(fleet=fleets())
def test_silences_that_end_are_the_same_in_one_partition_and_in_one_for_each_node(
    fleet: tuple[dict[str, list[tuple[float, str]]], float],
) -> None:
    nodes, _ = fleet
    apart = set().union(*(silences_of(log_of(node)) for node in nodes.values()))
    event(f"silences: {min(len(apart), 3)}")
    assert silences_of(log_of(*nodes.values())) == apart
