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
from streams.changelog import Changelog, Restored
from streams.dead_letters import DeadLetter
from streams.source import Partition, Records
from streams.state import SavedPartition, StateRecord
from streams.verdict_columns import VerdictColumns, verdict_columns
from streams.verdicts import (
    NodeVerdict,
    reporting_verdicts,
    silence_verdicts,
    silent_verdicts,
)

__all__ = ["Batch", "Counts", "Processor", "StepCounts"]

K = TypeVar("K")
N = TypeVar("N", int, float)


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
        columns: all verdicts of each stream and detector, for the view.
        verdicts: what the view is told beside them: who fell silent, who is back.
        starts: first offset of the batch, by partition.
        offsets: next offset to read, by partition: what the transaction commits.
        rejected: by partition, bool (n,) in log order, whether each record is a dead letter.
        counts: for the metrics.
        replayed: records, by topic, that only brought windows back; they are in nothing else.
        seconds: wall time by stage.
    """

    anomalies: list[Anomaly] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    states: list[StateRecord] = field(default_factory=list)
    columns: list[VerdictColumns] = field(default_factory=list)
    verdicts: list[NodeVerdict] = field(default_factory=list)
    starts: dict[Partition, int] = field(default_factory=dict)
    offsets: dict[Partition, int] = field(default_factory=dict)
    rejected: dict[Partition, NDArray[np.bool_]] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    replayed: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of records, those that were only replayed not among them."""
        return sum(self.counts.records.values())


class Processor:
    """Decodes and scores the records of several streams, each from its topic.

    Args:
        scorers: by topic.
        max_record_bytes: larger values are dead letters.
        changelogs: by topic, where windows are to survive a restart.
        clock: seconds, for the stage times.
    """

    def __init__(
        self,
        scorers: Mapping[str, StreamScorer],
        *,
        max_record_bytes: int = 65_536,
        changelogs: Mapping[str, Changelog] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.scorers = dict(scorers)
        self.cadences = {
            topic: Cadence(scorer.stream.name, scorer.store.rules.step_ms) for topic, scorer in scorers.items()
        }
        self._codecs = {
            topic: RecordCodec(scorer.stream, max_bytes=max_record_bytes) for topic, scorer in scorers.items()
        }
        self._changelogs = dict(changelogs or {})
        self._replays: dict[Partition, int] = {}
        self._clock = clock

    def process(self, records: Sequence[Records]) -> Batch:
        """Work through records; those of a partition are in log order, and each topic is one of ``scorers``."""
        batch = Batch()
        for each in records:
            rest = self._replay(each, batch) if self._replays else each
            if len(rest):
                self._process(rest, batch)
        return batch

    def restore(self, partition: Partition, saved: SavedPartition, committed: int | None) -> Restored:
        """Put back the windows of a partition; what is read of it before ``committed`` is replayed, not published.

        Args:
            partition: one whose topic has a changelog, just assigned or dropped.
            saved: what the state topic has of it.
            committed: where the group goes on, ``None`` when it never committed anything.
        """
        topic, number = partition
        restored = self._changelogs[topic].restore(number, saved, committed)
        if restored.start is not None and committed is not None and restored.start < committed:
            self._replays[partition] = committed
        return restored

    def unsaved(self) -> Batch:
        """Return a batch of no records that saves every node that changed: committed last, nothing is to be replayed.

        Partitions that are still in replay are not in it: their windows are not yet what was committed.
        """
        batch = Batch()
        for topic, changelog in self._changelogs.items():
            ends = {number: end for number, end in changelog.unsaved().items() if (topic, number) not in self._replays}
            batch.states.extend(changelog.records(list(ends), all_nodes=True))
            batch.offsets.update({(topic, number): end for number, end in ends.items()})
        return batch

    def silences(self, partition: Partition) -> list[NodeVerdict]:
        """Return who of a partition is silent now, as it was when the silence was told, and that the others are not."""
        topic, number = partition
        scorer, store = self.scorers[topic], self.scorers[topic].store
        if scorer.silence is None:
            return []
        silent = {each.key: scorer.silence.anomaly(each, topic) for each in store.silences(number)}
        slots = store.slots_of(number)
        nodes = zip(map(store.key_of, slots.tolist()), store.newest_ms(slots).tolist(), strict=True)
        reporting = [(key, at) for key, at in nodes if key not in silent]
        return [
            *silent_verdicts(scorer.stream.name, scorer.silence, silent.values()),
            *reporting_verdicts(scorer.stream.name, scorer.silence, reporting),
        ]

    def drop(self, partition: Partition) -> None:
        """Forget the windows of a partition that goes to another worker."""
        topic, number = partition
        self.scorers[topic].drop_partition(number)
        self._replays.pop(partition, None)
        if topic in self._changelogs:
            self._changelogs[topic].drop(number)

    def _replay(self, records: Records, batch: Batch) -> Records:
        """Bring windows up to what was committed; returns the records that come after."""
        old = np.zeros(len(records), np.bool_)
        for number in np.unique(records.partitions).tolist():
            until = self._replays.get((records.topic, number))
            if until is not None:
                mine = records.partitions == number
                old |= mine & (records.offsets < until)
                if records.offsets[mine][-1] >= until - 1:
                    del self._replays[records.topic, number]
        if not old.any():
            return records
        began = self._clock()
        chosen, scorer = records.where(old), self.scorers[records.topic]
        decoded = self._codecs[records.topic].decode(chosen.keys, chosen.values)
        partitions, offsets = chosen.partitions[decoded.index], chosen.offsets[decoded.index]
        changelog, spans = self._changelogs[records.topic], _spans(chosen)
        before = changelog.watermarks(list(spans))
        appended = scorer.replay(decoded, partitions=partitions, offsets=offsets)
        changelog.observe(spans, before, decoded.keys, partitions, appended)
        _add(batch.replayed, records.topic, len(chosen))
        _add(batch.seconds, "replay", self._clock() - began)
        return records.where(~old)

    def _process(self, records: Records, batch: Batch) -> None:
        scorer = self.scorers[records.topic]
        began = self._clock()
        decoded = self._codecs[records.topic].decode(records.keys, records.values)
        decoded_at = self._clock()
        partitions, spans = records.partitions[decoded.index], _spans(records)
        changelog = self._changelogs.get(records.topic)
        before = changelog.watermarks(list(spans)) if changelog is not None else {}
        outcome = scorer.process(
            decoded, topic=records.topic, partitions=partitions, offsets=records.offsets[decoded.index]
        )
        scored_at = self._clock()
        if changelog is not None:
            changelog.observe(spans, before, decoded.keys, partitions, outcome.appended)
            batch.states.extend(changelog.records(list(spans)))
        saved_at = self._clock()
        batch.anomalies.extend(outcome.anomalies)
        batch.dead_letters.extend(_dead_letters(records, decoded))
        batch.columns.extend(
            verdict_columns(scorer.stream, decoded, each, outcome.anomalies, outcome.labels)
            for each in outcome.verdicts
        )
        if scorer.silence is not None:
            returned = outcome.appended.returned
            batch.verdicts.extend(
                silence_verdicts(scorer.stream.name, decoded, scorer.silence, returned, outcome.anomalies)
            )
        _add_offsets(records, decoded, spans, batch)
        _count(records, decoded, outcome, scorer.stream.name, batch.counts)
        if records.topic in self.cadences:
            self.cadences[records.topic].observe(decoded)
        _add(batch.seconds, "decode", decoded_at - began)
        _add(batch.seconds, "score", scored_at - decoded_at)
        _add(batch.seconds, "state", saved_at - scored_at)
        _add(batch.seconds, "collect", self._clock() - saved_at)


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


def _spans(records: Records) -> dict[int, tuple[int, int]]:
    """Return the first offset of each partition and the one after its last."""
    found = {}
    for number in np.unique(records.partitions).tolist():
        offsets = records.offsets[records.partitions == number]
        found[number] = int(offsets[0]), int(offsets[-1]) + 1
    return found


def _add_offsets(records: Records, decoded: Decoded, spans: Mapping[int, tuple[int, int]], batch: Batch) -> None:
    bad = np.ones(len(records), dtype=np.bool_)
    bad[decoded.index] = False
    for number, (start, end) in spans.items():
        partition = (records.topic, number)
        batch.starts[partition], batch.offsets[partition] = start, end
        batch.rejected[partition] = bad[records.partitions == number]


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
