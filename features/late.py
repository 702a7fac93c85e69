"""The exact pass, record by record, for nodes that have late or repeated steps in a batch."""

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from features.appended import StepStatus
from features.nodes import NodeTable
from features.rules import WindowRules
from features.steps import Draft, Steps


@dataclass(slots=True)
class Life:
    """Last steps of one node, oldest first, as plain lists.

    ``source`` says where a step's row is: a record of the batch (>= 0), or row ``-1 - source`` of the table.
    """

    slot: int
    seen: int = 0
    ts_ms: list[int] = field(default_factory=list)
    carried: list[bool] = field(default_factory=list)
    source: list[int] = field(default_factory=list)

    @classmethod
    def load(cls, table: NodeTable, slot: int) -> Self:
        """Read a node from the table."""
        depth, count = table.rules.depth, int(table.count[slot])
        ring = (int(table.at[slot]) - count + 1 + np.arange(count)) % depth + slot * depth
        stamps = table.stamps[ring]
        return cls(slot, int(table.seen[slot]), (stamps >> 1).tolist(), (stamps & 1 > 0).tolist(), (-1 - ring).tolist())

    def advance(self, rules: WindowRules, ts_ms: int, record: int) -> int:
        """Add a step that is newer than all others. Returns the missing steps carried, -1 when it starts anew."""
        carried = 0
        if self.ts_ms:
            newest = self.ts_ms[-1]
            elapsed = ts_ms - newest
            distance = max(1, (2 * elapsed + rules.step_ms) // (2 * rules.step_ms))
            carried = distance - 1 if distance <= rules.gap_steps + 1 else -1
            if carried < 0:
                self.ts_ms, self.carried, self.source = [], [], []
            else:
                self.ts_ms.extend(newest + j * elapsed // distance for j in range(1, distance))
                self.carried.extend([True] * carried)
                self.source.extend([self.source[-1]] * carried)
        self.ts_ms.append(ts_ms)
        self.carried.append(False)
        self.source.append(record)
        excess = len(self.ts_ms) - rules.depth
        if excess > 0:
            del self.ts_ms[:excess], self.carried[:excess], self.source[:excess]
        return carried

    def hole(self, rules: WindowRules, ts_ms: int) -> int:
        """Find the carried step that a late one belongs to, or -1."""
        right = bisect_left(self.ts_ms, ts_ms)
        last = len(self.ts_ms) - 1
        best, nearest = -1, rules.step_ms + 1
        # Only the steps on either side of it can give way without breaking the order of time.
        for i in (right - 1, right):
            if not max(0, last - rules.late_steps) <= i < last or not self.carried[i]:
                continue
            apart = 2 * abs(self.ts_ms[i] - ts_ms)
            if self.ts_ms[i + 1] > ts_ms and apart < nearest:
                best, nearest = i, apart
        return best

    def fill(self, hole: int, ts_ms: int, record: int) -> None:
        """Put a late step in the place of a carried one; the carried ones after it now repeat this one."""
        self.ts_ms[hole], self.carried[hole] = ts_ms, False
        while True:
            self.source[hole] = record
            hole += 1
            if not self.carried[hole]:
                return

    def has(self, ts_ms: int) -> bool:
        """Tell whether a real step of this time is held."""
        i = bisect_left(self.ts_ms, ts_ms)
        return i < len(self.ts_ms) and self.ts_ms[i] == ts_ms and not self.carried[i]


@dataclass(slots=True)
class Sheet:
    """Rows of the windows that come out, to be looked up at the end: where each row is, and its stamp."""

    source: list[int] = field(default_factory=list)
    stamp: list[int] = field(default_factory=list)

    def copy(self, life: Life, begin: int, end: int) -> int:
        """Append steps ``begin`` to ``end`` (excluded) of a node; returns the row of the last one."""
        self.source.extend(life.source[begin:end])
        steps = zip(life.ts_ms[begin:end], life.carried[begin:end], strict=True)
        self.stamp.extend(ts_ms << 1 | carried for ts_ms, carried in steps)
        return len(self.source) - 1


class Timelines(NamedTuple):
    """Rows float32 (R, F) and stamps int64 (R,) of the windows of the nodes that went record by record."""

    rows: NDArray[np.float32]
    stamps: NDArray[np.int64]


class _Replay:
    """One node at a time; what is decided goes to the draft, rows to the sheet."""

    def __init__(self, table: NodeTable, draft: Draft) -> None:
        self.table, self.rules, self.draft = table, table.rules, draft
        self.sheet = Sheet()
        self.lives: list[Life] = []

    def begin(self, life: Life) -> None:
        self.life = life
        self.lives.append(life)
        # True while the sheet ends with the life's newest steps as they are, so that the next window shares them.
        self.open = False

    def accept(self, record: int, ts_ms: int, after: int) -> tuple[StepStatus, int]:
        """Apply one record by the rules; returns its status and the row its window ends at."""
        life, rules = self.life, self.rules
        if not life.ts_ms or ts_ms > life.ts_ms[-1]:
            carried = life.advance(rules, ts_ms, record)
            self.draft.gaps += max(carried, 0)
            self.draft.restarts += carried < 0
            life.seen = after
            return self._newest(1 + max(carried, 0))
        if life.has(ts_ms):
            return StepStatus.DUPLICATE, 0
        hole = life.hole(rules, ts_ms)
        if hole < 0:
            return StepStatus.LATE, 0
        life.fill(hole, ts_ms, record)
        life.seen = after
        self.draft.filled += 1
        self.open = False
        if hole + 1 < rules.window:
            return StepStatus.WARMING, 0
        return StepStatus.WINDOW, self.sheet.copy(life, hole + 1 - rules.window, hole + 1)

    def _newest(self, added: int) -> tuple[StepStatus, int]:
        held = len(self.life.ts_ms)
        if held < self.rules.window:
            self.open = False
            return StepStatus.WARMING, 0
        begin = held - (added if self.open and added <= held else self.rules.window)
        self.open = True
        return StepStatus.WINDOW, self.sheet.copy(self.life, begin, held)


def replay(table: NodeTable, steps: Steps, draft: Draft, values: NDArray[np.float32]) -> Timelines:
    """Apply the steps of some nodes record by record, in log order, and write the nodes back.

    ``draft.end`` of these records counts from the first row of what is returned.

    Args:
        table: where the nodes are.
        steps: their records, with all of a node's.
        draft: what is decided is entered here.
        values: float32 (batch, F), the batch's rows.
    """
    work = _Replay(table, draft)
    idle_ms = table.rules.idle_ms
    statuses, ends, slots = [], [], []
    columns = (steps.record, steps.slot, steps.ts_ms, steps.before, steps.after, steps.origin, steps.starts)
    for record, slot, ts_ms, before, after, origin, starts in zip(*(c.tolist() for c in columns), strict=True):
        if starts:
            work.begin(Life.load(table, slot))
        life = work.life
        if life.ts_ms and before - max(life.seen, origin) > idle_ms:
            draft.retired.append(life.slot)
            draft.created += 1
            work.begin(Life(table.renew(life.slot)))
        status, end = work.accept(record, ts_ms, after)
        statuses.append(status)
        ends.append(end)
        slots.append(work.life.slot)
    draft.status[steps.record] = statuses
    draft.end[steps.record] = ends
    draft.slot[steps.record] = slots
    rows = _look_up(table, np.array(work.sheet.source, np.int64), values)
    for life in work.lives:
        _write(table, life, values)
    return Timelines(rows, np.array(work.sheet.stamp, np.int64))


def _look_up(table: NodeTable, source: NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = np.empty((len(source), table.rules.features), np.float32)
    new = source >= 0
    rows[new] = values[source[new]]
    rows[~new] = table.rows[-1 - source[~new]]
    return rows


def _write(table: NodeTable, life: Life, values: NDArray[np.float32]) -> None:
    slot, count, depth = life.slot, len(life.ts_ms), table.rules.depth
    begin = slot * depth
    # Looked up as a copy first: the rows move to other places of the same ring.
    table.rows[begin : begin + count] = _look_up(table, np.array(life.source, np.int64), values)
    table.stamps[begin : begin + count] = np.array(life.ts_ms) << 1 | np.array(life.carried)
    table.at[slot] = count - 1
    table.count[slot] = count
    table.newest[slot] = life.ts_ms[-1]
    table.seen[slot] = life.seen
