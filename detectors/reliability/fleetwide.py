"""A node against its fleet and its tier: how far the others were off in the minute before, in O(1) a step.

What strikes all nodes at once (a flash crowd, a backup window) is nobody's incident. The nodes of a partition are the
fleet that one worker sees in log order. Of every minute a sum and a count are kept, of all of them and of each tier;
a step is held against the sums of the minute before its own, as far as the log had told of it by then.

The sums are whole numbers, so they are the same to the bit however the log is cut into batches. These features are
candidates: ``trials`` measures what they are worth (docs/evaluation/reliability.md), the shipped plan has none of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Whole = NDArray[np.int64]

KEPT: Final = 3
"""Steps back from the newest of a partition that may still be added to, and be held against."""
FEWEST: Final = 3
"""Nodes without which a group says nothing."""
HELD: Final = 4.0
"""A deviation counts as this at most, so that no node speaks for its fleet."""
UNIT: Final = 1024.0
"""Whole numbers in a scale."""
TROUBLED: Final = 3
"""Fields at least two scales off that make a node troubled."""
FLEET: Final = -1
"""The group of all nodes; the others are the codes of the tiers."""


@dataclass(slots=True)
class FleetSums:
    """Sums of each partition, group and step.

    Attributes:
        fields: F, deviations a node.
        sums: int64 (F + 2,) by (partition, group, step): F deviations, troubled nodes, nodes.
        newest: newest step seen, by partition.
    """

    fields: int
    sums: dict[tuple[int, int, int], Whole] = field(default_factory=dict)
    newest: dict[int, int] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Features made: each deviation less the mean of the fleet and of the tier, and their troubled shares."""
        return 2 * (self.fields + 1)

    def advance(self, partition: Whole, tier: Whole, step: Whole, off: Array) -> Array:
        """Make the features of n steps and add the steps to the sums.

        Args:
            partition, tier, step: int64 (n,), in log order; ``step`` is event time in whole steps.
            off: float32 (n, F), how far each field is off its node's baseline, in scales, bad upwards.

        Returns:
            float32 (n, width); a deviation stays as it is where there is nothing to hold it against.
        """
        held = np.clip(off, np.float32(-HELD), np.float32(HELD))
        troubled = np.count_nonzero(off > np.float32(2.0), axis=1) >= TROUBLED
        told = np.column_stack([np.rint(held * np.float32(UNIT)), troubled, np.ones(len(off))]).astype(np.int64)
        found = np.empty((len(off), self.width), np.float32)
        for one in np.unique(partition).tolist():
            mine = np.flatnonzero(partition == one)
            newest = np.maximum.accumulate(np.maximum(step[mine], self.newest.get(one, step[mine[0]])))
            fresh = step[mine] > newest - KEPT
            for place, group in enumerate((np.full(len(mine), FLEET), tier[mine])):
                before = self._before(one, group, step[mine], told[mine], fresh)
                first = place * (self.fields + 1)
                found[mine, first : first + self.fields + 1] = _against(off[mine], before)
            self.newest[one] = int(newest[-1])
            self._forget(one)
        return found

    def _before(self, partition: int, group: Whole, step: Whole, told: Whole, fresh: NDArray[np.bool_]) -> Whole:
        """Return the sums that each step is held against, int64 (n, F + 2), and add the fresh steps."""
        found = np.zeros_like(told)
        for one in np.unique(group).tolist():
            mine = np.flatnonzero((group == one) & fresh)
            for minute, at in _by_step(step, mine):
                key = (partition, one, minute)
                base = self.sums.get(key, np.zeros(told.shape[1], np.int64))
                running = np.vstack([base, base + np.cumsum(told[at], axis=0)])
                later = mine[step[mine] == minute + 1]
                found[later] = running[np.searchsorted(at, later)]
                self.sums[key] = running[-1]
            # Steps whose minute before has nothing of its own in this batch.
            for minute, at in _by_step(step, mine):
                if not len(step[mine][step[mine] == minute - 1]):
                    found[at] = self.sums.get((partition, one, minute - 1), 0)
        return found

    def _forget(self, partition: int) -> None:
        """Drop what no later step may be held against."""
        oldest = self.newest[partition] - KEPT
        for key in [key for key in self.sums if key[0] == partition and key[2] < oldest]:
            del self.sums[key]


@dataclass(frozen=True, slots=True)
class TierLevels:
    """What is usual in each tier, learnt once: needs no state, and holds for a node's first hour too.

    Attributes:
        middle: float32 (T, F), median of the tier's rows without incident.
        scale: float32 (T, F), their median absolute deviation as a standard deviation, at least the floor.
    """

    middle: Array
    scale: Array

    @classmethod
    def fit(cls, values: Array, tier: Whole, floor: Array) -> Self:
        """Learn from rows float32 (n, F) without incident and their tiers int64 (n,), 0 to T - 1."""
        middle, scale = [], []
        for one in range(int(tier.max(initial=0)) + 1):
            mine = values[tier == one] if np.any(tier == one) else values
            middle.append(np.median(mine, axis=0))
            scale.append(np.maximum(1.4826 * np.median(np.abs(mine - middle[-1]), axis=0), floor))
        return cls(np.array(middle, np.float32), np.array(scale, np.float32))

    def against(self, values: Array, tier: Whole) -> Array:
        """Return how far rows float32 (n, F) are off their tier, in its scales: float32 (n, F)."""
        return (values - self.middle[tier]) / self.scale[tier]


def _by_step(step: Whole, places: Whole) -> Iterator[tuple[int, Whole]]:
    """Yield each step among some places, with its places, ascending."""
    order = places[np.argsort(step[places], kind="stable")]
    for part in np.split(order, np.flatnonzero(np.diff(step[order])) + 1):
        if len(part):
            yield int(step[part[0]]), part


def _against(off: Array, sums: Whole) -> Array:
    """Return deviations less the group's mean, and its troubled share: float32 (n, F + 1)."""
    count = sums[:, -1]
    known = count >= FEWEST
    share = np.where(known[:, None], sums[:, :-1] / np.maximum(count, 1)[:, None], 0.0).astype(np.float32)
    return np.column_stack([off - share[:, :-1] / np.float32(UNIT), share[:, -1]])
