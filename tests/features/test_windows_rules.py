"""The store does what the rules say, record by record, however the log is cut into batches."""

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st
from slow_windows import Answer, SlowWindows
from window_logs import PATIENT, Record, Run, Seen, cuts, logs, pieces, store_of, window_rules

from features import WindowRules


def as_seen(answer: Answer) -> Seen:
    if answer.window is None:
        return Seen(answer.status)
    rows = np.array([step.row for step in answer.window], np.float32)
    times = tuple(step.ts_ms for step in answer.window)
    carried = tuple(step.carried for step in answer.window)
    return Seen(answer.status, rows.tobytes(), times, carried, answer.scored)


@settings(PATIENT, max_examples=300)
@given(data=st.data(), rules=window_rules(), log=logs())
def test_any_log_in_any_batches_gives_what_the_rules_give_one_record_at_a_time(
    data: st.DataObject, rules: WindowRules, log: list[Record]
) -> None:
    slow = SlowWindows(rules)
    expected = [as_seen(slow.append(r.partition, r.key, r.ts_ms, r.row)) for r in log]
    run = Run(store_of(rules))
    for piece in pieces(log, data.draw(cuts(len(log)))):
        run.feed(piece)
    event(f"a hole was filled: {slow.filled > 0}")
    event(f"a window started again: {slow.restarts > 0}")
    event(f"a node was forgotten and came back: {slow.forgotten > 0}")
    event(f"a silence was told: {bool(slow.silences)}")
    event(f"a window came out: {any(seen.rows for seen in expected)}")
    assert run.seen == expected
    assert run.silences == slow.silences
    assert run.returned == slow.returned
    assert run.counts == {
        "gaps": slow.gaps,
        "filled": slow.filled,
        "restarts": slow.restarts,
        "created": slow.created,
        "evictions": slow.evictions(),
    }
    assert run.nodes() == slow.survivors()
    assert len(run.store) == len(slow.survivors())


@settings(PATIENT, max_examples=100)
@given(data=st.data(), rules=window_rules(), log=logs())
def test_partitions_do_not_touch_each_other(data: st.DataObject, rules: WindowRules, log: list[Record]) -> None:
    both = Run(store_of(rules))
    for piece in pieces(log, data.draw(cuts(len(log)))):
        both.feed(piece)
    for partition in (0, 1):
        alone = Run(store_of(rules))
        alone.feed([record for record in log if record.partition == partition])
        own = [seen for seen, record in zip(both.seen, log, strict=True) if record.partition == partition]
        assert alone.seen == own
