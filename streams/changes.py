"""Which nodes of a partition changed since they were last saved, and from which offset a replay must start."""

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.watermarks import Watermark

__all__ = ["Changes"]

CLEAN: Final = 2**62  # later than every offset
FIRST_CAPACITY: Final = 256

Ints = NDArray[np.int64]


class Changes:
    """Follows one source partition, a batch at a time.

    A node is due after ``every_steps`` of its records, or ``replay_records`` of the partition's, whichever is first; by
    a hash of its key its turn comes earlier the first time, so that a fleet that starts together is not due together.

    Args:
        every_steps: most records of a node between two snapshots.
        replay_records: how far back, in offsets of the partition, a replay may have to start.
    """

    def __init__(self, *, every_steps: int, replay_records: int) -> None:
        self._every = every_steps
        self._most = replay_records
        self._index: dict[str, int] = {}
        self._keys: list[str] = []
        self._free: list[int] = []
        # By node: offset of its first record since it was saved (of the batch with it), its records since, and after
        # how many of the partition's records it is due at the latest.
        self._first = np.full(FIRST_CAPACITY, CLEAN, np.int64)
        self._steps = np.zeros(FIRST_CAPACITY, np.int64)
        self._limit = np.zeros(FIRST_CAPACITY, np.int64)
        # The watermark before each batch that a replay may have to start with.
        self._marks: deque[tuple[int, Watermark | None]] = deque()
        # Forgotten nodes: their records may be deleted once a replay starts at this offset or later.
        self._gone: dict[str, int] = {}
        self.end = 0

    def __len__(self) -> int:
        return len(self._index)

    def begin(self, start: int, mark: Watermark | None) -> None:
        """Begin at an offset with its watermark, nothing changed."""
        self._marks.append((start, mark))
        self.end = start

    def adopt(self, saved: Iterable[str]) -> None:
        """Take over nodes whose snapshots are newest."""
        for key in saved:
            self._add(key)

    def observe(self, keys: Sequence[str], start: int, end: int, before: Watermark | None) -> None:
        """Take the records of a batch.

        Args:
            keys: of the records that meant something to their nodes, in log order.
            start: offset of the batch's first record.
            end: offset after its last one.
            before: the watermark before it.
        """
        self.end = max(self.end, end)
        if not keys:
            return
        self._marks.append((start, before))
        nodes = np.fromiter(map(self._index.get, keys, repeat(-1)), np.int64, len(keys))
        for i in np.flatnonzero(nodes < 0).tolist():
            nodes[i] = self._add(keys[i])
        count = np.bincount(nodes, minlength=len(self._first))
        touched = np.flatnonzero(count)
        self._steps[touched] += count[touched]
        self._first[touched] = np.minimum(self._first[touched], start)

    def forget(self, keys: Iterable[str]) -> list[str]:
        """Take nodes that the store has just forgotten; returns those that were followed."""
        known = []
        for key in keys:
            node = self._index.pop(key, None)
            if node is not None:
                self._first[node] = CLEAN
                self._free.append(node)
                known.append(key)
        self.discard(known, self.end)
        return known

    def discard(self, keys: Iterable[str], deletable: int) -> None:
        """Take nodes that are not there, whose records are to go once a replay starts at ``deletable`` or later."""
        for key in keys:
            self._gone[key] = deletable

    def due(self) -> list[str]:
        """Return the nodes to save now."""
        late = self.end - self._first >= self._limit
        full = (self._steps >= self._every) & (self._first < CLEAN)
        return [self._keys[node] for node in np.flatnonzero(full | late).tolist()]

    def unsaved(self) -> list[str]:
        """Return the nodes that changed since they were saved."""
        return [self._keys[node] for node in np.flatnonzero(self._first < CLEAN).tolist()]

    def saved(self, keys: Sequence[str]) -> None:
        """Note that nodes were saved as they are."""
        nodes = np.fromiter((self._index[key] for key in keys), np.int64, len(keys))
        self._first[nodes] = CLEAN
        self._steps[nodes] = 0

    @property
    def start(self) -> int:
        """Offset that a replay must start from: before it, every record is contained in its node's snapshot."""
        return min(int(self._first.min()), self.end)

    def watermark(self, now: Watermark | None) -> Watermark | None:
        """Return the watermark before ``start``; ``now`` is the one at the end."""
        start = self.start
        if start == self.end:
            return now
        while len(self._marks) > 1 and self._marks[1][0] <= start:
            self._marks.popleft()
        return self._marks[0][1]

    def deletable(self) -> list[str]:
        """Return, once, the forgotten nodes that no replay can meet any more."""
        start = self.start
        passed = [key for key, offset in self._gone.items() if offset <= start]
        for key in passed:
            del self._gone[key]
        return passed

    def _add(self, key: str) -> int:
        node = self._index.get(key)
        if node is not None:
            return node
        self._gone.pop(key, None)
        if not self._free:
            self._grow()
        node = self._free.pop()
        # No CRC: it chooses the partition, so that within one it has few values left.
        chance = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
        self._index[key], self._keys[node] = node, key
        self._steps[node] = chance % self._every
        # Between half and all of it, for the same reason.
        self._limit[node] = self._most - (chance >> 32) % (self._most // 2 + 1)
        return node

    def _grow(self) -> None:
        used = len(self._keys)
        if used == len(self._first):
            self._first = np.concatenate([self._first, np.full(used, CLEAN, np.int64)])
            self._steps = np.concatenate([self._steps, np.zeros(used, np.int64)])
            self._limit = np.concatenate([self._limit, np.zeros(used, np.int64)])
        self._keys.append("")
        self._free.append(used)
