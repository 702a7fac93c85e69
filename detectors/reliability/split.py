"""Splits by time and by node: what a model is trained on says nothing about nodes it never saw or about later times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TRAIN_UNTIL = 0.55
VALIDATION_UNTIL = 0.70
APART_MS = 3 * 3_600_000
"""Time between what is learnt from and a test part in the middle of it: longer than most incidents."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Masks over n rows, bool (n,) each: the three parts, and the rows of nodes that are never trained on."""

    train: NDArray[np.bool_]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]
    unseen: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Split:
    """Where the parts of a data set end.

    Attributes:
        held_out: nodes that are never trained on: every fourth of the sorted ids, from the fourth on.
        train_until_ms: training rows are earlier.
        validation_until_ms: validation rows are earlier; test rows, of all nodes, are not.
        parts: the masks of the rows it was made for.
    """

    held_out: frozenset[str]
    train_until_ms: float
    validation_until_ms: float
    parts: Parts

    @property
    def train(self) -> NDArray[np.bool_]:
        """The training rows among those it was made for."""
        return self.parts.train

    def of(self, nodes: NDArray[Any], ts_ms: NDArray[np.int64]) -> Parts:
        """Apply the same split to other rows of the same data set."""
        return _parts(nodes, ts_ms, self.held_out, self.train_until_ms, self.validation_until_ms)


def split_by_time_and_node(node_ids: Sequence[str], ts_ms: NDArray[np.int64]) -> Split:
    """Split rows: train = first 55 % of the time, validation = up to 70 %, test = the rest and every node.

    Raises:
        ValueError: there are no rows.
    """
    if not len(ts_ms):
        raise ValueError("no rows to split")
    names = sorted(set(node_ids))
    held_out = frozenset(names[3::4])
    first, last = int(ts_ms.min()), int(ts_ms.max())
    train_until = first + TRAIN_UNTIL * (last - first)
    validation_until = first + VALIDATION_UNTIL * (last - first)
    parts = _parts(np.asarray(node_ids), ts_ms, held_out, train_until, validation_until)
    return Split(held_out, train_until, validation_until, parts)


def rotate(node_ids: Sequence[str], ts_ms: NDArray[np.int64], group: int, test_from: float) -> Parts:
    """Split rows otherwise: other nodes unseen, and the test part, 30 % of the time, anywhere.

    Test = every node from the share ``test_from`` of the time on; validation = 15 % of the time beside it, before it
    where there is as much; train = the rest, before and after. Both are three hours away from the test part.

    Args:
        node_ids: n node ids.
        ts_ms: int64 (n,), event times.
        group: 0 to 3; nodes at places group, group + 4, ... of the sorted ids are never trained on.
        test_from: 0 to 0.7.

    Raises:
        ValueError: there are no rows, or a number is out of bounds.
    """
    if not len(ts_ms) or not 0 <= group <= 3 or not 0.0 <= test_from <= VALIDATION_UNTIL:
        raise ValueError(f"rotate takes rows, a group of 0..3 and test_from of 0..0.7; not {group} and {test_from}")
    unseen = np.isin(np.asarray(node_ids), sorted(set(node_ids))[group::4])
    first, length = int(ts_ms.min()), int(np.ptp(ts_ms))
    share, apart = (ts_ms - first) / max(length, 1), APART_MS / max(length, 1)
    test_until, beside = test_from + 1.0 - VALIDATION_UNTIL, VALIDATION_UNTIL - TRAIN_UNTIL
    before, after = share < test_from - apart, share > test_until + apart
    near = before & (share >= test_from - beside) if test_from >= beside else after & (share <= test_until + beside)
    known = (before | after) & ~unseen
    return Parts(known & ~near, known & near, (share >= test_from) & (share <= test_until), unseen)


def _parts(
    nodes: NDArray[Any], ts_ms: NDArray[np.int64], held_out: frozenset[str], train_until: float, until: float
) -> Parts:
    unseen = np.isin(nodes, sorted(held_out)) if held_out else np.zeros(len(nodes), np.bool_)
    early, late = ts_ms < train_until, ts_ms >= until
    return Parts(early & ~unseen, ~early & ~late & ~unseen, late, unseen)
