"""Node telemetry as training sees it: windows through the worker's own store, baselines moved as in operation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.offline import NEVER_MS
from detectors.protocol import NodeState
from detectors.reliability.features import FeaturePlan, window_features
from detectors.reliability.labels import Labels
from features.batch import WindowBatch
from features.windows import WindowStore
from schemas.streams import NODE

_CHUNK = 8_192
JUST_ENDED = 8
"""Steps after an incident of which every row is trained on: when it is over is the hardest to tell."""


@dataclass(frozen=True, slots=True)
class NodeRows:
    """Rows of node telemetry.

    Attributes:
        fields: names of the F columns.
        node_ids: n node ids.
        ts_ms: int64 (n,), event times, Unix epoch milliseconds.
        values: float32 (n, F), codes for texts.
        step_ms: nominal time between two steps of a node.
    """

    fields: tuple[str, ...]
    node_ids: Sequence[str] | NDArray[np.str_]
    ts_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    step_ms: int = 60_000

    def __len__(self) -> int:
        return len(self.ts_ms)

    def in_time_order(self) -> "NodeRows":
        """Return the rows by event time."""
        order = np.argsort(self.ts_ms, kind="stable")
        ids = np.asarray(self.node_ids)[order]
        return NodeRows(self.fields, ids, self.ts_ms[order], self.values[order], self.step_ms)


class Part(NamedTuple):
    """Windows of some rows, and what belongs to them.

    Attributes:
        places: int64 (n,), the row that each window ends with.
        windows: n windows.
        before: float32 (n, state_width), their nodes' baselines before those rows.
    """

    places: NDArray[np.int64]
    windows: WindowBatch
    before: NodeState


@dataclass(frozen=True, slots=True)
class Examples:
    """Features of the windows that end with some rows.

    Attributes:
        features: float32 (m, width).
        rows: int64 (m,), place of each window's newest step in the rows the examples were made of.
    """

    features: NDArray[np.float32]
    rows: NDArray[np.int64]


def windows_of(rows: NodeRows, plan: FeaturePlan, window: int) -> Iterator[Part]:
    """Yield the windows of rows in time order, through the very store the worker uses.

    So gaps, restarts, duplicates and late rows count in training as they do in operation.
    """
    baseline, keys = plan.baseline, np.asarray(rows.node_ids)
    store = WindowStore(
        len(rows.fields),
        window=window,
        step_ms=rows.step_ms,
        gap_steps=NODE.gap_steps,
        idle_ms=NEVER_MS,
        state_width=baseline.width,
    )
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        partitions = np.zeros(len(rows.ts_ms[part]), np.int32)
        windows = store.append(partitions, keys[part].tolist(), rows.ts_ms[part], rows.values[part]).windows
        slots, node = np.unique(windows.slots, return_inverse=True)
        state = store.state[slots]
        before = baseline.advance(windows, state, node)
        store.state[slots] = state
        yield Part(start + windows.records, windows, before)


def make_examples(rows: NodeRows, plan: FeaturePlan, window: int, keep: NDArray[np.bool_] | None = None) -> Examples:
    """Make the features of complete windows.

    Args:
        rows: in time order.
        plan: what to make.
        window: steps in a window.
        keep: bool (n,), rows whose windows are wanted; all when ``None``.
    """
    parts, places = [np.empty((0, len(plan.names)), np.float32)], [np.empty(0, np.int64)]
    for at, windows, before in windows_of(rows, plan, window):
        chosen = np.arange(len(at)) if keep is None else np.flatnonzero(keep[at])
        parts.append(window_features(windows.take(chosen), plan, before[chosen]))
        places.append(at[chosen])
    return Examples(np.concatenate(parts), np.concatenate(places))


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to train on, and what each weighs.

    Attributes:
        keep: bool (n,).
        weight: float64 (n,), what a row stands for: 1, or more where only some of its kind are kept.
    """

    keep: NDArray[np.bool_]
    weight: NDArray[np.float64]


def draw_sample(rows: NodeRows, labels: Labels, part: NDArray[np.bool_], negatives: float, seed: int) -> Sample:
    """Keep the positive rows of a part, those just after an incident, and a share of the others.

    Neighbouring quiet minutes of a node say the same: a quarter of them trains as well as all, in less time.

    Args:
        rows: in time order.
        labels: theirs.
        part: bool (n,), the rows to choose from.
        negatives: share of the other rows, in (0, 1].
        seed: of the drawing.
    """
    sure = labels.positive | _just_ended(rows, labels.positive)
    drawn = np.random.default_rng(seed).random(len(rows)) < negatives
    return Sample(part & (sure | drawn), np.where(sure, 1.0, 1.0 / negatives))


def _just_ended(rows: NodeRows, positive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark the negative rows among the ``JUST_ENDED`` of a node that follow a positive one."""
    names, codes = np.unique(np.asarray(rows.node_ids), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    found = np.zeros(len(rows), np.bool_)
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        mine = order[first:last]
        place = np.arange(len(mine))
        newest = np.maximum.accumulate(np.where(positive[mine], place, -JUST_ENDED - 1))
        found[mine] = (place - newest <= JUST_ENDED) & ~positive[mine]
    return found
