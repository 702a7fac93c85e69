"""Following one node gives the windows, verdicts and silences that scoring all gives, however the log is cut."""

from itertools import pairwise

import numpy as np
import pytest
from fleet_samples import START_MS, consensus, message
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.catalogue import load_detectors
from detectors.following import NodeFollower
from detectors.protocol import Expecting
from detectors.scoring import StreamScorer
from schemas.codec import RecordCodec
from schemas.outputs import Anomaly
from schemas.streams import CONSENSUS
from vigil.simulator import ConsensusFleet, Fault, FaultPlan, simulate_consensus

NODE = "sim-00-n1"
FAULTS = FaultPlan((Fault(START_MS + 60_000, START_MS + 80_000, "network_congestion", "sim-00", "cluster", 0.9),))
RECORDS = list(simulate_consensus(ConsensusFleet(clusters=2, members=3), 120, 3, START_MS, FAULTS).records())
KEPT = 200


def scorer() -> StreamScorer:
    return StreamScorer(CONSENSUS, load_detectors(CONSENSUS, ["consensus", "autoencoder"]))


def all_scored() -> dict[tuple[str, int], Anomaly]:
    decoded = RecordCodec(CONSENSUS).decode([each.key for each in RECORDS], [each.value for each in RECORDS])
    offsets = np.arange(len(decoded), dtype=np.int64)
    found = scorer().process(decoded, topic="t", partitions=np.zeros(len(decoded), np.int32), offsets=offsets)
    return {(each.detector, each.source.offset): each for each in found.anomalies if each.node_id == NODE}


def followed(cuts: tuple[int, ...] = (), records: list = RECORDS, node: str = NODE) -> NodeFollower:
    follower = NodeFollower(scorer(), 0, node, keep=KEPT)
    for start, end in pairwise([0, *sorted(cuts), len(records)]):
        part = records[start:end]
        decoded = RecordCodec(CONSENSUS).decode([each.key for each in part], [each.value for each in part])
        follower.follow(decoded, decoded.index + start)
    return follower


WHOLE = all_scored()


@settings(deadline=None, max_examples=5)
@given(st.lists(st.integers(0, len(RECORDS)), max_size=6).map(tuple))
def test_each_verdict_and_its_reasons_are_those_of_scoring_all_nodes(cuts: tuple[int, ...]) -> None:
    follower = followed(cuts)
    assert len(WHOLE) > 20
    for name in ("consensus", "autoencoder"):
        for each, judged in zip(follower.windows, follower.judge(name, follower.windows), strict=True):
            anomaly = WHOLE.get((name, each.offset))
            assert judged.flagged == (anomaly is not None)
            if anomaly is not None:
                assert (judged.score, each.ts_ms) == (anomaly.score, anomaly.ts_ms)
                assert follower.reasons(name, each).contributions == anomaly.contributions
                assert follower.reasons(name, each).kind == anomaly.kind


def test_a_window_is_judged_alike_alone_and_among_others() -> None:
    follower = followed()
    for name in ("consensus", "autoencoder"):
        judged = follower.judge(name, follower.windows)
        for place in range(0, len(judged), 30):
            assert follower.judge(name, [follower.windows[place]]) == [judged[place]]


def test_only_the_last_windows_are_kept_and_steps_that_were_accepted() -> None:
    follower = NodeFollower(scorer(), 0, NODE, keep=5, until_ms=START_MS + 100_000)
    decoded = RecordCodec(CONSENSUS).decode([each.key for each in RECORDS], [each.value for each in RECORDS])
    follower.follow(decoded, decoded.index)
    mine = [i for i, each in enumerate(RECORDS) if each.key.decode() == NODE]
    assert [each.offset for each in follower.windows] == mine[-5:]
    assert [at for _, at in follower.steps] == [i for i in mine if RECORDS[i].ts_ms <= START_MS + 100_000]
    assert follower.learned == len(mine) - 29
    assert follower.reached_ms == max(each.ts_ms for each in RECORDS)
    assert follower.window_at(mine[-1]) is follower.windows[-1]
    assert follower.window_at(mine[0]) is None


@pytest.mark.parametrize("name", ["consensus", "autoencoder"])
def test_what_was_expected_is_the_band_of_the_contributions(name: str) -> None:
    follower = followed()
    assert isinstance(follower.detector(name), Expecting)
    checked = 0
    for each in follower.windows:
        expected = follower.expected(name, each)
        assert expected is not None
        assert expected.low.shape == (1, 30, 12)
        measured = ~np.isnan(expected.usual)
        assert np.all(expected.low[measured] <= expected.usual[measured])
        assert np.all(expected.usual[measured] <= expected.high[measured])
        for one in follower.reasons(name, each).contributions:
            column = CONSENSUS.features.index(one.feature)
            low, high = expected.low[0, :, column], expected.high[0, :, column]
            # A band of some step, to the digits that contributions are given with.
            assert np.any(
                np.isclose(low, one.expected_low or 0.0, atol=1e-4)
                & np.isclose(high, one.expected_high or 0.0, atol=1e-4)
            )
            checked += 1
    assert checked > 100


def test_a_silence_of_the_node_is_told_with_the_record_that_made_it_certain() -> None:
    silent = range(40, 60)
    records = [
        message(consensus(f"n{node}", step)) for step in range(90) for node in range(4) if node or step not in silent
    ]
    follower = followed((50, 170), records, "n0")
    [told] = follower.silences
    assert (told.silence.last_ms, told.silence.key) == (START_MS + 39_000, "n0")
    assert told.told_by in {"n1", "n2", "n3"}
    assert records[told.told_offset].key == told.told_by.encode()
    assert told.told_ms >= START_MS + 46_000
    assert follower.returns == [START_MS + 60_000]


def test_a_detector_that_is_not_there_has_no_verdict() -> None:
    follower = followed()
    with pytest.raises(KeyError, match="reliability"):
        follower.judge("reliability", follower.windows)
