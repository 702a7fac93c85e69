"""Transplants: trouble of one node told again on others, from rows that may be learnt from and no others."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.reliability.examples import NodeRows
from detectors.reliability.features import FeaturePlan
from detectors.reliability.labels import Labels, label_rows
from detectors.reliability.transplants import Transplants, strangeness
from schemas.metrics import Incident

START = 1_760_054_400_000
MINUTE = 60_000
STEPS = 2_000
FIELDS = ("latency_p50", "error_rate", "connection_failures", "dwcp_mode")
LATENCY, ERRORS, FAILURES, MODE = range(4)
WINDOW = 30
LEVELS = {"calm": 100.0, "sick": 10.0}
"""Usual latency of two nodes, ms; ``sick`` has an incident in which it is five times as high."""
FIRST, LAST = 1_000, 1_040


def rows_of(levels: dict[str, float] = LEVELS) -> NodeRows:
    """Two nodes of whole minutes: latency about their level, now and then a failure, an incident on ``sick``."""
    random = np.random.default_rng(1)
    parts = []
    for name, level in levels.items():
        values = np.zeros((STEPS, len(FIELDS)), np.float32)
        values[:, LATENCY] = level * random.uniform(0.98, 1.02, STEPS)
        values[:, FAILURES] = random.random(STEPS) < 0.02
        if name == "sick":
            values[FIRST:LAST, LATENCY] *= 5.0
            values[FIRST:LAST, ERRORS] = 0.2
            values[FIRST:LAST, FAILURES] = 7.0
            values[FIRST:LAST, MODE] = 2.0
        parts.append((np.full(STEPS, name), START + MINUTE * np.arange(STEPS), values))
    ids, ts_ms, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return NodeRows(FIELDS, ids, ts_ms, values, MINUTE).in_time_order()


def labels_of(rows: NodeRows) -> Labels:
    span = (START + FIRST * MINUTE, START + (LAST - 1) * MINUTE)
    sick = Incident(node_id="sick", start_ms=span[0], end_ms=span[1], kind="overload", severity="critical")
    return label_rows(list(rows.node_ids), rows.ts_ms, [sick])


PLAN = FeaturePlan.fit(FIELDS, np.array([[10.0, 0.1, 10.0, 0.0]], np.float32))


def transplants_of(rows: NodeRows, usable: NDArray[np.bool_] | None = None) -> Transplants:
    usable = np.ones(len(rows), np.bool_) if usable is None else usable
    return Transplants.of(rows, labels_of(rows), strangeness(rows, PLAN, WINDOW), usable)


def made(
    rows: NodeRows, times: float = 40.0, seed: int = 0
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    """Return columns of the examples by name, and their labels."""
    features, positive = transplants_of(rows).examples(PLAN, WINDOW, times, seed)
    return dict(zip(PLAN.names, features.T, strict=True)), positive


def test_the_incident_is_a_donor_with_the_time_around_it_and_what_was_usual() -> None:
    rows = rows_of()
    [donor] = transplants_of(rows).incidents
    assert set(np.asarray(rows.node_ids)[donor.rows]) == {"sick"}
    assert donor.rows.size == 10 + 30 + (LAST - FIRST) + 12
    assert donor.usual[LATENCY] == pytest.approx(10.0, rel=0.01)


def test_trouble_keeps_its_ratio_to_what_is_usual_on_the_node_it_is_told_on() -> None:
    column, positive = made(rows_of())
    times = column["latency_p50:times5"][positive]
    assert positive.sum() > 500
    assert 4.5 < times.max() < 5.1
    level = column["latency_p50:last"][positive]
    assert level.max() > 450.0, "five times the hundred milliseconds of the other node"
    assert column["latency_p50:times5"][~positive].max() < 4.5


def test_some_transplants_are_weaker_than_what_happened() -> None:
    column, _ = made(rows_of({"sick": 10.0, "calm": 10.0}))
    height = column["latency_p50:last"][column["error_rate:off5"] > 1.0]
    counts, _ = np.histogram(height, [28.0, 36.0, 44.0, 52.0])
    assert (counts > 50).all(), "three times as much as usual is told, and four times, and all five"


def test_whole_numbers_stay_whole_and_codes_are_codes() -> None:
    column, _ = made(rows_of())
    failures, mode = column["connection_failures:last"], column["dwcp_mode:last"]
    assert set(np.unique(failures)) <= set(range(8))
    assert failures.max() > 3.0
    assert set(np.unique(mode)) == {0.0, 2.0}


def test_rows_that_may_not_be_learnt_from_take_no_part() -> None:
    rows = rows_of()
    usable = (np.asarray(rows.node_ids) != "calm") & (rows.ts_ms < START + 1_500 * MINUTE)
    other = replace(rows, values=np.where(usable[:, None], rows.values, rows.values * 7.0 + 3.0).astype(np.float32))
    one, another = (transplants_of(each, usable).examples(PLAN, WINDOW, 5.0, 0) for each in (rows, other))
    assert len(one[1]) > 0
    np.testing.assert_array_equal(one[0], another[0])
    np.testing.assert_array_equal(one[1], another[1])


def test_what_strays_as_far_and_is_no_incident_is_told_again_as_none() -> None:
    rows = rows_of()
    values = rows.values.copy()
    calm = np.flatnonzero(np.asarray(rows.node_ids) == "calm")[300:330]
    values[calm, LATENCY] *= 4.0
    values[calm, ERRORS] = 0.1
    found = transplants_of(replace(rows, values=values))
    assert any(set(calm.tolist()) <= set(donor.rows.tolist()) for donor in found.look_alikes)
    _, positive = found.examples(PLAN, WINDOW, 40.0, 0)
    assert 0.2 < positive.mean() < 0.9


def test_a_broken_stretch_is_no_donor() -> None:
    rows = rows_of()
    broken = ~((np.asarray(rows.node_ids) == "sick") & (np.abs(rows.ts_ms - (START + 1_010 * MINUTE)) < 10 * MINUTE))
    cut = NodeRows(rows.fields, np.asarray(rows.node_ids)[broken], rows.ts_ms[broken], rows.values[broken], MINUTE)
    assert transplants_of(cut).incidents == ()


def test_the_same_seed_gives_the_same_and_another_one_something_else() -> None:
    rows = rows_of()
    found = transplants_of(rows)
    first, again, other = (found.examples(PLAN, WINDOW, 10.0, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or (first != other).any()


def test_none_are_made_when_none_are_asked_for_or_nothing_happened() -> None:
    rows = rows_of()
    assert transplants_of(rows).examples(PLAN, WINDOW, 0.0, 0)[0].shape == (0, len(PLAN.names))
    calm = np.asarray(rows.node_ids) == "calm"
    assert len(transplants_of(rows, calm).examples(PLAN, WINDOW, 4.0, 0)[1]) == 0


def test_a_timeline_too_short_for_a_transplant_ends_without_any() -> None:
    rows = rows_of()
    short = rows.ts_ms < START + 1_100 * MINUTE
    early = NodeRows(rows.fields, np.asarray(rows.node_ids)[short], rows.ts_ms[short], rows.values[short], MINUTE)
    usable = (np.asarray(early.node_ids) == "sick") & (early.ts_ms > START + 800 * MINUTE)
    features, _ = transplants_of(early, usable).examples(PLAN, WINDOW, 4.0, 0)
    assert len(features) == 0
