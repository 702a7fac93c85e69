"""The window store: the last steps of every node, appended to a batch at a time.

The rules are written down, with drawings, in docs/windows.md.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features.appended import Appended, Silence, StepStatus
from features.batch import WindowBatch
from features.late import replay
from features.nodes import Label, NodeTable, Slots
from features.rules import SilenceRules, WindowRules
from features.silences import SilenceWatch
from features.snapshots import SnapshotError, check_watermark, decode, encode, encode_each
from features.steps import Draft, Steps, arrange, check_records, in_order, sort_by_slot
from features.timelines import decide, draw, keep, lay_out, renew_forgotten
from features.transfer import forgotten_nodes, read_nodes, write_nodes
from features.watermarks import NO_WATERMARK, Course, Watermark, advance

__all__ = ["Appended", "SnapshotError", "StepStatus", "Watermark", "WindowBatch", "WindowRules", "WindowStore"]


class WindowStore:
    """Sliding windows of many nodes in preallocated arrays.

    What is accepted, which windows come out and what is kept of a node is a function of its partition's log alone: how
    the log is cut into batches changes nothing, to the bit. Only the numbers of slots may differ.

    Not thread-safe. Memory is reserved for ``capacity`` nodes and doubles when they are more.
    """

    def __init__(  # noqa: PLR0913 -- settings, by name
        self,
        features: int,
        *,
        window: int = 30,
        step_ms: int = 1000,
        gap_steps: int = 5,
        late_steps: int = 5,
        idle_ms: int = 1_800_000,
        capacity: int = 1024,
        state_width: int = 0,
        silence_ms: int = 0,
        resume_ms: int = 0,
    ) -> None:
        """Make an empty store.

        Args:
            features: values in a step.
            window: steps in a window.
            step_ms: nominal milliseconds between two steps of a node.
            gap_steps: most missing steps in a row that are carried.
            late_steps: how many steps back a late step may still fill its hole.
            idle_ms: how far a partition's event time advances after a node's last step until it is forgotten.
            capacity: nodes to reserve memory for.
            state_width: float32 values of detector state kept for each node.
            silence_ms: longest silence of a node that is not told; 0 tells none.
            resume_ms: longest gap, of those too long to be carried, after which the window goes on with the steps from
                before it; after a longer one it starts again.

        Raises:
            ValueError: a setting is out of range.
        """
        self.rules = WindowRules(
            features=features,
            window=window,
            step_ms=step_ms,
            gap_steps=gap_steps,
            late_steps=late_steps,
            idle_ms=idle_ms,
            state_width=state_width,
            silence_ms=silence_ms,
            resume_ms=resume_ms,
        )
        self._table = NodeTable(self.rules, capacity)
        self._watch = SilenceWatch(self._table)
        self._marks: dict[int, Watermark] = {}
        # No node of the partition was last seen before this watermark: spares the search for idle ones.
        self._oldest_seen: dict[int, int] = {}

    def append(
        self,
        partitions: NDArray[np.int32],
        keys: Sequence[str],
        ts_ms: NDArray[np.int64],
        rows: NDArray[np.float32],
        *,
        offsets: NDArray[np.int64] | None = None,
        labels: Sequence[Label] | None = None,
    ) -> Appended:
        """Append n records, each partition's in log order.

        The windows' slots and the detector states behind them hold until the next call, for forgotten nodes as well.

        Args:
            partitions: int32 (n,), not negative.
            keys: n keys; nodes of one key in two partitions are different nodes.
            ts_ms: int64 (n,), event times in (0, 4102444800000).
            rows: float32 (n, F), finite.
            offsets: int64 (n,), increasing within a partition. With them, records that a restored node already
                contains are APPLIED: they move the watermark and nothing else, so that a log may be replayed from
                before the snapshots.
            labels: n clusters and regions, for the silences.

        Raises:
            ValueError: an argument has a wrong shape, or a time is out of range; nothing was appended then.
        """
        partitions, ts_ms = np.asarray(partitions, np.int32), np.asarray(ts_ms, np.int64)
        values = np.asarray(rows, np.float32)
        check_records(self.rules, partitions, keys, ts_ms, values, offsets=offsets, labels=labels)
        if not len(keys):
            empty = WindowBatch.empty(self.rules.window, self.rules.features)
            return Appended(empty, np.empty(0, np.uint8))
        table = self._table
        slots, created = table.intern(partitions, keys)
        chosen = np.arange(len(keys)) if offsets is None else np.flatnonzero(offsets > table.applied[slots])
        order = sort_by_slot(slots, chosen)
        courses = self._follow(partitions, keys, slots, ts_ms)
        steps = arrange(order, slots, ts_ms, courses)
        draft = Draft.of(slots)
        draft.created = len(created)
        opened = self._watch.open(steps, courses, len(keys))
        windows = self._extend(steps, values, draft)
        if offsets is not None:
            # Ascending in a node's log, so that the last one written is the largest.
            table.applied[draft.slot[order]] = offsets[order]
        silences, returned = self._watch.close(opened, draft, offsets, labels)
        table.release(draft.retired)
        evicted = [node for p in courses for node in self._sweep(p)]
        return Appended(
            windows=windows,
            status=draft.status,
            gaps=draft.gaps,
            filled=draft.filled,
            restarts=draft.restarts,
            created=draft.created,
            evictions=len(draft.retired) + len(evicted),
            evicted=evicted,
            silences=silences,
            returned=returned,
        )

    def _follow(
        self, partitions: NDArray[np.int32], keys: Sequence[str], slots: Slots, ts_ms: NDArray[np.int64]
    ) -> dict[int, Course]:
        """Move the watermarks on; return their courses over the batch by partition."""
        courses = {}
        for partition in np.unique(partitions).tolist():
            index = np.flatnonzero(partitions == partition)
            mark = self._marks.get(partition, NO_WATERMARK)
            self._watch.recall(partition, mark)
            leader = self._table.tables[partition].get(mark.leader, -1)
            progress = advance(mark, leader, slots[index], ts_ms[index], self.rules.longest_jump_ms)
            key = mark.leader if progress.leader < 0 else keys[int(index[progress.leader])]
            self._marks[partition] = progress.mark(key)
            courses[partition] = Course(index, progress)
        return courses

    def _extend(self, steps: Steps, values: NDArray[np.float32], draft: Draft) -> WindowBatch:
        """Append the steps to their nodes, and lay out the windows that come of it."""
        table = self._table
        fast, forgotten = in_order(table, steps)
        ordered, unordered = renew_forgotten(table, steps.where(fast), forgotten[fast], draft), steps.where(~fast)
        late = replay(table, unordered, draft, values)
        layout = lay_out(table, ordered)
        rows = np.empty((layout.size + len(late.rows), self.rules.features), np.float32)
        stamps = np.empty(len(rows), np.int64)
        draw(table, ordered, layout, values, rows[: layout.size], stamps[: layout.size])
        rows[layout.size :], stamps[layout.size :] = late
        draft.end[unordered.record] += layout.size
        decide(table, ordered, layout, draft)
        keep(table, ordered, layout, rows, stamps)
        records = np.flatnonzero(draft.status == StepStatus.WINDOW)
        return WindowBatch(
            length=self.rules.window,
            rows=rows,
            ts_ms=stamps >> 1,
            carried=(stamps & 1).astype(np.bool_),
            ends=draft.end[records],
            records=records,
            slots=draft.slot[records],
        )

    def _sweep(self, partition: int) -> list[tuple[int, str]]:
        """Forget the idle nodes of a partition; returns them in the order of their keys."""
        mark, idle_ms = self._marks[partition], self.rules.idle_ms
        if mark.second_ms - self._oldest_seen.get(partition, mark.origin_ms) <= idle_ms:
            return []
        slots = self.slots_of(partition)
        seen = np.maximum(self._table.seen[slots], mark.origin_ms)
        idle = mark.second_ms - seen > idle_ms
        self._oldest_seen[partition] = int(seen[~idle].min(initial=mark.second_ms))
        gone = sorted((partition, self._table.key_of(slot)) for slot in slots[idle].tolist())
        for node in gone:
            self._watch.forget(*node)
        self._table.release(slots[idle].tolist())
        return gone

    @property
    def state(self) -> NDArray[np.float32]:
        """Detector state by slot: float32 (capacity, state_width); zeros for a new node, kept over gaps and restarts.

        Write into it after an ``append``; read the attribute again after the next one, which may replace the array.
        """
        return self._table.state

    def __len__(self) -> int:
        return len(self._table)

    @property
    def silence_rules(self) -> SilenceRules | None:
        """When a node is silent, ``None`` where silences are not told."""
        return self._watch.rules if self.rules.silence_ms else None

    @property
    def silent_nodes(self) -> int:
        """Nodes that are silent now."""
        return self._watch.count

    def silences(self, partition: int) -> list[Silence]:
        """Return the silences of a partition that last, as they were told; ``record`` is -1: it was another batch's.

        After a partition was put back, those from before are known with its next batch.
        """
        return self._watch.now(partition)

    @property
    def capacity(self) -> int:
        """Nodes that memory is reserved for."""
        return self._table.capacity

    @property
    def nbytes(self) -> int:
        """Bytes reserved for all nodes, keys and dictionaries included."""
        return self._table.nbytes

    @property
    def partitions(self) -> list[int]:
        """Partitions that a record was seen of, ascending."""
        return sorted(self._marks.keys() | self._table.tables.keys())

    def slots_of(self, partition: int) -> Slots:
        """Slots of a partition's nodes: int64, ascending."""
        return np.flatnonzero(self._table.partition == partition)

    def slot_of(self, partition: int, key: str) -> int | None:
        """Slot of a node, ``None`` when the store does not have it."""
        return self._table.tables.get(partition, {}).get(key)

    def key_of(self, slot: int) -> str:
        """Key of the node in a slot. Raises ``KeyError`` when there is none."""
        return self._table.key_of(slot)

    def steps_held(self, slots: Slots) -> NDArray[np.int32]:
        """Count the steps held of each node: int32 (n,); 0 for a restored node that had been forgotten."""
        return self._table.count[slots]

    def newest_ms(self, slots: Slots) -> NDArray[np.int64]:
        """Event time of the newest step of each node: int64 (n,), milliseconds."""
        return self._table.newest[slots]

    def watermark(self, partition: int) -> Watermark | None:
        """Event-time progress of a partition, ``None`` before its first record."""
        return self._marks.get(partition)

    def set_watermark(self, partition: int, watermark: Watermark) -> None:
        """Put back the event-time progress of a partition. Raises ``SnapshotError`` when it makes no sense."""
        check_watermark(partition, watermark)
        self._marks[partition] = watermark
        self._doubt(partition)

    def drop_partition(self, partition: int) -> None:
        """Forget a partition: its nodes, their state and its watermark."""
        self._table.release(self.slots_of(partition).tolist())
        self._table.tables.pop(partition, None)
        self._marks.pop(partition, None)
        self._doubt(partition)

    def _doubt(self, partition: int) -> None:
        """Work out anew what is known of a partition's nodes together."""
        self._oldest_seen.pop(partition, None)
        self._watch.doubt(partition)

    def snapshot(self, slots: Sequence[int] | Slots) -> bytes:
        """Serialise nodes: keys, steps, detector state, applied offsets; not the watermark of their partitions.

        Raises:
            KeyError: a slot holds no node.
        """
        return encode(read_nodes(self._table, slots), self.rules)

    def snapshot_each(self, slots: Sequence[int] | Slots) -> list[bytes]:
        """Serialise nodes one by one, for records keyed by node; several times faster than one call for each."""
        return encode_each(read_nodes(self._table, slots), self.rules)

    def snapshot_forgotten(self, partition: int, keys: Sequence[str], applied: int) -> list[bytes]:
        """Serialise nodes that this store has just forgotten, one by one; call it before the next ``append``.

        Put back, such a node has no steps: its records up to ``applied`` are APPLIED, so that a replay does not bring
        back what was forgotten, and the next one starts a new node.

        Args:
            partition: theirs; a record of it was appended.
            keys: of the nodes.
            applied: largest offset appended of the partition.
        """
        seen = self._marks[partition].second_ms
        return encode_each(forgotten_nodes(self._table, partition, keys, seen=seen, applied=applied), self.rules)

    def snapshot_partition(self, partition: int) -> bytes:
        """Serialise a partition: its nodes and its watermark."""
        mark = self._marks.get(partition)
        nodes = read_nodes(self._table, self.slots_of(partition))
        return encode(nodes, self.rules, None if mark is None else (partition, mark))

    def restore(self, snapshot: bytes) -> Slots:
        """Put nodes back, in the place of those of the same partition and key; a watermark as well when it holds one.

        Returns:
            int64, the nodes' slots, in the order they were given to ``snapshot``.

        Raises:
            SnapshotError: damaged, cut short, of another version or of other settings; nothing was restored then.
        """
        return self.restore_each([snapshot])

    def restore_each(self, snapshots: Sequence[bytes]) -> Slots:
        """Put the nodes of many snapshots back at once; much faster than one call for each.

        Returns:
            int64, the nodes' slots, snapshot by snapshot.

        Raises:
            SnapshotError: as ``restore``; also when two snapshots hold the same node. Nothing was restored then.
        """
        nodes, marks = decode(snapshots, self.rules)
        slots = write_nodes(self._table, nodes)
        for partition in np.unique(nodes.partition).tolist():
            self._doubt(partition)
        for partition, mark in marks.items():
            self.set_watermark(partition, mark)
        return slots
