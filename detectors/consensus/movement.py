"""Many steps of many baselines: ``BaselineRule.moved`` step after step, what does not depend on order done at once.

A batch of few nodes has many steps of each, and a step can only move a baseline once the one before it has. So all that
is left inside the loop over a node's steps is its location and, until it is settled, its variance.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.baseline import CALM, HEAD, BaselineRule, Floats

__all__ = ["move"]

Ints = NDArray[np.int64]


class _Rounds(NamedTuple):
    """n steps in rounds: each node's first ones, then the second ones, ...; the busiest nodes first.

    Attributes:
        order: int64 (n,), steps in this order.
        nodes: int64 (m,), nodes, the busiest first: those of a round are the first so many of them.
        place: int64 (n,), place in ``nodes`` of each ordered step's node.
        rank: int64 (n,), how many steps of its node come before each ordered one.
        bounds: where each round ends.
    """

    order: Ints
    nodes: Ints
    place: Ints
    rank: Ints
    bounds: list[int]


def _rounds(node: Ints, count: Ints) -> _Rounds:
    nodes = np.argsort(-count, kind="stable")
    place = np.empty_like(nodes)
    place[nodes] = np.arange(len(nodes))
    by_node = np.argsort(node, kind="stable")
    first = np.cumsum(count) - count
    rank = np.empty_like(node)
    rank[by_node] = np.arange(len(node)) - np.repeat(first, count)
    order = np.argsort(rank * len(nodes) + place[node])
    return _Rounds(order, nodes, place[node[order]], rank[order], np.cumsum(np.bincount(rank)).tolist())


def move(rule: BaselineRule, state: NDArray[np.float32], steps: Floats, node: Ints, count: Ints) -> NDArray[np.float32]:
    """Move baselines that go on (``BaselineRule.goes_on``), to the bit as ``rule.moved`` does step by step.

    Args:
        rule: how.
        state: float32 (m, state_width), updated in place.
        steps: float64 (n, F), transformed values, each node's in order.
        node: int64 (n,), places in ``state``.
        count: int64 (m,), steps of each node, at least 1.

    Returns:
        float32 (n, state_width), each node's state before its step.
    """
    rounds = _rounds(node, count)
    old = state[rounds.nodes].astype(np.float64)
    seen = np.minimum(old[rounds.place, 1] + rounds.rank, float(rule.memory))
    before = np.empty((state.shape[1], len(node)), np.float32)  # a row a number: loops run along the nodes
    before[0], before[1] = old[rounds.place, 0], seen
    values = np.ascontiguousarray(steps[rounds.order].T)
    location, variance, off = _locations(rule, rounds, old, seen, values, before)
    before[2] = _far(rule, rounds, old, off)
    after = np.empty_like(old)
    after[:, 0], after[:, HEAD:] = old[:, 0], np.concatenate([location, variance]).T
    last = np.empty(len(count), np.int64)
    last[rounds.place] = np.arange(len(node))  # ascending rank, so that the last one written is the last step
    after[:, 1] = np.minimum(seen[last] + 1.0, float(rule.memory))
    after[:, 2] = _streak(before[2, last], off[:, last], rule)
    state[rounds.nodes] = after
    result = np.empty((len(node), state.shape[1]), np.float32)
    result[rounds.order] = before.T
    return result


def _locations(
    rule: BaselineRule, rounds: _Rounds, old: Floats, seen: Floats, values: Floats, before: NDArray[np.float32]
) -> tuple[Floats, Floats, Floats]:
    """Move locations and variances round by round, writing those before each step into ``before``.

    Returns:
        float64 (F, m) each, locations and variances at the end, and float64 (F, n), how many scales each step was off.
    """
    features = len(values)
    location = np.ascontiguousarray(old[:, HEAD : HEAD + features].T)
    variance = np.ascontiguousarray(old[:, HEAD + features :].T)
    least = ((rule.floor * rule.scale) ** 2)[:, None]
    count = np.minimum(seen + 1.0, float(rule.memory))
    learning = seen < rule.settle
    off = np.empty_like(values)
    scale, kept = np.sqrt(variance), np.empty_like(location, np.float32)
    start = 0
    for end in rounds.bounds:
        width, now = end - start, slice(start, end)
        here, spread, strayed = location[:, :width], scale[:, :width], off[:, now]
        before[HEAD : HEAD + features, now], before[HEAD + features :, now] = here, variance[:, :width]
        np.subtract(values[:, now], here, out=strayed)
        np.divide(strayed, spread, out=strayed)
        moved = np.maximum(strayed, -rule.clip)
        np.minimum(moved, rule.clip, out=moved)
        np.multiply(moved, spread, out=moved)
        # What is kept is float32, so that a restored node goes on exactly as one that was never away.
        kept[:, :width] = here + moved / count[now]
        location[:, :width] = kept[:, :width]
        if learning[now].any():
            usual = spread**2
            learned = np.maximum(usual + (moved**2 - usual) / count[now], least).astype(np.float32)
            np.copyto(variance[:, :width], learned, where=learning[now])
            scale[:, :width] = np.sqrt(variance[:, :width])
        start = end
    return location, variance, off


def _streak(streak: NDArray[np.float32], off: Floats, rule: BaselineRule) -> Floats:
    far = np.max(np.abs(off), axis=0) > rule.far
    return np.asarray(np.maximum(streak + np.where(far, 1.0, -CALM), 0.0), dtype=np.float64)


def _far(rule: BaselineRule, rounds: _Rounds, old: Floats, off: Floats) -> Floats:
    """Return the far steps of each node before each step, float64 (n,)."""
    moves = np.where(np.max(np.abs(off), axis=0) > rule.far, 1.0, -CALM)
    streak, found = old[:, 2].copy(), np.empty(len(moves))
    start = 0
    for end in rounds.bounds:
        here = streak[: end - start]
        found[start:end] = here
        np.maximum(here + moves[start:end], 0.0, out=here)
        start = end
    return found
