"""The vectorised pass over nodes whose steps come in order: carried gaps, restarts and windows as index ranges."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from features.appended import StepStatus
from features.nodes import NodeTable, Slots
from features.steps import Draft, Mask, Steps, shifted

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where n steps of m nodes go: node by node, first the stored steps a window may need, then the new ones.

    Attributes:
        size: rows in all timelines together.
        slot: int64 (m,).
        base: int64 (m,), first row of each node.
        head: int64 (m,), stored rows it begins with.
        total: int64 (m,), new rows of it, carried ones included.
        last: int64 (m,), index of its last step among the n.
        place: int64 (n,), row of each step.
        carried: int64 (n,), missing steps carried right before it.
        elapsed: int64 (n,), milliseconds since the step before.
        count: int64 (n,), steps since the window started, carried ones and the step included.
        restarted: bool (n,), the window starts again here.
    """

    size: int
    slot: Slots
    base: Index
    head: Index
    total: Index
    last: Index
    place: Index
    carried: Index
    elapsed: Index
    count: Index
    restarted: Mask


def renew_forgotten(table: NodeTable, steps: Steps, forgotten: Mask, draft: Draft) -> Steps:
    """Let a new node, in a slot of its own, start at every record that finds its node forgotten.

    The old slot keeps its detector state for the windows that come before, and is retired.
    """
    if not forgotten.any():
        return steps
    slot, starts = steps.slot.copy(), steps.starts | forgotten
    bounds = np.append(np.flatnonzero(starts), len(steps)).tolist()
    for begin, end in pairwise(bounds):
        if forgotten[begin]:
            # The node before it in the batch, if it is the same one, has a renewed slot already.
            old = int(slot[begin]) if steps.starts[begin] else int(slot[begin - 1])
            slot[begin:end] = table.renew(old)
            draft.retired.append(old)
            draft.created += 1
    return Steps(steps.record, slot, steps.ts_ms, steps.before, steps.after, steps.origin, starts)


def lay_out(table: NodeTable, steps: Steps) -> Layout:
    """Decide how many steps each record advances its node by, and where its row goes."""
    rules, n = table.rules, len(steps)
    starts = np.flatnonzero(steps.starts)
    lengths = np.diff(starts, append=n)
    slot = steps.slot[starts]
    held = table.count[slot].astype(np.int64)

    elapsed = steps.ts_ms - shifted(steps.ts_ms, steps.starts, table.newest[slot])
    distance = np.maximum((2 * elapsed + rules.step_ms) // (2 * rules.step_ms), 1)
    far = distance > rules.gap_steps + 1
    restarted = far & (elapsed > rules.resume_ms)
    fresh = np.zeros(n, np.bool_)
    fresh[starts] = held == 0
    distance[fresh | far] = 1
    restarted &= ~fresh

    carries_on = (held > 0) & ~restarted[starts]
    head = np.where(carries_on, rules.head, 0)
    reached = np.cumsum(distance)
    passed = reached - distance
    before = passed[starts]
    last = starts + lengths - 1
    total = reached[last] - before
    stop = np.cumsum(head + total)
    base = stop - head - total
    place = np.repeat(base + head - before - 1, lengths) + reached

    # Steps since the window started: counted from the latest restart, or from what the node held.
    passed[starts] -= np.where(carries_on, held, 0)
    anchor = np.maximum.accumulate(np.where(steps.starts | restarted, np.arange(n), 0))
    count = reached - passed[anchor]
    size = int(stop[-1]) if n else 0
    return Layout(size, slot, base, head, total, last, place, distance - 1, elapsed, count, restarted)


def draw(
    table: NodeTable,
    steps: Steps,
    layout: Layout,
    values: NDArray[np.float32],
    rows: NDArray[np.float32],
    stamps: Index,
) -> None:
    """Write the timelines: stored steps, new ones, and the missing ones between them.

    Args:
        table: where the stored steps are.
        steps: n steps.
        layout: of these steps.
        values: float32 (batch, F), the batch's rows.
        rows: float32 (size, F), written.
        stamps: int64 (size,), written.
    """
    source = _stored(table, layout)
    # mode="clip" lets numpy write straight into ``out``; every index is in range.
    table.rows.take(source, axis=0, out=rows, mode="clip")
    table.stamps.take(source, out=stamps, mode="clip")
    rows[layout.place] = values[steps.record]
    stamps[layout.place] = steps.ts_ms << 1
    gap = np.flatnonzero(layout.carried)
    for j in range(1, int(layout.carried.max(initial=0)) + 1):
        gap = gap[layout.carried[gap] >= j]
        missing, elapsed = layout.carried[gap], layout.elapsed[gap]
        real = layout.place[gap] - missing - 1
        rows[real + j] = rows[real]
        stamps[real + j] = (steps.ts_ms[gap] - elapsed + j * elapsed // (missing + 1)) << 1 | 1


def _stored(table: NodeTable, layout: Layout) -> Index:
    """Which stored row goes to each row of the timelines: int64 (size,), 0 where a new one goes."""
    rules = table.rules
    source = np.zeros(layout.size, np.int64)
    some = layout.head > 0
    slot = layout.slot[some]
    ages = np.arange(rules.head)
    ring = table.at[slot][:, None] + (ages - (rules.head - 1))
    ring += rules.depth * (ring < 0)
    ring += (slot * rules.depth)[:, None]
    source[layout.base[some][:, None] + ages] = ring
    return source


def keep(table: NodeTable, steps: Steps, layout: Layout, rows: NDArray[np.float32], stamps: Index) -> None:
    """Write the new rows of the timelines back to the rings, and move the nodes' columns on."""
    depth, slot, total = table.rules.depth, layout.slot, layout.total
    ordinal = np.arange(int(total.sum())) - np.repeat(np.cumsum(total) - total, total)
    place = np.repeat(layout.base + layout.head, total) + ordinal
    at = np.repeat(table.at[slot] + 1, total) + ordinal
    owner = np.repeat(slot * depth, total)
    if total.size and total.max() > depth:
        # A ring holds only the last of them; two rows for one place would leave it to chance which one stays.
        newest = np.repeat(total, total) - ordinal <= depth
        place, at, owner = place[newest], at[newest], owner[newest]
    ring = owner + at % depth
    table.rows[ring] = rows[place]
    table.stamps[ring] = stamps[place]
    table.at[slot] = (table.at[slot] + total) % depth
    table.count[slot] = np.minimum(layout.count[layout.last], depth)
    table.newest[slot] = steps.ts_ms[layout.last]
    table.seen[slot] = steps.after[layout.last]


def decide(table: NodeTable, steps: Steps, layout: Layout, draft: Draft) -> None:
    """Enter the steps' status, row and slot in the draft."""
    complete = layout.count >= table.rules.window
    draft.status[steps.record] = np.where(complete, StepStatus.WINDOW, StepStatus.WARMING)
    draft.end[steps.record] = layout.place
    draft.slot[steps.record] = steps.slot
    draft.held[steps.record] = np.minimum(layout.count, table.rules.depth)
    draft.gaps += int(layout.carried.sum())
    draft.restarts += int(np.count_nonzero(layout.restarted))
