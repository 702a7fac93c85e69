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
    """

    leader: str
    first_ms: int
    second_ms: int
    origin_ms: int


NO_WATERMARK = Watermark("", 0, 0, 0)


class Progress(NamedTuple):
    """The watermark of one partition along n of its records.

    Attributes:
        before: int64 (n,), ``second_ms`` as each record finds it.
        after: int64 (n,), as each record leaves it.
        leader: index of the record whose node leads at the end, -1 when it is the leader from before.
        first_ms: at the end.
        origin_ms: at the end.
    """

    before: Times
    after: Times
    leader: int
    first_ms: int
    origin_ms: int


def advance(mark: Watermark, leader: int, nodes: NDArray[np.int64], ts_ms: Times) -> Progress:
    """Follow the watermark over the records of one partition, in log order.

    Args:
        mark: the watermark before them.
        leader: which of ``nodes`` is ``mark.leader``, -1 for none of them.
        nodes: int64 (n,), n >= 1, non-negative; equal for equal keys.
        ts_ms: int64 (n,).
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
    return Progress(second[:-1], second[1:], int(raiser[-1]), int(first[-1]), origin)
