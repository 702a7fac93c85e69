"""Event-time progress of a partition: the largest time that two of its nodes have reached."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]


class Watermark(NamedTuple):
    """How far event time has come in a partition.

    It is a function of the (key, time) pairs of the log alone, whatever became of the records. Plain values, so that
    it can be kept anywhere. The watermark proper is ``second_ms``: two nodes must agree, so that one node whose clock
    runs ahead does not move it.

    Attributes:
        leader: key of the node that has reached the largest time.
        first_ms: that time.
        second_ms: the largest time that another node has reached; 0 while the partition has only one.
        origin_ms: the first ``second_ms`` there was; 0 before.
        first_alive_ms: how far ``first_ms`` came in small moves: event time in which some node reported.
        second_alive_ms: the same of ``second_ms``: event time in which two nodes did.
    """

    leader: str
    first_ms: int
    second_ms: int
    origin_ms: int
    first_alive_ms: int = 0
    second_alive_ms: int = 0


NO_WATERMARK = Watermark("", 0, 0, 0)


class Progress(NamedTuple):
    """The watermark of one partition along n of its records: as record k finds it at place k, as it leaves it at k + 1.

    Attributes:
        first: int64 (n + 1,), ``first_ms``.
        second: int64 (n + 1,), ``second_ms``.
        first_alive: int64 (n + 1,), ``first_alive_ms``.
        second_alive: int64 (n + 1,), ``second_alive_ms``.
        leader: index of the record whose node leads at the end, -1 when it is the leader from before.
        origin_ms: at the end.
    """

    first: Times
    second: Times
    first_alive: Times
    second_alive: Times
    leader: int
    origin_ms: int

    def mark(self, leader: str) -> Watermark:
        """Return the watermark at the end, where this node leads."""
        ends = (self.first, self.second, self.first_alive, self.second_alive)
        first, second, first_alive, second_alive = (int(each[-1]) for each in ends)
        return Watermark(leader, first, second, self.origin_ms, first_alive, second_alive)


class Course(NamedTuple):
    """One partition's records in a batch.

    Attributes:
        records: int64 (n,), which records of the batch they are.
        progress: the watermark along them.
    """

    records: Times
    progress: Progress


def advance(mark: Watermark, leader: int, nodes: NDArray[np.int64], ts_ms: Times, alive_ms: int = 0) -> Progress:
    """Follow the watermark over the records of one partition, in log order.

    Args:
        mark: the watermark before them.
        leader: which of ``nodes`` is ``mark.leader``, -1 for none of them.
        nodes: int64 (n,), n >= 1, non-negative; equal for equal keys.
        ts_ms: int64 (n,).
        alive_ms: longest move of the watermark through which nodes count as reporting; a longer one is a jump.
    """
    n = len(ts_ms)
    first = np.maximum.accumulate(np.concatenate([[mark.first_ms], ts_ms]))
    raised = ts_ms > first[:-1]
    raiser = np.maximum.accumulate(np.where(raised, np.arange(n), -1))
    leading = np.concatenate([[leader], np.where(raiser < 0, leader, nodes[raiser])])
    # Another node than the leader lifts the second time to its own, or to the leader's when it passes it.
    reached = np.where(nodes == leading[:-1], 0, np.minimum(ts_ms, first[:-1]))
    second = np.maximum.accumulate(np.concatenate([[mark.second_ms], reached]))
    origin = mark.origin_ms
    if not origin and second[-1]:
        origin = int(second[np.argmax(second > 0)])
    first_alive = _small_moves(first, mark.first_alive_ms, alive_ms)
    second_alive = _small_moves(second, mark.second_alive_ms, alive_ms)
    return Progress(first, second, first_alive, second_alive, int(raiser[-1]), origin)


def _small_moves(times: Times, before: int, longest: int) -> Times:
    """Add up the moves along ascending times that are not longer than that, on top of ``before``."""
    moves = np.diff(times, prepend=times[0])
    moves[moves > longest] = 0
    return before + np.cumsum(moves)
