"""Events, delays and false alarms, by hand."""

import numpy as np
import pytest

from detectors.evaluation.events import Fault, Rows, delays_of_faults, delays_of_runs, false_alarms

START = 1_760_000_000_000


def rows(labels: dict[str, str], flags: dict[str, str], step_ms: int = 1000) -> Rows:
    """Rows of nodes a, b, ...: labels as "0", "1" and "?" (not counted), flags as "." and "x"."""
    node = np.concatenate([np.full(len(text), ord(name)) for name, text in labels.items()]).astype(np.int64)
    ts_ms = np.concatenate([START + step_ms * np.arange(len(text)) for text in labels.values()])
    label = np.array([-1 if each == "?" else int(each) for text in labels.values() for each in text], np.int8)
    flagged = np.array([each == "x" for text in flags.values() for each in text])
    return Rows(node, ts_ms, label, flagged, np.full(len(node), "left"))


def test_events_are_runs_of_a_node_and_each_is_late_by_its_first_alarm() -> None:
    found = rows({"a": "0110011", "b": "1110000"}, {"a": "x.x....", "b": "x.x...."})
    assert delays_of_runs(found) == [1.0, None, 0.0]


def test_an_uncounted_row_ends_an_event_and_is_no_alarm_of_it() -> None:
    assert delays_of_runs(rows({"a": "011??00"}, {"a": "...xx.."})) == [None]


def test_a_fault_is_seen_by_any_member_until_a_second_after_its_end() -> None:
    labels = {"a": "0000000000", "b": "0000000000"}
    found = rows(labels, {"a": "......x...", "b": "....x....."})
    early, late, missed = (Fault(START + a, START + b) for a, b in ((2500, 5500), (4600, 5000), (7000, 8000)))
    gone, to_come = Fault(START - 9000, START - 5000), Fault(START + 10_000, START + 20_000)
    assert delays_of_faults(found, [early, late, missed, gone, to_come]) == [1.5, 1.4, None]


def test_a_fault_of_one_cluster_is_not_seen_by_another() -> None:
    found = rows({"a": "0000"}, {"a": ".xx."})
    span = (START, START + 3000)
    assert delays_of_faults(found, [Fault(*span, cluster="right"), Fault(*span, cluster="left")]) == [None, 1.0]


def test_false_alarms_are_episodes_on_normal_rows_of_a_node_with_quiet_between() -> None:
    quiet = "." * 10
    labels = {"a": "0" * 40, "b": "1" * 5 + "0" * 35}
    flags = {"a": "xx.x" + quiet + "x" + "." * 25, "b": "xxxxxx" + "." * 34}
    found = false_alarms(rows(labels, flags, step_ms=86_400_000 // 75), 86_400_000 // 75)
    assert (found.episodes, found.rows, found.of_rows) == (3, 5, 75)
    assert found.node_days == pytest.approx(1.0)


def test_two_false_alarms_around_a_fault_are_two() -> None:
    labels, flags = {"a": "0" * 5 + "1" * 20 + "0" * 5}, {"a": "....x" + "x" * 20 + "x...."}
    assert false_alarms(rows(labels, flags), 1000).episodes == 2
