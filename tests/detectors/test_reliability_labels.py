"""Incidents joined with rows: by node, by event time, corrected, withdrawn, open and overlapping ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.reliability.labels import LEAD_MS, current, label_rows
from schemas.metrics import Incident

MINUTE = 60_000
START = 1_760_000_000_000


def incident(node: str, start: int, end: int | None, kind: str = "overload") -> Incident:
    end_ms = None if end is None else START + end * MINUTE
    return Incident(node_id=node, start_ms=START + start * MINUTE, end_ms=end_ms, kind=kind, severity="warning")


def minutes_labelled(node: str, incidents: list[Incident], last: int = 300) -> list[int]:
    ts_ms = START + np.arange(last, dtype=np.int64) * MINUTE
    return np.flatnonzero(label_rows([node] * last, ts_ms, incidents).positive).tolist()


def test_rows_are_positive_from_thirty_minutes_before_the_start_to_the_end_inclusive() -> None:
    assert minutes_labelled("a", [incident("a", 100, 120)]) == list(range(70, 121))


def test_an_incident_says_nothing_about_other_nodes() -> None:
    assert minutes_labelled("b", [incident("a", 100, 120)]) == []


def test_an_open_incident_lasts_on() -> None:
    assert minutes_labelled("a", [incident("a", 200, None)]) == list(range(170, 300))


def test_a_later_record_of_the_same_start_corrects_an_earlier_one() -> None:
    assert minutes_labelled("a", [incident("a", 100, None), incident("a", 100, 110)]) == list(range(70, 111))


def test_a_record_that_ends_at_its_start_withdraws_the_incident() -> None:
    assert minutes_labelled("a", [incident("a", 100, 120), incident("a", 100, 100)]) == []


def test_rows_of_overlapping_incidents_belong_to_the_one_that_started_last() -> None:
    ts_ms = START + np.arange(300, dtype=np.int64) * MINUTE
    labels = label_rows(["a"] * 300, ts_ms, [incident("a", 100, 160, "first"), incident("a", 120, 140, "second")])
    kinds = [labels.incidents[place].kind if place >= 0 else "" for place in labels.incident.tolist()]
    assert kinds[69] == ""
    assert set(kinds[70:120]) == {"first"}
    assert set(kinds[120:141]) == {"second"}
    assert set(kinds[141:161]) == {"first"}
    assert kinds[161] == ""


def test_incidents_without_rows_and_rows_without_incidents_are_fine() -> None:
    empty = label_rows([], np.empty(0, np.int64), [incident("a", 1, 2)])
    assert len(empty.positive) == 0
    assert minutes_labelled("a", []) == []


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="2 node ids for 1 times"):
        label_rows(["a", "b"], np.array([START]), [])


spans = st.tuples(st.sampled_from("ab"), st.integers(0, 200), st.one_of(st.none(), st.integers(0, 60)))


@given(st.lists(spans, max_size=8), st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 300)), max_size=40))
def test_labels_equal_asking_every_incident_about_every_row(
    given_spans: list[tuple[str, int, int | None]], rows: list[tuple[str, int]]
) -> None:
    incidents = [incident(node, at, None if length is None else at + length) for node, at, length in given_spans]
    ts_ms = np.array([START + minute * MINUTE for _, minute in rows], dtype=np.int64)
    labels = label_rows([node for node, _ in rows], ts_ms, incidents)
    for (node, _), at, positive in zip(rows, ts_ms.tolist(), labels.positive.tolist(), strict=True):
        expected = any(
            one.node_id == node and one.start_ms - LEAD_MS <= at and (one.end_ms is None or at <= one.end_ms)
            for one in current(incidents)
        )
        assert positive == expected
