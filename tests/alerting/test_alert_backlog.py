"""What a sink still has to be told, and from where a later process has to read."""

from alert_samples import START_MS

from schemas.outputs import Alert, alert_fingerprint, alert_id
from streams.alerting.backlog import Backlog


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
    assert backlog.commit(0, 51) == 49
    assert told(backlog, 1.0) == [("a", "firing"), ("b", "firing")]
    assert (backlog.waiting, backlog.commit(0, 51)) == (0, 51)


def test_open_alerts_are_told_again_until_they_end_where_the_sink_needs_it() -> None:
    backlog = Backlog(resend_s=60)
    backlog.put(change("a", 0), 0, 7, 0.0)
    assert told(backlog, 0.0) == [("a", "firing")]
    assert told(backlog, 59.0) == []
    assert told(backlog, 60.0) == [("a", "firing")]
    assert backlog.commit(0, 20) == 7
    backlog.put(change("a", 1, "resolved"), 0, 19, 61.0)
    assert told(backlog, 61.0) == [("a", "resolved")]
    assert told(backlog, 1e6) == []
    assert backlog.commit(0, 20) == 20


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
    assert backlog.commit(0, 2) == 2


def test_a_partition_that_went_elsewhere_is_forgotten() -> None:
    backlog = Backlog(resend_s=60)
    backlog.put(change("a", 0), 0, 3, 0.0)
    backlog.put(change("b", 0), 1, 3, 0.0)
    backlog.drop(0)
    assert told(backlog, 0.0) == [("b", "firing")]
