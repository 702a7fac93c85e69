"""Nodes that stop reporting: each silence once, on event time, whatever batch it falls into.

The rules, and why they are so, are written down in docs/silence.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.appended import Silence, StepStatus
from features.nodes import Label, NodeTable, Slots
from features.rules import ALONE, SilenceRules
from features.steps import Draft, Mask, Steps, shifted
from features.watermarks import Course, Progress, Watermark

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Life:
    """A node as a record finds it, or as the end of a batch does.

    Attributes:
        slot: its slot.
        held: steps since its window started.
        newest: event time of its newest step.
        seen: watermark at its last accepted step.
        offset: of its last record.
        alive: how long one node and two nodes of the partition had reported by then.
        label: of its last record.
    """

    slot: int
    held: int
    newest: int
    seen: int
    offset: int
    alive: tuple[int, int]
    label: Label


class _Batch:
    """The records of a batch by node, and the nodes as they were before it."""

    def __init__(self, table: NodeTable, steps: Steps, courses: Mapping[int, Course], records: int) -> None:
        self.table, self.steps, self.courses = table, steps, courses
        starts = np.flatnonzero(steps.starts)
        self.starts, self.node = starts, np.cumsum(steps.starts) - 1
        slots = steps.slot[starts]
        self._slots, self._held, self._newest = slots, table.count[slots], table.newest[slots]
        self._seen, self._applied, self._alive = table.seen[slots], table.applied[slots], table.alive[slots]
        self.before, self.after = np.empty((records, 2), np.int64), np.empty((records, 2), np.int64)
        for index, progress in courses.values():
            alive = np.column_stack([progress.first_alive, progress.second_alive])
            self.before[index], self.after[index] = alive[:-1], alive[1:]

    def candidates(self, rules: SilenceRules) -> list[int]:
        """Find the steps before which a node may have been silent: all such, and few others."""
        steps, record = self.steps, self.steps.record
        since = self.before[record]
        for j in range(2):
            since[:, j] -= shifted(self.after[record, j], steps.starts, self._alive[:, j])
        alone = (steps.before == 0) & (steps.ts_ms - shifted(steps.ts_ms, steps.starts, self._newest) >= rules.silent)
        return np.flatnonzero((since >= rules.lived).any(axis=1) | alone).tolist()

    def found(self, at: int, draft: Draft, offsets: Ints, labels: Sequence[Label]) -> _Life:
        """Return the node as step ``at`` finds it."""
        node, first = int(self.node[at]), int(self.starts[self.node[at]])
        stored = _Life(
            slot=int(self._slots[node]),
            held=int(self._held[node]),
            newest=int(self._newest[node]),
            seen=int(self._seen[node]),
            offset=int(self._applied[node]),
            alive=(int(self._alive[node, 0]), int(self._alive[node, 1])),
            label=self.table.labels[int(self._slots[node])],  # until ``keep``
        )
        if at == first:
            return stored
        steps, last = self.steps, int(self.steps.record[at - 1])
        slot = int(draft.slot[last])
        earlier = np.arange(first, at)[draft.slot[steps.record[first:at]] == slot]
        accepted = earlier[draft.status[steps.record[earlier]] <= StepStatus.WARMING]
        # A node that was forgotten within the batch has a slot of its own, and nothing of what was stored.
        newest, seen = (stored.newest, stored.seen) if slot == stored.slot else (0, 0)
        return replace(
            stored,
            slot=slot,
            held=int(draft.held[last]),
            newest=max(newest, int(steps.ts_ms[earlier].max())),
            seen=int(steps.after[accepted[-1]]) if len(accepted) else seen,
            offset=int(offsets[last]),
            alive=(int(self.after[last, 0]), int(self.after[last, 1])),
            label=labels[last],
        )

    def keep(self, draft: Draft, labels: Sequence[Label] | None) -> None:
        """Note at which point of their partitions the nodes last reported, and what they said of themselves."""
        last = self.steps.record[np.append(self.starts, len(self.steps))[1:] - 1]
        slots = draft.slot[last]
        self.table.alive[slots] = self.after[last]
        if labels is not None:
            for slot, record in zip(slots.tolist(), last.tolist(), strict=True):
                self.table.labels[slot] = labels[record]


class SilenceWatch:
    """Follows who is silent.

    Nothing of it has to be saved: whether a silence has been told is a function of the watermark and of what is stored
    of the node, and once true it stays true until the node is back.

    Args:
        table: the nodes.
    """

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self.rules = SilenceRules.of(table.rules)
        self._on = table.rules.silence_ms > 0
        self._silent: dict[int, set[str]] = {}
        # By partition: no silence can be told before one node, or two nodes, have reported for so long.
        self._quiet: dict[int, tuple[int, int]] = {}

    @property
    def count(self) -> int:
        """Nodes that are silent now."""
        return sum(len(keys) for keys in list(self._silent.values()))

    def now(self, partition: int) -> list[Silence]:
        """Return the silences of a partition that last, as they were told; ``record`` is -1: it was another batch's."""
        slots = self._table.tables.get(partition, {})
        silent = sorted(self._silent.get(partition, ()))
        return [_silence(partition, key, self._stored(slots[key]), -1) for key in silent if key in slots]

    def doubt(self, partition: int) -> None:
        """Forget who is silent in a partition; what is stored of its nodes tells it anew."""
        self._silent.pop(partition, None)
        self._quiet.pop(partition, None)

    def forget(self, partition: int, key: str) -> None:
        """Follow a forgotten node no more."""
        self._silent.get(partition, set()).discard(key)

    def recall(self, partition: int, mark: Watermark) -> None:
        """Before a batch: find out who is silent already, where that is not known."""
        if partition in self._silent or not self._on:
            return
        slots = self._watched(partition)
        gone = slots[self._passed(slots, mark)]
        self._silent[partition] = {self._table.key_of(slot) for slot in gone.tolist()}

    def open(self, steps: Steps, courses: Mapping[int, Course], records: int) -> _Batch | None:
        """Before a batch changes its nodes: keep what is stored of them.

        Args:
            steps: of the batch.
            courses: the watermarks along its records, by partition.
            records: number of records in the batch.
        """
        return _Batch(self._table, steps, courses, records) if self._on else None

    def close(
        self, batch: _Batch | None, draft: Draft, offsets: Ints | None, labels: Sequence[Label] | None
    ) -> tuple[list[Silence], list[tuple[int, int]]]:
        """After a batch: tell the silences that it ended or that have become certain.

        Args:
            batch: what ``open`` returned.
            draft: what was decided about its records.
            offsets: int64 (n,), of its records.
            labels: n clusters and regions.

        Returns:
            The silences in the order of the records that told them; and the records whose nodes were silent before,
            with the event time of the node's newest step.
        """
        if batch is None:
            return [], []
        known = np.full(len(draft.slot), -1, np.int64) if offsets is None else offsets
        said = labels if labels is not None else [(None, None)] * len(draft.slot)
        told: list[Silence] = []
        returned: list[tuple[int, int]] = []
        for at in batch.candidates(self.rules):
            life = batch.found(at, draft, known, said)
            silence, back = self._before(batch, at, life, draft)
            told += [silence] if silence else []
            returned += [(int(batch.steps.record[at]), life.newest)] if back else []
        batch.keep(draft, labels)
        for partition, course in batch.courses.items():
            told += self._at_end(partition, course, draft.retired)
        told.sort(key=lambda each: (each.record, each.key))
        return told, sorted(returned)

    def _before(self, batch: _Batch, at: int, life: _Life, draft: Draft) -> tuple[Silence | None, bool]:
        """Tell whether the node of step ``at`` was silent until then, and the silence unless it has been told."""
        steps, record = batch.steps, int(batch.steps.record[at])
        partition = int(self._table.partition[life.slot])
        key, course = self._table.key_of(life.slot), batch.courses[partition]
        # A forgotten node does not come back: its name begins anew.
        same = int(draft.slot[record]) == life.slot
        if key in self._silent[partition]:
            self._silent[partition].discard(key)
            return None, same
        if life.held < self.rules.watched:
            return None, False
        place = int(np.searchsorted(course.records, record))
        when = self._when(course.progress, life)
        if when <= min(place, self._forgotten(course.progress, life)):
            return _silence(partition, key, life, int(course.records[when - 1])), same
        lived = batch.before[record] - life.alive >= self.rules.lived
        vouched = bool(lived.any()) or not course.progress.second[place]
        if same and vouched and int(steps.ts_ms[at]) - life.newest >= self.rules.silent:
            return _silence(partition, key, life, record), True
        return None, False

    def _at_end(self, partition: int, course: Course, retired: list[int]) -> list[Silence]:
        """Tell the silences that lasted until the end of the batch."""
        mark = course.progress.mark("")
        one, two = self._quiet.get(partition, (0, 0))
        if mark.first_alive_ms < one and mark.second_alive_ms < two:
            return []
        slots, silent, told = self._watched(partition), self._silent[partition], []
        if retired:  # nodes whose successors have slots of their own
            slots = slots[~np.isin(slots, retired)]
        passed = self._passed(slots, mark)
        for slot in slots[passed].tolist():
            key = self._table.key_of(slot)
            if key in silent:
                continue
            life = self._stored(slot)
            when = self._when(course.progress, life)
            if when <= self._forgotten(course.progress, life):
                silent.add(key)
                told.append(_silence(partition, key, life, int(course.records[when - 1])))
        alive = self._table.alive[slots[~passed]]
        self._quiet[partition] = (
            int(alive[:, 0].min(initial=mark.first_alive_ms)) + ALONE * self.rules.silent,
            int(alive[:, 1].min(initial=mark.second_alive_ms)) + self.rules.silent,
        )
        return told

    def _watched(self, partition: int) -> Slots:
        slots = np.flatnonzero(self._table.partition == partition)
        return slots[self._table.count[slots] >= self.rules.watched]

    def _passed(self, slots: Slots, mark: Watermark) -> Mask:
        """Tell which nodes are silent by now, though they are not back."""
        newest, alive, rules = self._table.newest[slots], self._table.alive[slots], self.rules
        two = (mark.second_ms - newest >= rules.told) & (mark.second_alive_ms - alive[:, 1] >= rules.silent)
        one = mark.first_ms - newest >= ALONE * rules.told
        one &= mark.first_alive_ms - alive[:, 0] >= ALONE * rules.silent
        return np.asarray(two | one, np.bool_)

    def _when(self, progress: Progress, life: _Life) -> int:
        """Return the first place of the progress at which the node is silent, its length when there is none."""
        rules = self.rules
        two = max(
            progress.second.searchsorted(life.newest + rules.told),
            progress.second_alive.searchsorted(life.alive[1] + rules.silent),
        )
        one = max(
            progress.first.searchsorted(life.newest + ALONE * rules.told),
            progress.first_alive.searchsorted(life.alive[0] + ALONE * rules.silent),
        )
        return int(min(one, two))

    def _forgotten(self, progress: Progress, life: _Life) -> int:
        """Return the first place of the progress at which the node is forgotten."""
        last = max(life.seen, progress.origin_ms) + self._table.rules.idle_ms
        return int(progress.second.searchsorted(last, side="right"))

    def _stored(self, slot: int) -> _Life:
        table = self._table
        return _Life(
            slot=slot,
            held=int(table.count[slot]),
            newest=int(table.newest[slot]),
            seen=int(table.seen[slot]),
            offset=int(table.applied[slot]),
            alive=(int(table.alive[slot, 0]), int(table.alive[slot, 1])),
            label=table.labels[slot],
        )


def _silence(partition: int, key: str, life: _Life, record: int) -> Silence:
    cluster, region = life.label
    return Silence(record, partition, key, life.newest, life.offset, cluster, region)
