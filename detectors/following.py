"""Follows one node through a log as a worker would have: its windows, states and silences, and no other node's scores.

All records of the partition are appended, because windows and silences hang on the partition's event time too; what
costs most, the detectors, sees the one node alone.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import Detector, Expected, Expecting, NodeState, flag
from detectors.scoring import Explained, StreamScorer, explained
from features.appended import Silence, StepStatus
from features.batch import WindowBatch
from schemas.codec import Decoded

__all__ = ["Followed", "Judged", "NodeFollower", "ToldSilence"]

STEPS_KEPT: Final = 240  # of the node, with their times: enough to know its rhythm


@dataclass(frozen=True, slots=True)
class Followed:
    """A complete window of the node.

    Attributes:
        offset: of the record that completed it.
        ts_ms: event time of its newest step.
        windows: it alone.
        before: by detector, float32 (1, state_width), the state before its newest step; ``None`` without state.
    """

    offset: int
    ts_ms: int
    windows: WindowBatch
    before: tuple[NodeState | None, ...]


class Judged(NamedTuple):
    """A detector's verdict on a window: score, and whether it is anomalous."""

    score: float
    flagged: bool


class ToldSilence(NamedTuple):
    """A silence of the node.

    Attributes:
        silence: what the store found.
        told_by: key of the record with which it was certain.
        told_ms: that record's event time.
        told_offset: that record's offset.
    """

    silence: Silence
    told_by: str
    told_ms: int
    told_offset: int


class NodeFollower:
    """Keeps the last windows of one node.

    Attributes:
        windows: the last complete ones, oldest first.
        steps: event time and offset of the node's last accepted records, oldest first.
        learned: windows that the detectors' states moved over.
        silences: told of the node so far.
        returns: event times with which the node was back from a silence.
        reached_ms: the largest event time of any record of the partition.
    """

    def __init__(
        self,
        scorer: StreamScorer,
        partition: int,
        node: str,
        *,
        keep: int,
        until_ms: int | None = None,
        seed: NodeState | None = None,
    ) -> None:
        """Follow a node.

        Args:
            scorer: windows and detectors, empty or with what was put back.
            partition: the node's.
            node: its key.
            keep: windows to keep.
            until_ms: event time up to which steps are kept in ``steps``; ``None`` for all.
            seed: float32 (width of the store's states,), the states that the node begins with, where the store has
                none of it; as the detectors begin when ``None``.
        """
        self.scorer = scorer
        self.partition, self.node = partition, node
        self._until_ms, self._seed = until_ms, seed
        self.windows: deque[Followed] = deque(maxlen=keep)
        self.steps: deque[tuple[int, int]] = deque(maxlen=STEPS_KEPT)
        self.learned = 0
        self.silences: list[ToldSilence] = []
        self.returns: list[int] = []
        self.reached_ms = 0

    def follow(self, decoded: Decoded, offsets: NDArray[np.int64]) -> None:
        """Take in n good records of the partition, in log order, with their offsets, int64 (n,)."""
        if not len(decoded):
            return
        partitions = np.full(len(decoded), self.partition, dtype=np.int32)
        appended = self.scorer.append(decoded, partitions, offsets)
        self.reached_ms = max(self.reached_ms, int(decoded.ts_ms.max()))
        mine = np.fromiter((key == self.node for key in decoded.keys), dtype=np.bool_, count=len(decoded))
        accepted = mine & np.isin(appended.status, (StepStatus.WINDOW, StepStatus.WARMING))
        if self._until_ms is not None:
            accepted &= decoded.ts_ms <= self._until_ms
        self.steps.extend(zip(decoded.ts_ms[accepted].tolist(), offsets[accepted].tolist(), strict=True))
        for silence in appended.silences:
            if silence.key == self.node:
                at = silence.record
                told = ToldSilence(silence, decoded.keys[at], int(decoded.ts_ms[at]), int(offsets[at]))
                self.silences.append(told)
        self.returns += [int(decoded.ts_ms[record]) for record, _ in appended.returned if mine[record]]
        windows = appended.windows.take(mine[appended.windows.records])
        if len(windows):
            self._begin(int(windows.slots[0]))
            self._keep(windows, self.scorer.advance(windows, decoded.keys), offsets)

    def window_at(self, offset: int) -> Followed | None:
        """Return the window that the record at an offset completed, ``None`` when it completed none that is kept."""
        return next((each for each in self.windows if each.offset == offset), None)

    def detector(self, name: str) -> Detector:
        """Return a detector of the scorer by its name. Raises ``KeyError``."""
        return self.scorer.detectors[self._place(name)]

    def judge(self, name: str, chosen: Sequence[Followed]) -> list[Judged]:
        """Give a detector's verdicts on some windows, at least one, by the same code as a worker's.

        Raises:
            KeyError: no detector has that name.
        """
        place = self._place(name)
        detector = self.scorer.detectors[place]
        windows = WindowBatch.stack(
            np.concatenate([each.windows.tensor() for each in chosen]),
            np.stack([each.windows.ts_ms for each in chosen]),
        )
        states = [state for each in chosen if (state := each.before[place]) is not None]
        before = np.concatenate(states) if states else None
        scores = detector.score(windows, before)
        flagged = flag(detector, windows, scores, before)
        return [Judged(float(score), bool(each)) for score, each in zip(scores, flagged, strict=True)]

    def reasons(self, name: str, followed: Followed) -> Explained:
        """Say what an anomaly of this window says beside its score, whether or not it is one. Raises ``KeyError``."""
        place = self._place(name)
        [reasons] = explained(self.scorer.detectors[place], followed.windows, followed.before[place])
        return reasons

    def expected(self, name: str, followed: Followed) -> Expected | None:
        """Return what was expected of a window's steps, ``None`` where the detector cannot say. Raises ``KeyError``."""
        place = self._place(name)
        detector = self.scorer.detectors[place]
        return detector.expected(followed.windows, followed.before[place]) if isinstance(detector, Expecting) else None

    def _place(self, name: str) -> int:
        names = [detector.name for detector in self.scorer.detectors]
        if name not in names:
            raise KeyError(name)
        return names.index(name)

    def _begin(self, slot: int) -> None:
        """Give the node its seed, once."""
        if self._seed is not None and not self.learned and not self.scorer.store.state[slot].any():
            self.scorer.store.state[slot] = self._seed

    def _keep(self, windows: WindowBatch, before: list[NodeState | None], offsets: NDArray[np.int64]) -> None:
        self.learned += len(windows)
        first = max(0, len(windows) - (self.windows.maxlen or 0))
        for i in range(first, len(windows)):
            one = np.array([i])
            alone = windows.take(one).detached()
            states = tuple(None if each is None else each[one] for each in before)
            self.windows.append(Followed(int(offsets[windows.records[i]]), int(alone.end_ms()[0]), alone, states))
