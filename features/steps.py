"""A batch on its way through the store: its records sorted by node, and what has been decided about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.appended import StepStatus
from features.nodes import Label, NodeTable, Slots
from features.rules import MAX_TS_MS, WindowRules
from features.watermarks import Course

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Steps:
    """n records sorted by node, each node's in log order.

    Attributes:
        record: int64 (n,), index in the batch.
        slot: int64 (n,), slot of the node.
        ts_ms: int64 (n,), event time.
        before: int64 (n,), the partition's watermark as the record finds it.
        after: int64 (n,), as the record leaves it.
        origin: int64 (n,), the partition's first watermark.
        starts: bool (n,), true at each node's first record.
    """

    record: NDArray[np.int64]
    slot: Slots
    ts_ms: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    origin: NDArray[np.int64]
    starts: Mask

    def __len__(self) -> int:
        return len(self.record)

    def where(self, mask: Mask) -> "Steps":
        """Choose whole nodes."""
        if mask.all():
            return self
        return Steps(
            record=self.record[mask],
            slot=self.slot[mask],
            ts_ms=self.ts_ms[mask],
            before=self.before[mask],
            after=self.after[mask],
            origin=self.origin[mask],
            starts=self.starts[mask],
        )


@dataclass(slots=True)
class Draft:
    """What has been decided about the records of a batch, by record.

    Attributes:
        status: uint8 (n,).
        end: int64 (n,), row of the step in the batch's timelines; meaningful where the status is WINDOW.
        slot: int64 (n,), slot of the node as it was at the record.
        held: int64 (n,), steps the node has since its window started, at most the depth.
        retired: slots of nodes that were forgotten and came back within the batch.
    """

    status: NDArray[np.uint8]
    end: NDArray[np.int64]
    slot: Slots
    held: NDArray[np.int64]
    gaps: int = 0
    filled: int = 0
    restarts: int = 0
    created: int = 0
    retired: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, slots: Slots) -> "Draft":
        """Begin with records of which nothing is decided but that they need not be looked at again."""
        n = len(slots)
        return cls(np.full(n, StepStatus.APPLIED, np.uint8), np.zeros(n, np.int64), slots.copy(), np.zeros(n, np.int64))


def check_records(
    rules: WindowRules,
    partitions: NDArray[np.int32],
    keys: Sequence[str],
    ts_ms: NDArray[np.int64],
    values: NDArray[np.float32],
    *,
    offsets: NDArray[np.int64] | None,
    labels: Sequence[Label] | None,
) -> None:
    """Check what is to be appended, see ``WindowStore.append``. Raises ``ValueError``."""
    n = len(keys)
    shapes = {"partitions": partitions.shape, "ts_ms": ts_ms.shape}
    if offsets is not None:
        shapes["offsets"] = offsets.shape
    if labels is not None:
        shapes["labels"] = (len(labels),)
    for name, shape in shapes.items():
        if shape != (n,):
            raise ValueError(f"{name} has shape {shape}; give {(n,)}, one for each of the {n} keys")
    if values.shape != (n, rules.features):
        raise ValueError(f"rows has shape {values.shape}; give {(n, rules.features)}, one row a key")
    wrong = np.flatnonzero((ts_ms <= 0) | (ts_ms >= MAX_TS_MS))
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(f"ts_ms of record {i} ({keys[i]}) is {ts_ms[i]}; it must be in (0, {MAX_TS_MS})")
    if n and partitions.min() < 0:
        raise ValueError(f"partitions holds {partitions.min()}; partitions are not negative")


def sort_by_slot(slots: Slots, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order the chosen records by slot, and by their place in the log within a slot."""
    # Slot and place in one integer: an unstable sort of these is a stable one of the slots, and several times faster.
    bits = max(len(slots) - 1, 1).bit_length()
    mixed = (slots[chosen] << bits) | chosen
    mixed.sort()
    return mixed & ((1 << bits) - 1)


def arrange(order: NDArray[np.int64], slots: Slots, ts_ms: NDArray[np.int64], courses: Mapping[int, Course]) -> Steps:
    """Bring records into the order of their nodes, each with the watermark as it finds and leaves it."""
    before, after, origin = np.empty_like(ts_ms), np.empty_like(ts_ms), np.empty_like(ts_ms)
    for records, progress in courses.values():
        before[records], after[records] = progress.second[:-1], progress.second[1:]
        origin[records] = progress.origin_ms
    slot = slots[order]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = slot[1:] != slot[:-1]
    return Steps(order, slot, ts_ms[order], before[order], after[order], origin[order], starts)


def shifted(values: NDArray[np.int64], starts: Mask, first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every record its node's previous value, and each node's first record the value given for it."""
    previous = np.empty_like(values)
    previous[1:] = values[:-1]
    previous[starts] = first
    return previous


def in_order(table: NodeTable, steps: Steps) -> tuple[Mask, Mask]:
    """Tell which records belong to nodes whose steps are all newer than the ones before them.

    Returns:
        bool (n,), true for all records of such nodes; and bool (n,), true for their records that find their node
        forgotten, so that a new one starts there.
    """
    first = steps.slot[steps.starts]
    known = np.ones(len(steps), np.bool_)
    known[steps.starts] = table.count[first] > 0
    newer = steps.ts_ms > shifted(steps.ts_ms, steps.starts, table.newest[first])
    seen = shifted(steps.after, steps.starts, table.seen[first])
    # If all records of a node are accepted, the watermark it was last seen at is the one its previous record left; and
    # up to the first record that is not accepted, this is so. Hence one such record marks the node, and none is missed.
    forgotten = known & (steps.before - np.maximum(seen, steps.origin) > table.rules.idle_ms)
    good = ~known | forgotten | newer
    starts = np.flatnonzero(steps.starts)
    whole = np.logical_and.reduceat(good, starts) if len(starts) else np.ones(0, np.bool_)
    fast = np.repeat(whole, np.diff(starts, append=len(steps)))
    return fast, forgotten & fast
