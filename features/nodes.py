"""The memory of the window store: keys to slots, and for every slot a ring of steps and a few columns."""

import sys
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.rules import WindowRules

Slots = NDArray[np.int64]
Label = tuple[str | None, str | None]
"""Cluster and region of a node."""

_FREE: Final = -1
NO_LABEL: Final[Label] = (None, None)


class NodeTable:
    """Slots of nodes, allocated, freed and grown; all access by slot is vectorised.

    Columns are replaced when the table grows: read them from the table each time.

    Attributes:
        rules: what decides the sizes.
        rows: float32 (capacity * depth, F); slot s owns rows s * depth to (s + 1) * depth, a ring.
        stamps: int64 (capacity * depth,); event time * 2 + (1 when the step is carried), of the same ring.
        at: int64 (capacity,), place in the ring of the newest step.
        count: int64 (capacity,), steps held since the window (last) started, at most depth.
        newest: int64 (capacity,), event time of the newest step.
        seen: int64 (capacity,), the partition's watermark at the last accepted step, 0 when there was none yet.
        applied: int64 (capacity,), largest offset that was appended, -1 when offsets are not given.
        alive: int64 (capacity, 2), how long one node and two nodes of the partition had reported at the last record.
        partition: int32 (capacity,), -1 for a free slot.
        state: float32 (capacity, state_width), the detectors' own.
        labels: by slot, what the last record said of cluster and region.
        tables: slot by key, by partition.
    """

    def __init__(self, rules: WindowRules, capacity: int) -> None:
        if not 1 <= capacity <= 2**31 // rules.depth:
            raise ValueError(f"capacity is {capacity}; it must be in 1..{2**31 // rules.depth} nodes")
        self.rules = rules
        self.tables: dict[int, dict[str, int]] = {}
        self._keys: list[str | None] = []
        self.labels: list[Label] = []
        self._key_bytes = 0
        self._free: list[int] = []
        self._used = 0
        self._shape(0)
        self._grow(capacity)

    def _shape(self, capacity: int) -> None:
        depth = self.rules.depth
        self.rows = np.zeros((capacity * depth, self.rules.features), np.float32)
        self.stamps = np.zeros(capacity * depth, np.int64)
        self.at = np.zeros(capacity, np.int32)
        self.count = np.zeros(capacity, np.int32)
        self.newest = np.zeros(capacity, np.int64)
        self.seen = np.zeros(capacity, np.int64)
        self.applied = np.zeros(capacity, np.int64)
        self.alive = np.zeros((capacity, 2), np.int64)
        self.partition = np.full(capacity, _FREE, np.int32)
        self.state = np.zeros((capacity, self.rules.state_width), np.float32)

    def _columns(self) -> tuple[NDArray[Any], ...]:
        per_node = (
            self.at,
            self.count,
            self.newest,
            self.seen,
            self.applied,
            self.alive,
            self.partition,
            self.state,
        )
        return (self.rows, self.stamps, *per_node)

    def _grow(self, capacity: int) -> None:
        old, used = self._columns(), self.capacity
        self._shape(capacity)
        for before, after in zip(old, self._columns(), strict=True):
            after[: len(before)] = before
        self._keys.extend([None] * (capacity - used))
        self.labels.extend([NO_LABEL] * (capacity - used))
        self._free.extend(range(capacity - 1, used - 1, -1))

    @property
    def capacity(self) -> int:
        """Nodes that memory is reserved for."""
        return len(self.count)

    def __len__(self) -> int:
        return self._used

    @property
    def nbytes(self) -> int:
        """Bytes reserved: arrays, keys, dictionaries and lists."""
        tables = sum(sys.getsizeof(table) for table in self.tables.values())
        # A slot is an int object of 32 bytes besides its entry in the dictionary.
        lists = sum(sys.getsizeof(each) for each in (self._keys, self.labels, self._free))
        objects = self._key_bytes + 32 * self._used + lists
        return sum(column.nbytes for column in self._columns()) + tables + objects

    def key_of(self, slot: int) -> str:
        """Key of the node in a slot. Raises ``KeyError`` for a free one."""
        key = self._keys[slot] if 0 <= slot < self.capacity else None
        if key is None:
            raise KeyError(f"slot {slot} holds no node")
        return key

    def held(self, slots: Slots) -> NDArray[np.int64]:
        """Where in ``rows`` and ``stamps`` the steps of some nodes are: node by node, oldest first."""
        depth, count = self.rules.depth, self.count[slots]
        age = np.repeat(np.cumsum(count), count) - np.arange(count.sum()) - 1
        return np.repeat(slots * depth, count) + (np.repeat(self.at[slots], count) - age) % depth

    def refill(self, slots: Slots, count: NDArray[np.int32], rows: NDArray[np.float32], stamps: Slots) -> None:
        """Replace the steps of some nodes.

        Args:
            slots: int64 (m,), each once.
            count: int32 (m,), steps of each, 1 to depth; S in all.
            rows: float32 (S, F), node by node, oldest first.
            stamps: int64 (S,).
        """
        stop = np.cumsum(count)
        ring = np.repeat(slots * self.rules.depth - (stop - count), count) + np.arange(len(rows))
        self.rows[ring], self.stamps[ring] = rows, stamps
        self.at[slots], self.count[slots] = count - 1, count
        self.newest[slots] = stamps[stop - 1] >> 1

    def intern(self, partitions: NDArray[np.int32], keys: Sequence[str]) -> tuple[Slots, list[int]]:
        """Find each record's slot, int64 (n,), giving new nodes one; also return the slots of the new nodes."""
        slots = self._lookup(partitions, keys)
        created: list[int] = []
        for i in np.flatnonzero(slots < 0).tolist():
            partition, key = int(partitions[i]), keys[i]
            table = self.tables.setdefault(partition, {})
            slot = table.get(key)
            if slot is None:
                slot = self.allocate(partition, key)
                created.append(slot)
            slots[i] = slot
        self._reset(created)
        return slots, created

    def _lookup(self, partitions: NDArray[np.int32], keys: Sequence[str]) -> Slots:
        n = len(keys)
        if n and partitions.min() == partitions.max():
            find = self.tables.get(int(partitions[0]), {}).get
            return np.fromiter(map(find, keys, repeat(-1)), np.int64, n)
        finds = {p: self.tables.get(p, {}).get for p in np.unique(partitions).tolist()}
        pairs = zip(partitions.tolist(), keys, strict=True)
        return np.fromiter((finds[p](key, -1) for p, key in pairs), np.int64, n)

    def put(self, partitions: NDArray[np.int32], keys: Sequence[str]) -> Slots:
        """Give keys, each of them once, an empty slot: their own when they have one. int64 (n,)."""
        slots, _ = self.intern(partitions, keys)
        self._reset(slots.tolist())
        return slots

    def renew(self, slot: int) -> int:
        """Give the key of a forgotten node a new slot; the old one stays as it is until it is released."""
        new = self.allocate(int(self.partition[slot]), self.key_of(slot))
        self._reset([new])
        return new

    def allocate(self, partition: int, key: str) -> int:
        """Take a free slot for a key, growing when there is none. Its columns are the last owner's until reset."""
        if not self._free:
            self._grow(2 * self.capacity)
        slot = self._free.pop()
        self.tables.setdefault(partition, {})[key] = slot
        self._keys[slot] = key
        self._key_bytes += sys.getsizeof(key)
        self.partition[slot] = partition
        self._used += 1
        return slot

    def _reset(self, slots: list[int]) -> None:
        self.at[slots] = self.rules.depth - 1
        self.count[slots] = 0
        self.newest[slots] = 0
        self.seen[slots] = 0
        self.applied[slots] = -1
        self.alive[slots] = 0
        self.state[slots] = 0
        for slot in slots:
            self.labels[slot] = NO_LABEL

    def release(self, slots: Iterable[int]) -> None:
        """Free slots. Their columns keep their values until a slot is taken again."""
        for slot in slots:
            key, partition = self.key_of(slot), int(self.partition[slot])
            table = self.tables[partition]
            # A renewed key already belongs to another slot.
            if table.get(key) == slot:
                del table[key]
            self._keys[slot] = None
            self._key_bytes -= sys.getsizeof(key)
            self.partition[slot] = _FREE
            self._free.append(slot)
            self._used -= 1
