"""Nodes out of the table and into it, as plain columns: what a snapshot holds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.nodes import NO_LABEL, Label, NodeTable, Slots


@dataclass(frozen=True, slots=True)
class Nodes:
    """n nodes with S steps in all.

    Attributes:
        keys: n keys.
        partition: int32 (n,).
        count: int32 (n,), steps of each node, 0 for one that was forgotten; their sum is S.
        seen: int64 (n,), watermark at the last accepted step.
        applied: int64 (n,), largest offset applied, -1 for none.
        alive: int64 (n, 2), how long one node and two nodes of the partition had reported at the last record.
        labels: n clusters and regions.
        stamps: int64 (S,), event time * 2 + (1 when carried), node by node, oldest first.
        rows: float32 (S, F).
        state: float32 (n, state_width).
    """

    keys: list[str]
    partition: NDArray[np.int32]
    count: NDArray[np.int32]
    seen: NDArray[np.int64]
    applied: NDArray[np.int64]
    alive: NDArray[np.int64]
    labels: list[Label]
    stamps: NDArray[np.int64]
    rows: NDArray[np.float32]
    state: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.keys)


def read_nodes(table: NodeTable, slots: Sequence[int] | Slots) -> Nodes:
    """Copy nodes out. Raises ``KeyError`` when a slot holds none."""
    chosen = np.asarray(slots, np.int64)
    keys = [table.key_of(slot) for slot in chosen.tolist()]
    ring = table.held(chosen)
    return Nodes(
        keys=keys,
        partition=table.partition[chosen],
        count=table.count[chosen],
        seen=table.seen[chosen],
        applied=table.applied[chosen],
        alive=table.alive[chosen],
        labels=[table.labels[slot] for slot in chosen.tolist()],
        stamps=table.stamps[ring],
        rows=table.rows[ring],
        state=table.state[chosen],
    )


def forgotten_nodes(table: NodeTable, partition: int, keys: Sequence[str], *, seen: int, applied: int) -> Nodes:
    """Make nodes without steps: all that is known of them is the offset up to which their records are done with."""
    n, rules = len(keys), table.rules
    return Nodes(
        keys=list(keys),
        partition=np.full(n, partition, np.int32),
        count=np.zeros(n, np.int32),
        seen=np.full(n, seen, np.int64),
        applied=np.full(n, applied, np.int64),
        alive=np.zeros((n, 2), np.int64),
        labels=[NO_LABEL] * n,
        stamps=np.empty(0, np.int64),
        rows=np.empty((0, rules.features), np.float32),
        state=np.zeros((n, rules.state_width), np.float32),
    )


def write_nodes(table: NodeTable, nodes: Nodes) -> Slots:
    """Put nodes in, in the place of those of the same partition and key. Returns their slots, int64 (n,)."""
    slots = table.put(nodes.partition, nodes.keys)
    some = nodes.count > 0
    table.refill(slots[some], nodes.count[some], nodes.rows, nodes.stamps)
    table.seen[slots], table.applied[slots], table.state[slots] = nodes.seen, nodes.applied, nodes.state
    table.alive[slots] = nodes.alive
    for slot, label in zip(slots.tolist(), nodes.labels, strict=True):
        table.labels[slot] = label
    return slots
