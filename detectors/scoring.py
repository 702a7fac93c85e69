"""Records in, anomalies out: the one code path of the worker, of offline scoring and of the tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from detectors.protocol import Classifier, Detector, Foreseeing, NodeState, StatefulDetector, flag
from detectors.silence import USUAL_GAP_STEPS, SilenceDetector, usual_limit_ms
from features.batch import WindowBatch
from features.nodes import Label
from features.windows import Appended, WindowStore
from schemas.codec import Decoded
from schemas.outputs import Anomaly, Contribution, Source, anomaly_id
from schemas.streams import Stream

Severity = Literal["info", "warning", "critical"]
MAX_LABELS: Final = 65_536  # kept to be shared; more only cost memory
MAX_WINDOWS: Final = 8_192  # gathered at once: bounds the memory of a batch


class Explained(NamedTuple):
    """Why a window was flagged: contributions, class, confidence in the class, minutes until it is to be expected."""

    contributions: tuple[Contribution, ...]
    kind: str | None
    confidence: float | None
    expected_in: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One detector's scores of a batch.

    Attributes:
        detector: its name.
        model_version: of the artefact that scored.
        threshold: scores of anomalous windows are greater.
        records: int64 (k,), index into the decoded batch of the step that each window ends with, ascending.
        scores: float64 (k,).
        flagged: bool (k,), whether the window is anomalous, see ``detectors.protocol.flag``.
    """

    detector: str
    model_version: str
    threshold: float
    records: NDArray[np.int64]
    scores: NDArray[np.float64]
    flagged: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch led to.

    Attributes:
        anomalies: in the order of their records.
        verdicts: all, by detector.
        appended: what became of each step.
        labels: cluster and region of each record, one object for all records that say the same.
    """

    anomalies: list[Anomaly]
    verdicts: list[Verdicts]
    appended: Appended
    labels: Sequence[Label]


def severity(score: float, levels: tuple[float, float]) -> Severity:
    """Grade an anomaly's score by the detector's levels for a warning and for a critical one."""
    warning, critical = levels
    return "critical" if score > critical else "warning" if score > warning else "info"


class StreamScorer:
    """Keeps the windows of one stream and runs its detectors over every batch.

    State (windows, baselines) is a function of the records and their order within each partition; how they are cut into
    batches changes nothing, to the bit.
    """

    def __init__(  # noqa: PLR0913 -- settings, by name
        self,
        stream: Stream,
        detectors: Sequence[Detector],
        *,
        step_ms: int | None = None,
        gap_steps: int | None = None,
        late_steps: int = 5,
        idle_ms: int = 1_800_000,
        silence_ms: int | None = None,
        resume_ms: int | None = None,
        capacity: int = 1024,
    ) -> None:
        """Make an empty store of windows, and limit this process's BLAS to one thread.

        Args:
            stream: what the records are.
            detectors: those to run, all for this stream's features and one window length.
            step_ms: nominal milliseconds between a node's steps; the stream's own when ``None``.
            gap_steps: missing steps that are carried. When ``None`` the stream's own, as far as ``idle_ms`` allows.
            late_steps: how many steps back a late step may still fill its hole.
            idle_ms: event time without a step after which a node is forgotten.
            silence_ms: longest silence of a node that is no anomaly; 0 for no such anomalies, ``None`` for the usual.
            resume_ms: longest gap, too long to be carried, after which a window goes on; a longer one starts it again.
                The stream's own when ``None``.
            capacity: nodes to reserve memory for; grows as needed.

        Raises:
            ValueError: no detector is given, or they do not fit the stream or each other; or a setting is out of range.
        """
        _check_detectors(stream, detectors)
        # A matrix product cut over threads rounds by their number; and on products this small, threads that wait for
        # each other cost more than they give. One worker process uses one core, another worker the next.
        threadpool_limits(limits=1, user_api="blas")
        self.stream = stream
        self.step_ms = step_ms or stream.step_ms
        self.detectors = tuple(detectors)
        widths = [detector.state_width for detector in detectors]
        bounds = np.concatenate([[0], np.cumsum(widths)])
        self._state_parts = [slice(int(a), int(b)) for a, b in pairwise(bounds)]
        carried = self._gap_steps(idle_ms) if gap_steps is None else gap_steps
        self.store = WindowStore(
            len(stream.features),
            window=detectors[0].window,
            step_ms=self.step_ms,
            gap_steps=carried,
            late_steps=late_steps,
            idle_ms=idle_ms,
            capacity=capacity,
            state_width=int(bounds[-1]),
            silence_ms=usual_limit_ms(self.step_ms, carried) if silence_ms is None else silence_ms,
            resume_ms=stream.resume_steps * self.step_ms if resume_ms is None else resume_ms,
        )
        rules = self.store.silence_rules
        self.silence = SilenceDetector(rules) if rules is not None else None
        self._labels = _Labels()

    def _gap_steps(self, idle_ms: int) -> int:
        return min(self.stream.gap_steps, max(USUAL_GAP_STEPS, idle_ms // self.step_ms - 1))

    def process(
        self, decoded: Decoded, *, topic: str, partitions: NDArray[np.int32], offsets: NDArray[np.int64]
    ) -> Outcome:
        """Append a batch of records to their windows and score every complete one.

        Args:
            decoded: n good records, a partition's in log order.
            topic: where they come from, for the anomalies' source.
            partitions: int32 (n,).
            offsets: int64 (n,), increasing within a partition; records that a restored window contains are passed over.
        """
        labels = self._labels.of(decoded)
        appended = self._append(decoded, partitions, offsets, labels)
        verdicts: list[Verdicts] = []
        found: list[tuple[int, int, Anomaly]] = []
        if self.silence is not None:
            last = len(self.detectors)
            found += [(each.record, last, self.silence.anomaly(each, topic)) for each in appended.silences]
        for order, (detector, part) in enumerate(zip(self.detectors, self._state_parts, strict=True)):
            before = self._advance(detector, part, appended.windows, decoded.keys)
            scores, flagged, reasons = _judged(detector, appended.windows, before)
            records = appended.windows.records
            verdicts.append(Verdicts(detector.name, detector.version, detector.threshold, records, scores, flagged))
            start, end = appended.windows.start_ms(), appended.windows.end_ms()
            for i, reason in reasons.items():
                record = int(records[i])
                source = Source(topic=topic, partition=int(partitions[record]), offset=int(offsets[record]))
                span = (int(start[i]), int(end[i]))
                anomaly = _anomaly(detector, decoded, record, float(scores[i]), span, reason, source)
                found.append((record, order, anomaly))
        found.sort(key=lambda each: each[:2])
        return Outcome([anomaly for _, _, anomaly in found], verdicts, appended, labels)

    def replay(self, decoded: Decoded, *, partitions: NDArray[np.int32], offsets: NDArray[np.int64]) -> Appended:
        """Bring windows and states to where ``process`` would, for records whose verdicts are known already.

        Args:
            decoded: n good records, a partition's in log order.
            partitions: int32 (n,).
            offsets: int64 (n,), increasing within a partition; records that a restored window contains are passed over.
        """
        appended = self.append(decoded, partitions, offsets)
        self.advance(appended.windows, decoded.keys)
        return appended

    def append(self, decoded: Decoded, partitions: NDArray[np.int32], offsets: NDArray[np.int64]) -> Appended:
        """Append records to the windows and leave the detectors' states as they are; arguments as for ``replay``."""
        return self._append(decoded, partitions, offsets, self._labels.of(decoded))

    def _append(
        self, decoded: Decoded, partitions: NDArray[np.int32], offsets: NDArray[np.int64], labels: Sequence[Label]
    ) -> Appended:
        told = labels if self.silence is not None else None
        return self.store.append(partitions, decoded.keys, decoded.ts_ms, decoded.rows, offsets=offsets, labels=told)

    def advance(self, windows: WindowBatch, keys: Sequence[str]) -> list[NodeState | None]:
        """Move the detectors' states over windows of the last ``append``, a node's all or none.

        Args:
            windows: n of them.
            keys: of the records appended.

        Returns:
            By detector, float32 (n, state_width), the states before; ``None`` of a detector without state.
        """
        parts = zip(self.detectors, self._state_parts, strict=True)
        return [self._advance(detector, part, windows, keys) for detector, part in parts]

    def drop_partition(self, partition: int) -> None:
        """Forget all nodes of a partition that now belongs to another worker."""
        self.store.drop_partition(partition)

    def _advance(self, detector: Detector, part: slice, windows: WindowBatch, keys: Sequence[str]) -> NodeState | None:
        """Move the nodes' states in the store; a node without one gets what the detector begins with."""
        if not detector.state_width:
            return None
        stateful = cast("StatefulDetector", detector)
        slots, first, node = np.unique(windows.slots, return_index=True, return_inverse=True)
        state = self.store.state[slots, part]
        fresh = np.flatnonzero(~state.any(axis=1))
        if len(fresh):
            # Not by slot: a node may have been forgotten again by the end of the batch.
            state[fresh] = stateful.prime([keys[record] for record in windows.records[first[fresh]].tolist()])
        before = stateful.advance(windows, state, node)
        self.store.state[slots, part] = state
        return before


class _Labels(dict[Label, Label]):
    """Clusters and regions, one object each: a node keeps what its last record said, and a fleet has few of them."""

    def of(self, decoded: Decoded) -> list[Label]:
        """Return the label of each record."""
        return list(map(self.__getitem__, zip(decoded.clusters, decoded.regions, strict=True)))

    def __missing__(self, label: Label) -> Label:
        if len(self) >= MAX_LABELS:
            self.clear()
        self[label] = label
        return label


def _judged(
    detector: Detector, windows: WindowBatch, before: NodeState | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[int, Explained]]:
    """Score all windows: scores, float64 (n,), which are anomalous, bool (n,), and what explains those by index."""
    scores, flagged = np.zeros(len(windows), dtype=np.float64), np.zeros(len(windows), dtype=np.bool_)
    for start in range(0, len(windows), MAX_WINDOWS):
        index = np.arange(start, min(start + MAX_WINDOWS, len(windows)), dtype=np.int64)
        some, states = windows.take(index), None if before is None else before[index]
        scores[index] = detector.score(some, states)
        flagged[index] = flag(detector, some, scores[index], states)
    anomalous = np.flatnonzero(flagged)
    if not len(anomalous):
        return scores, flagged, {}
    reasons = explained(detector, windows.take(anomalous), None if before is None else before[anomalous])
    return scores, flagged, dict(zip(anomalous.tolist(), reasons, strict=True))


def explained(detector: Detector, windows: WindowBatch, before: NodeState | None) -> list[Explained]:
    """Say of windows what an anomaly says beside its score; arguments as for ``Detector.score``."""
    contributions = detector.contributions(windows, before)
    kinds: Sequence[tuple[str | None, float | None]] = [(None, None)] * len(windows)
    if isinstance(detector, Classifier):
        kinds = detector.classify(windows, before)
    expected: Sequence[tuple[float, float] | None] = [None] * len(windows)
    if isinstance(detector, Foreseeing):
        expected = detector.expected_in(windows, before)
    return [Explained(each, *kind, ahead) for each, kind, ahead in zip(contributions, kinds, expected, strict=True)]


def _anomaly(
    detector: Detector,
    decoded: Decoded,
    record: int,
    score: float,
    span: tuple[int, int],
    explained: Explained,
    source: Source,
) -> Anomaly:
    key, ts_ms = decoded.keys[record], int(decoded.ts_ms[record])
    return Anomaly(
        id=anomaly_id(detector.name, key, ts_ms),
        ts_ms=ts_ms,
        node_id=key,
        cluster=decoded.clusters[record],
        region=decoded.regions[record],
        detector=detector.name,
        model_version=detector.version,
        score=score,
        threshold=detector.threshold,
        severity=severity(score, detector.levels),
        window_start_ms=span[0],
        window_end_ms=span[1],
        contributions=explained.contributions,
        source=source,
        kind=explained.kind,
        confidence=explained.confidence,
        expected_in_minutes=explained.expected_in,
    )


def _check_detectors(stream: Stream, detectors: Sequence[Detector]) -> None:
    if not detectors:
        raise ValueError(f"stream {stream.name}: give at least one detector")
    for detector in detectors:
        if tuple(detector.fields) != tuple(stream.features):
            raise ValueError(
                f"stream {stream.name}: detector {detector.name} ({detector.version}) takes {list(detector.fields)}, "
                f"the stream gives {list(stream.features)}: train it on this stream"
            )
        if detector.window != detectors[0].window:
            raise ValueError(
                f"stream {stream.name}: detector {detector.name} looks at {detector.window} steps, "
                f"{detectors[0].name} at {detectors[0].window}: train them with one window"
            )
