"""Rounds: cut a batch so that each node occurs at most once in a call, in event-time order."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def rounds(slots: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield index arrays that together cover the batch: the first window of every node, then every second one, ...

    A detector with state must see a node's windows one after another. A batch of n windows of m nodes needs as many
    rounds as its busiest node has windows, each vectorised over the nodes.

    Args:
        slots: int64 (n,), the node of each window, a node's windows in order.
    """
    if not len(slots):
        return
    order = np.argsort(slots, kind="stable")
    ordered = slots[order]
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1))
    rank = np.arange(len(slots)) - np.repeat(first, np.diff(first, append=len(slots)))
    by_rank = order[np.argsort(rank, kind="stable")]
    bounds = np.cumsum(np.bincount(rank))
    start = 0
    for end in bounds:
        yield np.sort(by_rank[start:end])
        start = int(end)
