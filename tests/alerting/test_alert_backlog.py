"""What a sink still has to be told, and from where a later process has to read."""

from typing import Any

from alert_samples import START_MS
from hypothesis import given
from hypothesis import strategies as st

from schemas.outputs import Alert, alert_fingerprint, alert_id
from streams.alerting.backlog import Backlog
from streams.alerting.told import Told


def change(scope: str, number: int, status: str = "firing") -> Alert:
    name = alert_fingerprint(scope, START_MS)
    return Alert(
        id=alert_id(name, number),
        fingerprint=name,
        status="firing" if status == "firing" else "resolved",
        severity="critical",
        detectors=("consensus",),
        node_id="n0",
        cluster=scope,
        started_ms=START_MS,
        updated_ms=START_MS + number,
        peak_score=2.0,
        summary="",
        contributions=(),
        anomaly_count=2,
        runbook="",
    )


def told(backlog: Backlog, now: float) -> list[tuple[str | None, str]]:
    entries = backlog.due(now, 100)
    for entry in entries:
        backlog.done(entry, now)
    return [(entry.alert.cluster, entry.alert.status) for entry in entries]


def test_an_outage_leaves_the_newest_state_of_each_alert_and_the_offset_of_the_oldest() -> None:
    backlog = Backlog()
    for number in range(50):
        backlog.put(change("a", number, "firing" if number % 2 else "resolved"), 0, number, 0.0)
    backlog.put(change("b", 0), 0, 50, 0.0)
    assert backlog.waiting == 2
    assert backlog.told(0, 51).offset == 49
    assert told(backlog, 1.0) == [("a", "firing"), ("b", "firing")]
    assert (backlog.waiting, backlog.told(0, 51).offset) == (0, 51)


def test_open_alerts_are_told_again_until_they_end_where_the_sink_needs_it() -> None:
    backlog = Backlog(resend_s=60)
    backlog.put(change("a", 0), 0, 7, 0.0)
    assert told(backlog, 0.0) == [("a", "firing")]
    assert told(backlog, 59.0) == []
    assert told(backlog, 60.0) == [("a", "firing")]
    assert backlog.told(0, 20).offset == 7
    backlog.put(change("a", 1, "resolved"), 0, 19, 61.0)
    assert told(backlog, 61.0) == [("a", "resolved")]
    assert told(backlog, 1e6) == []
    assert backlog.told(0, 20).offset == 20


def test_a_repeated_record_is_told_once() -> None:
    backlog = Backlog()
    backlog.put(change("a", 0), 0, 0, 0.0)
    assert told(backlog, 0.0)
    backlog.put(change("a", 0), 0, 1, 0.0)
    assert told(backlog, 0.0) == []


def test_what_was_told_before_the_process_began_is_not_told_again_but_kept_alive() -> None:
    post, page = Backlog(), Backlog(resend_s=60)
    for backlog in (post, page):
        backlog.put(change("a", 0), 0, 0, 0.0, told=True)
    assert told(post, 0.0) == []
    assert told(page, 0.0) == [("a", "firing")]


def test_what_is_refused_waits_ever_longer_and_holds_up_nothing_else() -> None:
    backlog = Backlog(retry_s=30)
    backlog.put(change("a", 0), 0, 0, 0.0)
    waits, now = [], 0.0
    for _ in range(9):
        [entry] = backlog.due(now, 1)
        backlog.failed(entry, now)
        waits.append(entry.due - now)
        now = entry.due
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    backlog.put(change("b", 0), 0, 1, now - 1)
    assert told(backlog, now - 1) == [("b", "firing")]


def test_the_end_of_an_alert_that_nobody_was_told_of_is_dropped_while_silenced() -> None:
    backlog = Backlog()
    backlog.put(change("a", 0), 0, 0, 0.0)
    [entry] = backlog.due(0.0, 1)
    assert backlog.hold(entry, 5.0)
    assert not backlog.hold(entry, 6.0)
    backlog.put(change("a", 1, "resolved"), 0, 1, 7.0)
    [entry] = backlog.due(7.0, 1)
    backlog.hold(entry, 8.0)
    assert told(backlog, 1e6) == []
    assert backlog.told(0, 2).offset == 2


def successor(before: Backlog, log: list[tuple[int, Alert]], read: int, **more: Any) -> Backlog:
    """What the next process makes of the topic and of what the one before it committed, having read so far."""
    told = before.told(0, read)
    told = Told.committed(told.offset, told.metadata())
    after = Backlog(**more)
    for offset, alert in log:
        after.put(alert, 0, offset, 0.0, told=told.has(offset), heard=offset not in told.unheard)
    return after


def test_what_was_told_after_an_alert_that_stays_open_is_not_told_again_by_the_next_process() -> None:
    log = [(0, change("stays", 0)), (1, change("a", 0)), (2, change("a", 1, "resolved")), (3, change("b", 0))]
    before = Backlog(resend_s=60)
    for offset, alert in log[:3]:
        before.put(alert, 0, offset, 0.0)
    told(before, 1.0)
    after = successor(before, log, 3, resend_s=60)
    assert told(after, 2.0) == [("stays", "firing"), ("b", "firing")]


def test_what_a_silence_keeps_back_does_not_repeat_what_came_after_it_and_its_end_stays_untold() -> None:
    log = [(0, change("kept", 0)), (1, change("a", 0)), (2, change("kept", 1, "resolved"))]
    before = Backlog()
    for offset, alert in log[:2]:
        before.put(alert, 0, offset, 0.0)
    [kept, other] = before.due(0.0, 2)
    before.hold(kept, 5.0)
    before.done(other, 0.0)
    after = successor(before, log, 2)
    [entry] = after.due(6.0, 9)
    assert (entry.alert.status, after.was_told(entry.alert)) == ("resolved", False)


Steps = st.lists(st.tuples(st.sampled_from(["put", "tell", "hold"]), st.sampled_from("abc")), max_size=40)


@given(Steps, st.booleans())
def test_the_next_process_tells_what_the_one_before_it_would_have_told(steps: Any, resends: bool) -> None:
    """Nothing lost, nothing twice, whatever was told, kept back and changed before the crash."""
    more: dict[str, Any] = {"resend_s": 60.0} if resends else {}
    before, log, numbers = Backlog(**more), list[tuple[int, Alert]](), dict.fromkeys("abc", 0)
    for what, scope in steps:
        if what == "put":
            log.append((len(log), change(scope, numbers[scope], "resolved" if numbers[scope] % 2 else "firing")))
            before.put(log[-1][1], 0, log[-1][0], 0.0)
            numbers[scope] += 1
        for entry in [] if what == "put" else before.due(0.0, 9):
            if entry.alert.cluster == scope:
                before.done(entry, 0.0) if what == "tell" else before.hold(entry, 5.0)
    after = successor(before, log, len(log), **more)
    for waiting in (True, False):
        live, successors = (
            {
                (one.alert.id, one.told, backlog.was_told(one.alert))
                for one in backlog.due(1e9, 99)
                if one.told != waiting
            }
            for backlog in (before, after)
        )
        assert successors == live


def test_a_commit_says_what_was_told_and_one_of_somebody_elses_only_its_offset() -> None:
    told = Told(100, 110, frozenset({100, 104, 107}), frozenset({104}))
    assert told.metadata() == "1:10:0,4!,3,"
    assert Told.committed(100, told.metadata()) == told
    assert [offset for offset in range(98, 112) if not told.has(offset)] == [100, 104, 107, 110, 111]
    for strange in (None, "", "2:10:", "1:x:", "1:10:4"):
        assert Told.committed(100, strange) == Told(100, 100)


@given(st.sets(st.integers(0, 10**6), max_size=2_000), st.integers(0, 10**12))
def test_a_commit_is_never_longer_than_kafka_takes_and_says_nothing_was_told_that_was_not(
    untold: set[int], offset: int
) -> None:
    told = Told(offset, offset + 10**6 + 1, frozenset(offset + one for one in untold))
    assert len(told.metadata()) < 4_000
    read = Told.committed(offset, told.metadata())
    assert not any(read.has(offset + one) for one in untold)
    if len(untold) < 300:
        assert read == told


def test_a_partition_that_went_elsewhere_is_forgotten() -> None:
    backlog = Backlog(resend_s=60)
    backlog.put(change("a", 0), 0, 3, 0.0)
    backlog.put(change("b", 0), 1, 3, 0.0)
    backlog.drop(0)
    assert told(backlog, 0.0) == [("b", "firing")]
