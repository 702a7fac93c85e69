"""Candidate features: each does what it says, and a stream in any pieces gives what a whole recording does."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.reliability.candidates import CANDIDATES, candidates
from detectors.reliability.examples import NodeRows, make_examples
from detectors.reliability.features import FeaturePlan
from detectors.reliability.fleetwide import FEWEST, FleetSums, TierLevels
from detectors.reliability.labels import label_rows
from detectors.reliability.since import HEAD, LONGEST, PAUSE, SinceEvent
from schemas.metrics import Incident
from schemas.streams import NODE

FIELDS = 4
CALM, TROUBLED = np.zeros(FIELDS, np.float32), np.full(FIELDS, 3.0, np.float32)


def fleet(minutes: list[list[NDArray[np.float32]]], tiers: list[int]) -> NDArray[np.float32]:
    """Features of one partition's nodes, a list of deviations a minute: float32 (minutes, nodes, width)."""
    sums, nodes = FleetSums(FIELDS), len(tiers)
    off = np.array(minutes, np.float32).reshape(-1, FIELDS)
    step = np.repeat(np.arange(len(minutes)), nodes)
    found = sums.advance(np.zeros(len(off), np.int64), np.tile(tiers, len(minutes)), step, off)
    return found.reshape(len(minutes), nodes, sums.width)


def test_a_node_is_held_against_the_fleet_and_its_tier_in_the_minute_before() -> None:
    tiers = [0, 0, 0, 1, 1, 1]
    crowd, after = [TROUBLED] * 3 + [CALM] * 3, [TROUBLED] * 6
    of_fleet, of_tier = np.split(fleet([crowd, after], tiers), 2, axis=2)
    assert np.array_equal(of_fleet[0, :, :FIELDS], np.array(crowd)), "before the first minute there is nothing"
    assert np.array_equal(of_fleet[1], np.full((6, FIELDS + 1), [1.5] * FIELDS + [0.5])), "3 less the mean, 1.5"
    assert of_tier[1, 0].tolist() == [0.0] * FIELDS + [1.0], "its whole tier was as troubled"
    assert of_tier[1, 5].tolist() == [3.0] * FIELDS + [0.0], "its tier was calm"


def test_one_node_does_not_speak_for_its_fleet_and_few_say_nothing() -> None:
    wild = np.full(FIELDS, 1e6, np.float32)
    found = fleet([[wild, CALM, CALM, CALM], [CALM] * 4], [0] * 4)
    assert found[1, 1, :FIELDS].tolist() == [-1.0] * FIELDS, "held at 4, a mean of 1"
    few = fleet([[TROUBLED] * (FEWEST - 1)] * 2, [0] * (FEWEST - 1))
    assert np.array_equal(few[1, :, :FIELDS], np.full((FEWEST - 1, FIELDS), 3.0))


def test_sums_of_a_step_long_ago_are_forgotten_and_not_begun_again() -> None:
    sums, three = FleetSums(FIELDS), np.zeros(3, np.int64)
    for minute in (10, 20):
        sums.advance(three, three, np.full(3, minute), np.array([TROUBLED] * 3))
    late = sums.advance(three[:1], three[:1], np.array([11]), np.array([CALM]))
    assert late[0, :FIELDS].tolist() == [0.0] * FIELDS
    assert {step for _, _, step in sums.sums} == {20}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_fleet_and_counts_are_the_same_to_the_bit_in_any_batches(seed: int, cuts: list[int]) -> None:
    random = np.random.default_rng(seed)
    count = 120
    partition, node = random.integers(0, 2, count), random.integers(0, 6, count)
    step = np.maximum.accumulate(np.arange(count) // 6 + random.integers(0, 2, count)) - random.integers(0, 3, count)
    off = random.normal(0.0, 3.0, (count, FIELDS)).astype(np.float32)

    def walk(bounds: list[int]) -> bytes:
        sums, since = FleetSums(FIELDS), SinceEvent((1, 3))
        state, told = since.start(12), []
        for first, last in zip([0, *bounds], [*bounds, count], strict=True):
            part = slice(first, last)
            if len(off[part]):
                of_fleet = sums.advance(partition[part], node[part] % 3, step[part], off[part])
                counts = since.advance(off[part], off[part], state, partition[part] * 6 + node[part])
                told.append(np.column_stack([of_fleet, counts]))
        return np.concatenate(told).tobytes()

    assert walk(sorted({min(int(at), count) for at in np.cumsum(cuts)})) == walk([])


def test_an_episode_is_counted_from_its_first_event_and_ends_after_a_pause() -> None:
    since = SinceEvent((0,))
    state = since.start(1)
    assert state[0].tolist() == [LONGEST, LONGEST, 0.0, LONGEST, 0.0]

    def go(off: NDArray[np.float32], steps: int = 1) -> list[float]:
        for _ in range(steps):
            found = since.advance(off[None], np.ones((1, FIELDS), np.float32), state, np.zeros(1, np.int64))
        return [float(each) for each in found[0]]

    assert go(TROUBLED) == [0.0, 0.0, 1.0, LONGEST, 1.0], "steps since it, since the first, events, pause before, count"
    assert go(CALM, 2) == [2.0, 2.0, 1.0, LONGEST, 3.0]
    assert go(TROUBLED) == [0.0, 3.0, 2.0, LONGEST, 4.0], "the same episode goes on"
    assert go(CALM, PAUSE) == [PAUSE, PAUSE + 3.0, 2.0, LONGEST, 4.0 + PAUSE]
    assert go(CALM, 5)[HEAD] == 4.0 + PAUSE, "what comes after the pause is not counted"
    assert go(TROUBLED) == [0.0, 0.0, 1.0, PAUSE + 5.0, 1.0]


def test_what_is_usual_in_a_tier_is_learnt_of_its_nodes_alone() -> None:
    values = np.array([[1.0], [2.0], [3.0], [100.0], [100.0], [100.0]], np.float32)
    tier = np.array([0, 0, 0, 2, 2, 2])
    levels = TierLevels.fit(values, tier, np.array([0.5], np.float32))
    assert levels.middle[:, 0].tolist() == [2.0, 51.5, 100.0], "a tier nobody is in is as all are"
    assert levels.scale[2, 0] == 0.5, "never below the floor"
    assert levels.against(np.array([[101.0]], np.float32), np.array([2])).tolist() == [[2.0]]


def test_candidates_are_made_for_the_rows_that_have_a_window_and_know_nothing_of_their_own_fold() -> None:
    random = np.random.default_rng(3)
    names, minutes, start = [f"n{i}" for i in range(6)], 90, 1_760_000_000_000
    ids = np.tile(names, minutes)
    ts_ms = start + 60_000 * np.repeat(np.arange(minutes), 6)
    values = random.gamma(2.0, 1.0, (len(ids), len(NODE.features))).astype(np.float32)
    tier = NODE.features.index("network_tier")
    values[:, tier] = np.tile([0, 0, 0, 1, 1, 1], minutes)
    rows = NodeRows(NODE.features, ids, ts_ms, values)
    incident = Incident(
        node_id="n1", start_ms=start + 3_000_000, end_ms=start + 3_600_000, kind="overload", severity="critical"
    )
    labels = label_rows(ids.tolist(), ts_ms, [incident])
    plan = FeaturePlan.fit(NODE.features, values)
    fold = np.tile([0, 1, 0, 1, 0, 1], minutes)
    made = candidates(rows, labels, fold, plan, 30)
    examples = make_examples(rows, plan, 30)
    assert set(made) == set(CANDIDATES)
    assert {len(each) for each in made.values()} == {len(examples.rows)} == {6 * (minutes - 29)}
    assert all(np.isfinite(each).all() for each in made.values())
    # Other values of fold 0 change what its own rows are held against by nothing but themselves.
    other = values.copy()
    other[fold == 0] *= 2.0
    other[:, tier] = values[:, tier]
    again = candidates(NodeRows(NODE.features, ids, ts_ms, other), labels, fold, plan, 30)["tier levels"]
    mine = fold[examples.rows] == 0
    quiet = (fold == 1) & ~labels.positive
    levels = TierLevels.fit(values[quiet], values[quiet, tier].astype(np.int64), plan.floor)
    own = examples.rows[mine]
    assert np.array_equal(again[mine], levels.against(other[own], other[own, tier].astype(np.int64)))
