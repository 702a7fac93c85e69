"""Scores a recording offline, by the code path of the worker: the same records give the same ids and scores."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec
import numpy as np

from detectors.scoring import StreamScorer
from features.appended import StepStatus
from schemas.codec import RecordCodec
from schemas.outputs import Anomaly

__all__ = ["ScoreSummary", "Scoring"]

BATCH = 8192


class ScoreSummary(msgspec.Struct):
    """What became of a recording's records.

    Attributes:
        records: read.
        rejected: records that would be dead letters, by error code.
        windows: windows scored, all detectors together.
        anomalies: windows flagged, by detector; for `silence`, silences.
        dropped: good records that were duplicates or late.
    """

    records: int = 0
    rejected: dict[str, int] = msgspec.field(default_factory=dict)
    windows: int = 0
    anomalies: dict[str, int] = msgspec.field(default_factory=dict)
    dropped: int = 0


class Scoring:
    """One pass over a recording; ``summary`` is complete when ``run`` is exhausted.

    Args:
        scorer: windows and detectors, empty at the start.
        codec: reads the records.
        topic: named as the anomalies' source, with partition 0 and the place in the file as offset.
    """

    def __init__(self, scorer: StreamScorer, codec: RecordCodec, topic: str) -> None:
        self.summary = ScoreSummary()
        self._scorer = scorer
        self._codec = codec
        self._topic = topic

    def run(
        self, records: Iterable[tuple[bytes, bytes, int]], on_progress: Callable[[int], None] | None = None
    ) -> Iterator[Anomaly]:
        """Score records in file order and yield the anomalies in the order of their records."""
        rest = iter(records)
        while batch := list(islice(rest, BATCH)):
            yield from self._score(batch)
            if on_progress is not None:
                on_progress(self.summary.records)

    def _score(self, batch: list[tuple[bytes, bytes, int]]) -> list[Anomaly]:
        summary = self.summary
        decoded = self._codec.decode([key for key, _, _ in batch], [value for _, value, _ in batch])
        outcome = self._scorer.process(
            decoded,
            topic=self._topic,
            partitions=np.zeros(len(decoded), dtype=np.int32),
            offsets=decoded.index + summary.records,
        )
        summary.records += len(batch)
        for rejection in decoded.rejections:
            code = str(rejection.code)
            summary.rejected[code] = summary.rejected.get(code, 0) + 1
        if self._scorer.silence is not None:
            silent = summary.anomalies.get(self._scorer.silence.name, 0) + len(outcome.appended.silences)
            summary.anomalies[self._scorer.silence.name] = silent
        for verdicts in outcome.verdicts:
            summary.windows += len(verdicts.records)
            flagged = summary.anomalies.get(verdicts.detector, 0) + int(verdicts.flagged.sum())
            summary.anomalies[verdicts.detector] = flagged
        appended = outcome.appended
        summary.dropped += appended.count(StepStatus.DUPLICATE) + appended.count(StepStatus.LATE)
        return outcome.anomalies
