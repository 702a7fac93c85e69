from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fleet_samples import PeakDetector
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from detectors.artefacts import ArtefactError
from detectors.catalogue import UnknownDetectorError, load_detectors
from detectors.scoring import StreamScorer, severity
from schemas.codec import Decoded, RecordCodec
from schemas.outputs import Anomaly
from schemas.streams import CONSENSUS, NODE
from vigil.simulator import ConsensusFleet, Fault, FaultPlan, simulate_consensus

START_MS = 1_790_000_000_000
FAULTS = FaultPlan((Fault(START_MS + 60_000, START_MS + 80_000, "network_congestion", "sim-00", "cluster", 0.9),))
RECORDS = list(simulate_consensus(ConsensusFleet(clusters=2, members=3), 120, 3, START_MS, FAULTS).records())


def decoded(start: int = 0, end: int | None = None) -> Decoded:
    part = RECORDS[start:end]
    return RecordCodec(CONSENSUS).decode([each.key for each in part], [each.value for each in part])


def run(cuts: tuple[int, ...] = ()) -> list[Anomaly]:
    scorer = StreamScorer(CONSENSUS, [PeakDetector(), *load_detectors(CONSENSUS)])
    found: list[Anomaly] = []
    bounds = [0, *sorted(cuts), len(RECORDS)]
    for start, end in pairwise(bounds):
        batch = decoded(start, end)
        nobody = np.zeros(len(batch), dtype=np.int32)
        found += scorer.process(
            batch, topic="t", partitions=nobody, offsets=np.arange(start, end, dtype=np.int64)
        ).anomalies
    return found


WHOLE = run()


def test_two_detectors_report_in_the_order_of_the_records() -> None:
    assert {each.detector for each in WHOLE} == {"peak", "consensus"}
    offsets = [each.source.offset for each in WHOLE]
    assert offsets == sorted(offsets)
    assert len({each.id for each in WHOLE}) == len(WHOLE)


def test_an_anomaly_says_where_it_comes_from_and_over_which_window() -> None:
    for each in WHOLE:
        record = RECORDS[each.source.offset]
        assert (each.node_id, each.ts_ms) == (record.key.decode(), record.ts_ms)
        assert each.window_end_ms == each.ts_ms
        assert each.window_end_ms - each.window_start_ms == pytest.approx(29_000, abs=50)
        assert each.score > each.threshold
        assert each.cluster == each.node_id.rpartition("-")[0]


@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(1, len(RECORDS) - 1), max_size=20))
def test_batches_change_nothing_to_the_bit(cuts: set[int]) -> None:
    assert run(tuple(cuts)) == WHOLE


def test_records_that_a_window_already_contains_are_passed_over() -> None:
    scorer = StreamScorer(CONSENSUS, [PeakDetector()])
    batch = decoded()
    nobody, offsets = np.zeros(len(batch), dtype=np.int32), np.arange(len(batch), dtype=np.int64)
    first = scorer.process(batch, topic="t", partitions=nobody, offsets=offsets)
    again = scorer.process(batch, topic="t", partitions=nobody, offsets=offsets)

    assert first.anomalies
    assert not again.anomalies
    assert not len(again.verdicts[0].scores)


def test_a_dropped_partition_begins_anew() -> None:
    scorer = StreamScorer(CONSENSUS, [PeakDetector()])
    batch = decoded(0, 60)
    nobody, offsets = np.zeros(len(batch), dtype=np.int32), np.arange(len(batch), dtype=np.int64)
    scorer.process(batch, topic="t", partitions=nobody, offsets=offsets)
    assert len(scorer.store) == 6
    scorer.drop_partition(0)
    assert len(scorer.store) == 0


def test_severity_rises_with_the_score() -> None:
    assert [severity(score, (2.0, 4.0)) for score in (1.0, 2.0, 2.1, 4.1)] == ["info", "info", "warning", "critical"]


def test_detectors_that_do_not_fit_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="at least one detector"):
        StreamScorer(CONSENSUS, [])
    with pytest.raises(ValueError, match="train it on this stream"):
        StreamScorer(NODE, [PeakDetector()])
    short = PeakDetector()
    short.window = 10
    with pytest.raises(ValueError, match="one window"):
        StreamScorer(CONSENSUS, [PeakDetector(), short])


def test_loading_says_what_there_is_and_where_it_belongs(tmp_path: Path) -> None:
    assert [detector.name for detector in load_detectors(CONSENSUS)] == ["consensus"]
    assert [detector.name for detector in load_detectors(NODE)] == ["reliability"]
    assert [each.name for each in load_detectors(CONSENSUS, ["autoencoder", "consensus"])] == [
        "autoencoder",
        "consensus",
    ]
    with pytest.raises(UnknownDetectorError, match="choose from autoencoder, consensus, reliability"):
        load_detectors(CONSENSUS, ["oracle"])
    with pytest.raises(ArtefactError, match="missing"):
        load_detectors(CONSENSUS, directory=tmp_path)
    with pytest.raises(ArtefactError, match="train consensus on a recording of stream node"):
        load_detectors(NODE, ["consensus"])


def test_scoring_keeps_to_one_core() -> None:
    StreamScorer(CONSENSUS, [PeakDetector()])
    assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {1}
