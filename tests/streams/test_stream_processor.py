from itertools import pairwise

import numpy as np
import pytest
from fleet_samples import PeakDetector, Telemetry, consensus, fleet, message, offline, scorer, verdicts
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.scoring import StreamScorer
from features.appended import StepStatus
from schemas.errors import ErrorCode
from schemas.streams import NODE
from streams import Batch, Processor, Records

TOPIC = "t"


def records(messages: list[Telemetry], *, partition: int = 0, first: int = 0, topic: str = TOPIC) -> Records:
    return Records(
        topic,
        np.full(len(messages), partition, np.int32),
        np.arange(first, first + len(messages), dtype=np.int64),
        [each.key for each in messages],
        [each.value for each in messages],
    )


def test_a_batch_holds_the_anomalies_and_where_to_read_on() -> None:
    messages = fleet(3, range(40), faults={("n1", 35): 90.0})
    batch = Processor({TOPIC: scorer()}).process([records(messages, partition=2, first=1000)])
    assert verdicts(batch.anomalies) == verdicts(offline(messages))
    assert [each.source.partition for each in batch.anomalies] == [2, 2, 2]
    assert batch.starts == {(TOPIC, 2): 1000}
    assert batch.offsets == {(TOPIC, 2): 1120}
    assert batch.size == 120


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 119), max_size=6, unique=True))
def test_how_the_log_is_cut_into_batches_changes_no_anomaly(cuts: list[int]) -> None:
    messages = fleet(3, range(40), faults={("n1", 35): 90.0, ("n2", 30): 60.0, ("n0", 39): 200.0})
    processor = Processor({TOPIC: scorer()})
    bounds = [0, *sorted(cuts), len(messages)]
    found = [
        anomaly
        for low, high in pairwise(bounds)
        for anomaly in processor.process([records(messages[low:high], first=low)]).anomalies
    ]
    assert verdicts(found) == verdicts(offline(messages))


def test_offsets_of_interleaved_partitions_are_each_their_own() -> None:
    messages = fleet(2, range(3))
    mixed = Records(
        TOPIC,
        np.array([0, 1, 0, 1, 1, 0], np.int32),
        np.array([7, 100, 8, 101, 105, 9], np.int64),
        [each.key for each in messages],
        [each.value for each in messages],
    )
    batch = Processor({TOPIC: scorer()}).process([mixed])
    assert batch.starts == {(TOPIC, 0): 7, (TOPIC, 1): 100}
    assert batch.offsets == {(TOPIC, 0): 10, (TOPIC, 1): 106}


def test_a_dead_letter_carries_the_record_and_its_envelope() -> None:
    good = message(consensus("n1", 0))
    mixed = records([good, Telemetry(b"n1", b"{"), Telemetry(b"n2", None)], partition=3, first=50)
    enveloped = Records(
        mixed.topic, mixed.partitions, mixed.offsets, mixed.keys, mixed.values, lambda i: ((("i", b"%d" % i),), i)
    )
    batch = Processor({TOPIC: scorer()}).process([enveloped])
    letters = [(each.offset, each.key, each.value, each.code, each.headers) for each in batch.dead_letters]
    assert letters == [
        (51, b"n1", b"{", ErrorCode.NOT_JSON, (("i", b"1"),)),
        (52, b"n2", None, ErrorCode.TOMBSTONE, (("i", b"2"),)),
    ]
    assert [each.timestamp_ms for each in batch.dead_letters] == [1, 2]
    assert batch.offsets == {(TOPIC, 3): 53}
    assert batch.rejected[TOPIC, 3].tolist() == [False, True, True]
    assert batch.counts.dead_letters == {(TOPIC, "not-json"): 1, (TOPIC, "tombstone"): 1}


def test_steps_are_counted_by_what_became_of_them() -> None:
    steps = [*range(30), 29, 32, 31, 999]
    messages = [message(consensus("n1", step)) for step in steps]
    counts = Processor({TOPIC: scorer()}).process([records(messages)]).counts
    stream = counts.steps["consensus"]
    assert stream.by_status[StepStatus.DUPLICATE] == 1
    assert stream.by_status[StepStatus.WINDOW] == 3
    assert stream.by_status[StepStatus.WARMING] == 30
    assert (stream.gaps, stream.restarts) == (2, 1)
    assert counts.windows == {("consensus", "peak"): 3}


def test_streams_are_scored_apart_each_from_its_topic() -> None:
    processor = Processor({"a": scorer(), "b": StreamScorer(NODE, [PeakDetector(NODE)])})
    batch = processor.process([records(fleet(1, range(31)), topic="a"), records([Telemetry(b"n", b"[]")], topic="b")])
    assert batch.counts.records == {"a": 31, "b": 1}
    assert batch.counts.windows == {("consensus", "peak"): 2, ("node", "peak"): 0}
    assert set(batch.offsets) == {("a", 0), ("b", 0)}


def test_a_dropped_partition_starts_with_empty_windows_and_the_others_keep_theirs() -> None:
    processor = Processor({TOPIC: scorer()})
    processor.process([records(fleet(1, range(30)), partition=0), records(fleet(1, range(30)), partition=1)])
    processor.drop((TOPIC, 0))
    more = fleet(1, range(30, 31))
    again = processor.process([records(more, partition=0, first=30), records(more, partition=1, first=30)])
    assert again.counts.windows == {("consensus", "peak"): 1}
    assert len(processor.scorers[TOPIC].store) == 2


def test_the_time_of_each_stage_is_told() -> None:
    ticks = iter(range(100))
    batch = Processor({TOPIC: scorer()}, clock=lambda: float(next(ticks))).process([records(fleet(1, range(2)))])
    assert batch.seconds == {"decode": 1.0, "score": 1.0, "state": 1.0, "collect": 1.0}


def test_an_empty_batch_has_nothing() -> None:
    assert Processor({TOPIC: scorer()}).process([]) == Batch()


def test_a_value_longer_than_allowed_is_a_dead_letter() -> None:
    processor = Processor({TOPIC: scorer()}, max_record_bytes=300)
    batch = processor.process([records([message(consensus("n1", 0, region="r" * 200))])])
    assert [each.code for each in batch.dead_letters] == [ErrorCode.TOO_LARGE]


@pytest.mark.parametrize("topic", ["nobody reads"])
def test_a_topic_nobody_reads_is_a_mistake(topic: str) -> None:
    with pytest.raises(KeyError):
        Processor({TOPIC: scorer()}).process([records(fleet(1, range(1)), topic=topic)])
