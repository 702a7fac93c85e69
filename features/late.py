"""The exact pass, record by record, for nodes that have late or repeated steps in a batch."""

from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.appended import StepStatus
from features.nodes import NodeTable, Slots
from features.rules import WindowRules
from features.steps import Draft, Steps


@dataclass(slots=True)
class Life:
    """Last steps of one node, oldest first, as plain lists.

    Attributes:
        slot: the node's.
        seen: the watermark at its last accepted step.
        stamps: event time * 2 + (1 when the step is carried) of each step; ordered like the times.
        source: where each step's row is: a record of the batch (>= 0), or row ``-1 - source`` of the table.
    """

    slot: int
    seen: int = 0
    stamps: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)

    def advance(self, rules: WindowRules, ts_ms: int, record: int) -> int:
        """Add a step that is newer than all others. Returns the missing steps carried, -1 when it starts anew."""
        stamps, source = self.stamps, self.source
        carried = 0
        if stamps:
            newest = stamps[-1] >> 1
            elapsed = ts_ms - newest
            distance = max(1, (2 * elapsed + rules.step_ms) // (2 * rules.step_ms))
            if distance > rules.gap_steps + 1:
                if elapsed > rules.resume_ms:
                    stamps.clear()
                    source.clear()
                    carried = -1
            elif distance > 1:
                carried = distance - 1
                stamps.extend((newest + j * elapsed // distance) << 1 | 1 for j in range(1, distance))
                source.extend([source[-1]] * carried)
        stamps.append(ts_ms << 1)
        source.append(record)
        excess = len(stamps) - rules.depth
        if excess > 0:
            del stamps[:excess], source[:excess]
        return carried

    def hole(self, rules: WindowRules, ts_ms: int) -> int:
        """Find the carried step that a late one belongs to, or -1."""
        right = bisect_left(self.stamps, ts_ms << 1)
        last = len(self.stamps) - 1
        best, nearest = -1, rules.step_ms + 1
        # Only the steps on either side of it can give way without breaking the order of time.
        for i in (right - 1, right):
            if not max(0, last - rules.late_steps) <= i < last or not self.stamps[i] & 1:
                continue
            apart = 2 * abs((self.stamps[i] >> 1) - ts_ms)
            if self.stamps[i + 1] >> 1 > ts_ms and apart < nearest:
                best, nearest = i, apart
        return best

    def fill(self, hole: int, ts_ms: int, record: int) -> None:
        """Put a late step in the place of a carried one; the carried ones after it now repeat this one."""
        self.stamps[hole] = ts_ms << 1
        while True:
            self.source[hole] = record
            hole += 1
            if not self.stamps[hole] & 1:
                return

    def has(self, ts_ms: int) -> bool:
        """Tell whether a real step of this time is held."""
        i = bisect_left(self.stamps, ts_ms << 1)
        return i < len(self.stamps) and self.stamps[i] == ts_ms << 1


@dataclass(slots=True)
class Sheet:
    """Rows of the windows that come out, to be looked up at the end: where each row is, and its stamp."""

    source: list[int] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)

    def copy(self, life: Life, begin: int, end: int) -> int:
        """Append steps ``begin`` to ``end`` (excluded) of a node; returns the row of the last one."""
        self.source += life.source[begin:end]
        self.stamps += life.stamps[begin:end]
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
        if not life.stamps or ts_ms > life.stamps[-1] >> 1:
            carried = life.advance(rules, ts_ms, record)
            if carried:
                self.draft.gaps += max(carried, 0)
                self.draft.restarts += carried < 0
            life.seen = after
            return self._newest(carried + 1)
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
        held = len(self.life.stamps)
        if held < self.rules.window:
            self.open = False
            return StepStatus.WARMING, 0
        begin = held - (added if self.open and 0 < added <= held else self.rules.window)
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
    loaded = iter(_load(table, steps.slot[steps.starts]))
    idle_ms = table.rules.idle_ms
    statuses, ends, slots, held = [], [], [], []
    columns = (steps.record, steps.ts_ms, steps.before, steps.after, steps.origin, steps.starts)
    for record, ts_ms, before, after, origin, starts in zip(*(c.tolist() for c in columns), strict=True):
        if starts:
            work.begin(next(loaded))
        life = work.life
        if life.stamps and before - max(life.seen, origin) > idle_ms:
            draft.retired.append(life.slot)
            draft.created += 1
            work.begin(Life(table.renew(life.slot)))
        status, end = work.accept(record, ts_ms, after)
        statuses.append(status)
        ends.append(end)
        slots.append(work.life.slot)
        held.append(len(work.life.stamps))
    draft.status[steps.record] = statuses
    draft.end[steps.record] = ends
    draft.slot[steps.record] = slots
    draft.held[steps.record] = held
    rows = _look_up(table, work.sheet.source, values)
    _write(table, work.lives, values)
    return Timelines(rows, np.array(work.sheet.stamps, np.int64))


def _load(table: NodeTable, slots: Slots) -> list[Life]:
    ring = table.held(slots)
    stamps, source = table.stamps[ring].tolist(), (-1 - ring).tolist()
    bounds = pairwise([0, *np.cumsum(table.count[slots]).tolist()])
    seen = table.seen[slots].tolist()
    return [
        Life(slot, mark, stamps[begin:end], source[begin:end])
        for slot, mark, (begin, end) in zip(slots.tolist(), seen, bounds, strict=True)
    ]


def _look_up(table: NodeTable, source: list[int], values: NDArray[np.float32]) -> NDArray[np.float32]:
    where = np.array(source, np.int64)
    rows = np.empty((len(where), table.rules.features), np.float32)
    new = where >= 0
    rows[new] = values[where[new]]
    rows[~new] = table.rows[-1 - where[~new]]
    return rows


def _write(table: NodeTable, lives: list[Life], values: NDArray[np.float32]) -> None:
    slots = np.array([life.slot for life in lives], np.int64)
    count = np.array([len(life.stamps) for life in lives], np.int32)
    # All are looked up before one is written: their rows move to other places of the same rings.
    rows = _look_up(table, list(chain.from_iterable(life.source for life in lives)), values)
    stamps = np.fromiter(chain.from_iterable(life.stamps for life in lives), np.int64)
    table.refill(slots, count, rows, stamps)
    table.seen[slots] = [life.seen for life in lives]
