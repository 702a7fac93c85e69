"""The class of an anomaly, told by written rules; what fits no rule clearly stays unknown.

A rule names what its class does to a member's telemetry: levels of a few pieces of evidence, each with the value at
which it begins to speak for the class and the one at which it fully does. A rule is as strong as its weakest piece, a
class as its strongest rule. Confidence follows from how far the best class is ahead of the next one, or of ``DOUBT``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.tiles import apply_tiled

Floats = NDArray[np.float64]
Named = tuple[str | None, float | None]

FIELDS: Final = (
    "queue_depth", "proposals_pending", "proposals_committed", "latency_p50", "latency_p95", "latency_p99",
    "leader_changes", "quorum_size", "active_nodes",
)  # fmt: skip
QUEUE, PENDING, COMMITTED, P50, P95, P99, CHANGES, QUORUM, ACTIVE = range(len(FIELDS))
RECENT: Final = 10  # steps that are looked at
QUIET: Final = 2  # place of the level, among the recent steps from the calmest on, that stalls are measured against
OFF: Final = 5.0  # scales; a step with a field further than this from its baseline belongs to the anomaly
DOUBT: Final = 0.3  # strength that a class must beat
MIN_CONFIDENCE: Final = 0.5  # below this, a name is a guess: none is given
UNKNOWN: Final[Named] = (None, None)
TILE: Final = 64  # windows


@dataclass(frozen=True, slots=True)
class Rule:
    """One way a class shows itself.

    Attributes:
        kind: the class.
        signs: by piece of evidence: the value that says nothing for the class yet, and the one that fully does (the
            smaller of the two may come second).
    """

    kind: str
    signs: Mapping[str, tuple[float, float]]

    def strength(self, evidence: Mapping[str, Floats]) -> Floats:
        """Return how well windows fit the rule, float64 (n,), 0 to 1."""
        levels = [(evidence[name] - low) / (high - low) for name, (low, high) in self.signs.items()]
        return np.asarray(np.clip(np.min(levels, axis=0), 0.0, 1.0), dtype=np.float64)


RULES: Final = (
    # Too few members to decide: a plain fact, and whatever else is seen follows from it.
    Rule("quorum_loss", {"short_steps": (0.0, 1.0)}),
    # Elections that each stop the commits for as long as an election takes.
    Rule("leader_election_storm", {
        "short_steps": (1.0, 0.0), "missing": (0.7, 0.35), "changes": (0.0, 1.5), "stall_at_change": (1.2, 2.0),
        "commit_dip": (-0.05, -0.4),
    }),
    # The same where elections that failed are not counted: commits stop and go.
    Rule("leader_election_storm", {
        "short_steps": (1.0, 0.0), "missing": (0.7, 0.35), "stalls": (0.5, 3.0), "share": (1.1, 0.8),
    }),
    # More is committed than ever, steadily, because more is asked for.
    Rule("queue_overflow", {
        "short_steps": (1.0, 0.0), "missing": (0.7, 0.35), "commit": (0.4, 0.75), "commit_jump": (0.45, 0.2),
        "steps": (1.0, 5.0),
    }),
    Rule("queue_overflow", {
        "short_steps": (1.0, 0.0), "missing": (0.7, 0.35), "commit": (0.4, 0.75), "commit_jump": (0.45, 0.2),
        "p50": (0.15, 0.4),
    }),
    # Every request takes longer by a delay, about as many are committed, and queues are what the delay explains.
    Rule("network_congestion", {
        "short_steps": (1.0, 0.0), "missing": (0.7, 0.35), "p50": (0.8, 1.5), "p50_ms": (25.0, 75.0),
        "share": (0.5, 0.9), "steps": (0.0, 2.0), "commit": (-0.7, -0.35), "commit_top": (1.0, 0.6),
        "changes": (2.0, 1.0), "queue_unexplained": (1.4, 0.7),
    }),
    # A delay that is the same for all requests brings the quantiles closer to each other.
    Rule("network_congestion", {
        "short_steps": (1.0, 0.0), "missing": (0.7, 0.35), "p50": (1.0, 2.0), "tail": (-0.05, -0.3),
        "share": (0.5, 0.9), "steps": (0.0, 2.0), "commit": (-0.7, -0.35), "commit_top": (1.0, 0.6),
        "changes": (2.0, 1.0), "queue_unexplained": (1.4, 0.7),
    }),
    # Votes are taken again: proposals pend longer than latency explains and more than they queue, fewer are committed.
    Rule("byzantine_attack", {
        "short_steps": (1.0, 0.0), "missing": (0.7, 0.35), "pending": (0.4, 0.9), "pending_unexplained": (0.4, 0.9),
        "pending_over_queue": (0.0, 0.3), "p50": (0.9, 0.6), "stall_at_change": (2.2, 1.5), "commit": (0.1, -0.1),
        "steps": (0.0, 3.0), "stalls": (3.0, 1.0),
    }),
    # A liar's own count of commits jumps up and down while its clients notice little.
    Rule("byzantine_attack", {
        "short_steps": (1.0, 0.0), "missing": (0.7, 0.35), "commit_jump": (0.15, 0.4), "p50": (0.6, 0.3),
        "pending_over_queue": (0.0, 0.3), "stall_at_change": (2.2, 1.5), "steps": (0.0, 3.0), "stalls": (3.0, 1.0),
    }),
)  # fmt: skip
KINDS: Final = tuple(dict.fromkeys(rule.kind for rule in RULES))


MARGINS: Final = (0.05, 0.15, 0.25, 0.4, 0.6)
CONFIDENCE: Final[Mapping[str, tuple[float, ...]]] = {
    "quorum_loss": (0.5, 0.5, 0.5, 0.5, 0.995),
    "leader_election_storm": (0.274, 0.542, 0.613, 0.613, 0.96),
    "queue_overflow": (0.457, 0.561, 0.749, 0.833, 0.987),
    "network_congestion": (0.886, 0.886, 0.895, 0.943, 0.979),
    "byzantine_attack": (0.457, 0.806, 0.806, 0.873, 0.98),
}
"""By class: how often simulated faults named at each of the ``MARGINS`` were of it, linear between them. Fitted by
``python -m vigil.training.kinds --fit``."""


def columns_of(fields: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the places of ``FIELDS`` among a model's features, int64 (9,); ``None`` when one is missing."""
    if not set(FIELDS) <= set(fields):
        return None
    return np.array([list(fields).index(name) for name in FIELDS], dtype=np.int64)


def strengths(raw: Floats, relative: Floats, usual: Floats) -> Floats:
    """Return how well each class fits each window, float64 (n, len(KINDS)), 0 to 1; the same to the bit in any batch.

    Args:
        raw: float64 (n, RECENT, 9), the newest steps of windows in the fields' units, in the order of ``FIELDS``.
        relative: the same steps relative to the node's baseline, in its scales.
        usual: float64 (n, 9), the node's usual values, in the fields' units.
    """
    size = RECENT * len(FIELDS)
    packed = np.concatenate([raw.reshape(-1, size), relative.reshape(-1, size), usual], axis=1)
    return np.asarray(apply_tiled(_tile_strengths, packed, TILE), dtype=np.float64)


def name_kinds(strength: Floats) -> list[Named]:
    """Name the class of each window and the confidence in it, ``UNKNOWN`` below ``MIN_CONFIDENCE``.

    Args:
        strength: float64 (n, len(KINDS)), as ``strengths`` gives them.
    """
    best, margin = decided(strength)
    return [_named(KINDS[place], ahead) for place, ahead in zip(best.tolist(), margin.tolist(), strict=True)]


def decided(strength: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the best class of each window, int64 (n,), and how far it is ahead of the next, or of ``DOUBT``."""
    order = np.argsort(-strength, axis=1, kind="stable")
    first, second = (np.take_along_axis(strength, order[:, place : place + 1], axis=1)[:, 0] for place in (0, 1))
    return order[:, 0], first - np.maximum(second, DOUBT)


def _named(kind: str, margin: float) -> Named:
    confidence = round(float(np.interp(margin, MARGINS, CONFIDENCE[kind])), 4)
    return (kind, confidence) if margin > 0.0 and confidence >= MIN_CONFIDENCE else UNKNOWN


def evidence(raw: Floats, relative: Floats, usual: Floats) -> dict[str, Floats]:
    """Measure what rules look at, float64 (n,) each.

    Levels are logarithms of a value by the node's usual one, averaged over the steps that are off.

    Args:
        raw: float64 (n, RECENT, 9), the newest steps of windows in the fields' units, in the order of ``FIELDS``.
        relative: the same steps relative to the node's baseline, in its scales.
        usual: float64 (n, 9), the node's usual values, in the fields' units.
    """
    ratio = np.log1p(np.maximum(raw, 0.0)) - np.log1p(np.maximum(usual, 0.0))[:, None, :]
    short = raw[..., ACTIVE] < raw[..., QUORUM]
    off = short | (np.max(np.abs(np.delete(relative, QUORUM, axis=2)), axis=2) > OFF)
    off[:, -1] |= ~off.any(axis=1)
    count = off.sum(axis=1)

    def mean(values: Floats) -> Floats:
        return np.asarray(np.sum(values * off, axis=1) / count, dtype=np.float64)

    commits = ratio[..., COMMITTED]
    level = {field: mean(ratio[..., place]) for place, field in enumerate(FIELDS)}
    explained = np.exp(level["latency_p50"] + np.minimum(level["proposals_committed"], 0.0))
    changed = raw[..., CHANGES] > 0
    # Against the quieter steps of the same window: what is slow all the time does not stop and go.
    calm = np.sort(ratio[..., P99], axis=1)[:, QUIET, None], np.sort(commits, axis=1)[:, -1 - QUIET, None]
    stalled = (ratio[..., P99] > calm[0] + 1.0) & (commits < calm[1] - 0.25)
    both = off[:, 1:] & off[:, :-1]
    excess = mean(raw[..., PENDING]) - usual[:, PENDING], mean(raw[..., QUEUE]) - usual[:, QUEUE]
    more = [np.log(np.maximum(each, 0.0) + 0.5) for each in excess]
    return {
        "short_steps": short.sum(axis=1).astype(np.float64),
        "missing": usual[:, ACTIVE] - np.mean(raw[:, -3:, ACTIVE], axis=1),
        "changes": raw[..., CHANGES].sum(axis=1),
        "stall_at_change": np.sum(changed * ratio[..., P99], axis=1) / np.maximum(changed.sum(axis=1), 1),
        "stalls": stalled.sum(axis=1).astype(np.float64),
        "commit": level["proposals_committed"],
        "commit_dip": np.min(commits, axis=1),
        "commit_top": np.max(commits, axis=1),
        "commit_jump": np.sum(np.abs(np.diff(commits, axis=1)) * both, axis=1) / np.maximum(both.sum(axis=1), 1),
        "p50": level["latency_p50"],
        "p50_ms": mean(raw[..., P50]) - usual[:, P50],
        "tail": level["latency_p95"] - level["latency_p50"],
        "pending": level["proposals_pending"],
        "queue_unexplained": _unexplained(mean(raw[..., QUEUE]), usual[:, QUEUE], explained),
        "pending_unexplained": _unexplained(mean(raw[..., PENDING]), usual[:, PENDING], explained),
        "pending_over_queue": more[0] - more[1],
        "share": count / (RECENT - np.argmax(off, axis=1)),
        "steps": count.astype(np.float64),
    }


def _unexplained(now: Floats, usual: Floats, explained: Floats) -> Floats:
    """Log of what waits by what Little's law has waiting at the present latency and throughput."""
    return np.asarray(np.log((now + 1.0) / (usual * explained + 1.0)), dtype=np.float64)


def _tile_strengths(packed: Floats) -> Floats:
    size, shape = RECENT * len(FIELDS), (-1, RECENT, len(FIELDS))
    raw, relative = packed[:, :size].reshape(shape), packed[:, size : 2 * size].reshape(shape)
    found = evidence(raw, relative, packed[:, 2 * size :])
    by_kind = [np.max([rule.strength(found) for rule in RULES if rule.kind == kind], axis=0) for kind in KINDS]
    return np.stack(by_kind, axis=1)
