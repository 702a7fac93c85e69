"""Records in, a batch of results out: decode, windows, scores. No Kafka and no Redis here, so it is easy to test.

What it does depends on the records and their order alone. A batch whose transaction fails is published again as it is;
it is never processed a second time, because the windows have moved on.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.scoring import Outcome, StreamScorer
from features.appended import StepStatus
from schemas.codec import Decoded, RecordCodec
from schemas.outputs import Anomaly
from streams.cadence import Cadence
from streams.dead_letters import DeadLetter
from streams.source import Partition, Records
from streams.verdicts import NodeVerdict, newest_verdicts

__all__ = ["Batch", "Counts", "Processor", "StateRecord", "StepCounts"]

K = TypeVar("K")
N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class StateRecord:
    """One record for a compacted state topic, published in the batch's transaction.

    Attributes:
        topic: the state topic.
        key: whose state.
        value: the state, ``None`` to delete it.
    """

    topic: str
    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class StepCounts:
    """What the window store did with a stream's good records."""

    by_status: Mapping[StepStatus, int]
    gaps: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of one batch.

    Attributes:
        records: by topic.
        dead_letters: by topic and code.
        steps: by stream.
        windows: scored ones, by stream and detector.
    """

    records: dict[str, int] = field(default_factory=dict)
    dead_letters: dict[tuple[str, str], int] = field(default_factory=dict)
    steps: dict[str, StepCounts] = field(default_factory=dict)
    windows: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that follows from a batch of records.

    Attributes:
        anomalies: to publish, a topic's in the order of its records.
        dead_letters: to publish, likewise.
        states: window state to publish in the same transaction.
        verdicts: newest verdict of each node and detector, for the view.
        starts: first offset of the batch, by partition.
        offsets: next offset to read, by partition: what the transaction commits.
        rejected: by partition, bool (n,) in log order, whether each record is a dead letter.
        counts: for the metrics.
        seconds: wall time by stage.
    """

    anomalies: list[Anomaly] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    states: list[StateRecord] = field(default_factory=list)
    verdicts: list[NodeVerdict] = field(default_factory=list)
    starts: dict[Partition, int] = field(default_factory=dict)
    offsets: dict[Partition, int] = field(default_factory=dict)
    rejected: dict[Partition, NDArray[np.bool_]] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of records."""
        return sum(self.counts.records.values())


class Processor:
    """Decodes and scores the records of several streams, each from its topic.

    Args:
        scorers: by topic.
        max_record_bytes: larger values are dead letters.
        clock: seconds, for the stage times.
    """

    def __init__(
        self,
        scorers: Mapping[str, StreamScorer],
        *,
        max_record_bytes: int = 65_536,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.scorers = dict(scorers)
        self.cadences = {
            topic: Cadence(scorer.stream.name, scorer.store.rules.step_ms) for topic, scorer in scorers.items()
        }
        self._codecs = {
            topic: RecordCodec(scorer.stream, max_bytes=max_record_bytes) for topic, scorer in scorers.items()
        }
        self._clock = clock

    def process(self, records: Sequence[Records]) -> Batch:
        """Work through records; those of a partition are in log order, and each topic is one of ``scorers``."""
        batch = Batch()
        for each in records:
            self._process(each, batch)
        return batch

    def drop(self, partition: Partition) -> None:
        """Forget the windows of a partition that goes to another worker."""
        topic, number = partition
        self.scorers[topic].drop_partition(number)

    def _process(self, records: Records, batch: Batch) -> None:
        scorer = self.scorers[records.topic]
        began = self._clock()
        decoded = self._codecs[records.topic].decode(records.keys, records.values)
        decoded_at = self._clock()
        outcome = scorer.process(
            decoded,
            topic=records.topic,
            partitions=records.partitions[decoded.index],
            offsets=records.offsets[decoded.index],
        )
        scored_at = self._clock()
        batch.anomalies.extend(outcome.anomalies)
        batch.dead_letters.extend(_dead_letters(records, decoded))
        batch.verdicts.extend(newest_verdicts(scorer.stream.name, decoded, outcome.verdicts, outcome.anomalies))
        _add_offsets(records, decoded, batch)
        _count(records, decoded, outcome, scorer.stream.name, batch.counts)
        if records.topic in self.cadences:
            self.cadences[records.topic].observe(decoded)
        _add(batch.seconds, "decode", decoded_at - began)
        _add(batch.seconds, "score", scored_at - decoded_at)
        _add(batch.seconds, "collect", self._clock() - scored_at)


def _dead_letters(records: Records, decoded: Decoded) -> list[DeadLetter]:
    found = []
    for rejection in decoded.rejections:
        index = rejection.index
        headers, timestamp_ms = records.envelope(index)
        found.append(
            DeadLetter(
                topic=records.topic,
                partition=int(records.partitions[index]),
                offset=int(records.offsets[index]),
                key=records.keys[index],
                value=records.values[index],
                code=rejection.code,
                text=rejection.text,
                headers=headers,
                timestamp_ms=timestamp_ms,
            )
        )
    return found


def _add_offsets(records: Records, decoded: Decoded, batch: Batch) -> None:
    bad = np.ones(len(records), dtype=np.bool_)
    bad[decoded.index] = False
    for number in np.unique(records.partitions).tolist():
        mine = records.partitions == number
        offsets = records.offsets[mine]
        partition = (records.topic, number)
        batch.starts[partition] = int(offsets[0])
        batch.offsets[partition] = int(offsets[-1]) + 1
        batch.rejected[partition] = bad[mine]


def _count(records: Records, decoded: Decoded, outcome: Outcome, stream: str, counts: Counts) -> None:
    _add(counts.records, records.topic, len(records))
    for rejection in decoded.rejections:
        _add(counts.dead_letters, (records.topic, str(rejection.code)), 1)
    appended = outcome.appended
    counts.steps[stream] = StepCounts(appended.counts, appended.gaps, appended.restarts)
    for verdicts in outcome.verdicts:
        _add(counts.windows, (stream, verdicts.detector), len(verdicts.records))


def _add(totals: dict[K, N], key: K, value: N) -> None:
    totals[key] = totals.get(key, 0) + value
