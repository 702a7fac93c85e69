from dataclasses import replace

import msgspec
import numpy as np
from fleet_samples import START_MS, fleet, scorer
from hypothesis import given
from hypothesis import strategies as st

from features.nodes import NO_LABEL
from schemas.codec import RecordCodec
from schemas.streams import CONSENSUS
from streams.verdict_columns import VerdictColumns, joined, verdict_columns
from streams.verdicts import About, NodeAnomaly, NodeVerdict

ABOUT = About("s", "d", 1.0, "v")
History = list[tuple[int, int, int | None]]


def test_a_batch_is_reduced_to_the_newest_verdict_and_the_newest_anomaly_of_each_node() -> None:
    messages = fleet(3, range(40), faults={("n1", 31): 130.0, ("n2", 39): 60.0})
    decoded = RecordCodec(CONSENSUS).decode([each.key for each in messages], [each.value for each in messages])
    count = len(decoded)
    outcome = scorer().process(
        decoded, topic="t", partitions=np.zeros(count, np.int32), offsets=np.arange(count, dtype=np.int64)
    )
    [verdicts] = outcome.verdicts
    columns = verdict_columns(CONSENSUS, decoded, verdicts, outcome.anomalies, outcome.labels)
    assert len(columns) == len(verdicts.scores)
    found = {each.node: each for each in columns.newest()}
    assert set(found) == {"n0", "n1", "n2"}
    assert {each.ts_ms for each in found.values()} == {START_MS + 39_000}
    assert (found["n0"].score, found["n0"].severity, found["n0"].anomaly) == (10.0, "", None)
    assert found["n1"].severity == ""
    assert found["n1"].anomaly is not None
    assert (found["n1"].anomaly.ts_ms, found["n1"].anomaly.severity) == (START_MS + 33_000, "critical")
    assert (found["n2"].severity, found["n2"].cluster) == ("info", "alpha")
    assert found["n2"].about == About("consensus", "peak", 50.0, verdicts.model_version, CONSENSUS.features)


def verdict(at: int, anomaly: int | None, node: str = "n", score: float = 0.0) -> NodeVerdict:
    return NodeVerdict(
        about=ABOUT,
        node=node,
        ts_ms=at,
        score=score,
        severity="info" if anomaly == at else "",
        cluster="",
        region="",
        anomaly=None if anomaly is None else NodeAnomaly(anomaly, f"{score:g}", 1.0, "info"),
    )


@given(st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 20)), min_size=1))
def test_merging_keeps_the_newest_verdict_and_the_newest_anomaly_in_any_order(
    history: list[tuple[int, int | None]],
) -> None:
    merged = verdict(*history[0])
    for each in history[1:]:
        merged = merged.merged(verdict(*each))
    assert merged.ts_ms == max(at for at, _ in history)
    newest = max((at for _, at in history if at is not None), default=None)
    assert (merged.anomaly.ts_ms if merged.anomaly else None) == newest


def columns(history: History, first: int) -> VerdictColumns:
    """Columns of (node, time, anomaly's time); scores number the verdicts."""
    anomalies = {
        i: NodeAnomaly(anomaly, f"{first + i:g}", 1.0, "info")
        for i, (_, _, anomaly) in enumerate(history)
        if anomaly is not None
    }
    return VerdictColumns(
        ABOUT,
        [f"n{node}" for node, _, _ in history],
        np.array([at for _, at, _ in history], np.int64),
        first + np.arange(len(history), dtype=np.float64),
        [NO_LABEL] * len(history),
        anomalies,
        ["lan"] * len(history),
        np.zeros((0, 0), np.float32),
        np.full(len(history), -1, np.int32),
    )


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.none() | st.integers(0, 9))), max_size=4),
    st.integers(0, 4),
)
def test_columns_say_what_the_verdicts_one_by_one_say(batches: list[History], reduced_after: int) -> None:
    """Whether they are put together at once, or some of them before."""
    expected: dict[str, NodeVerdict] = {}
    parts, count = [], 0
    for history in batches:
        parts.append(columns(history, count))
        for node, at, anomaly in history:
            one = verdict(at, anomaly, f"n{node}", float(count))
            expected[one.node] = expected[one.node].merged(one) if one.node in expected else one
            count += 1
    found = {
        each.node: each for part in joined([*joined(parts[:reduced_after]), *parts[reduced_after:]]) for each in part
    }
    assert {node: (each.ts_ms, each.score, each.anomaly) for node, each in found.items()} == {
        node: (each.ts_ms, each.score, each.anomaly) for node, each in expected.items()
    }
    for each in found.values():
        assert each.severity == ("info" if each.anomaly and each.anomaly.ts_ms == each.ts_ms else "")


def test_the_oldest_verdicts_come_first_so_that_they_are_forgotten_first() -> None:
    reduced = columns([(0, 5, None), (1, 9, 4), (2, 7, None), (0, 8, None)], 0).newest()
    assert list(reduced.nodes) == ["n2", "n0", "n1"]
    left = reduced.without_first(1)
    assert (list(left.nodes), list(left.anomalies)) == (["n0", "n1"], [1])


def test_a_verdict_without_anomaly_says_nothing_of_one_on_the_wire() -> None:
    [row] = columns([(0, 1, None)], 0).rows()
    assert msgspec.json.encode(row) == b'["n0",1,0.0,"","","lan"]'
    [row] = columns([(0, 1, 1)], 0).rows()
    assert row == ("n0", 1, 0.0, "", "", "lan", False, "info", NodeAnomaly(1, "0", 1.0, "info"))


def test_each_verdict_has_its_own_step_and_tier_whatever_order_they_are_reduced_in() -> None:
    messages = fleet(3, range(35), faults={("n1", 34): 130.0})
    decoded = RecordCodec(CONSENSUS).decode([each.key for each in messages], [each.value for each in messages])
    outcome = scorer().process(
        decoded,
        topic="t",
        partitions=np.zeros(len(decoded), np.int32),
        offsets=np.arange(len(decoded), dtype=np.int64),
    )
    [verdicts] = outcome.verdicts
    newest = verdict_columns(CONSENSUS, decoded, verdicts, outcome.anomalies, outcome.labels).newest()
    place, p99 = list(newest.nodes).index("n1"), CONSENSUS.features.index("latency_p99")
    assert newest.values[place, p99] == 130.0
    assert set(newest.tiers) == {"lan"}
    told = {row[0]: row[6:] for row in newest.rows()}
    assert told["n0"] == (), "the step of a normal node is left out"
    assert told["n1"][0][p99] == 130.0
    assert all(len(row[6]) == len(CONSENSUS.features) for row in newest.rows(all_steps=True))


def stepped(history: History, first: int) -> VerdictColumns:
    """``columns`` whose steps are numbered as their scores are."""
    made = columns(history, first)
    steps = (first + np.arange(len(history), dtype=np.float32))[:, None]
    about = About("s", "d", 1.0, "v", ("number",))
    return replace(made, about=about, values=steps, valued=np.arange(len(history), dtype=np.int32))


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.none() | st.integers(0, 9))), max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.integers(1, 5),
)
def test_steps_of_anomalies_are_kept_and_told_in_parts_as_at_once(
    batches: list[History], leans: list[bool], size: int
) -> None:
    """Whichever batches dropped the steps of what passed, and however many nodes are told at once."""
    parts, count = [], 0
    for history, lean in zip(batches, leans, strict=False):
        made = stepped(history, count)
        parts.append(made.lean() if lean else made)
        count += len(history)
    every = [one for history in batches for one in history]
    for reduced in joined(parts):
        for score, row in zip(reduced.scores.tolist(), reduced.valued.tolist(), strict=True):
            _, at, anomaly = every[int(score)]
            assert row >= 0 or at != anomaly
            assert row < 0 or reduced.values[row].tolist() == [score], "each verdict has its own step"
        assert len(reduced.values) == np.count_nonzero(reduced.valued >= 0)
        for all_steps in (False, True):
            told = [reduced.rows(at, at + size, all_steps=all_steps) for at in range(0, len(reduced), size)]
            assert [row for part in told for row in part] == reduced.rows(all_steps=all_steps)
