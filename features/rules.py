"""The settings that decide what a window is; see docs/windows.md for the rules in words and drawings."""

from dataclasses import dataclass
from typing import Final

MAX_TS_MS: Final = 4_102_444_800_000
"""Event times lie in (0, 4102444800000): after 1970 and before 2100, so that no arithmetic on them can overflow."""

WATCHED_STEPS: Final = 10
"""Steps in a row, carried ones included, after which a node is known to report regularly."""
ALONE: Final = 3
"""How many times as long a single node must have reported on until its word is taken that another fell silent."""

_BOUNDS: Final = {
    "features": (1, 4096),
    "window": (1, 10_000),
    "step_ms": (1, 86_400_000),
    "gap_steps": (0, 1000),
    "late_steps": (0, 1000),
    "idle_ms": (1, MAX_TS_MS),
    "state_width": (0, 65_536),
    "silence_ms": (0, MAX_TS_MS),
    "resume_ms": (0, MAX_TS_MS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRules:
    """What decides which steps are accepted and which windows come out.

    Attributes:
        features: values in a step.
        window: steps in a window.
        step_ms: nominal milliseconds between two steps of a node.
        gap_steps: most missing steps in a row that are carried.
        late_steps: how many steps back a late step may still fill its hole.
        idle_ms: how far a partition's event time advances after a node's last accepted step until it is forgotten.
        state_width: float32 values of detector state kept for a node.
        silence_ms: longest silence of a node that is not told, see docs/silence.md; 0 tells none.
        resume_ms: after a gap too long to be carried, but not longer than this, the window goes on with the steps from
            before it; after a longer one it starts again.

    Raises:
        ValueError: when a setting is out of its range; the message names it, its value and the range.
    """

    features: int
    window: int
    step_ms: int
    gap_steps: int
    late_steps: int
    idle_ms: int
    state_width: int
    silence_ms: int = 0
    resume_ms: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must be in {low}..{high}")
        longest = self.longest_gap_ms
        if 0 < self.silence_ms < longest:
            raise ValueError(
                f"silence_ms is {self.silence_ms}: a gap that is carried (gap_steps={self.gap_steps}) is no silence; "
                f"it must be at least (gap_steps + 1) * step_ms = {longest}, or 0 to tell none"
            )
        if self.idle_ms < longest:
            raise ValueError(
                f"idle_ms is {self.idle_ms}: a node would be forgotten within a gap of gap_steps={self.gap_steps}; "
                f"it must be at least (gap_steps + 1) * step_ms = {longest}"
            )

    @property
    def longest_gap_ms(self) -> int:
        """Longest time between two steps after which the window goes on, milliseconds."""
        return (self.gap_steps + 1) * self.step_ms

    @property
    def depth(self) -> int:
        """Steps kept for a node: a window for each step that a late one may still replace, and for the newest."""
        return self.window + self.late_steps

    @property
    def head(self) -> int:
        """Stored steps that a node's timeline begins with: what a window needs besides its newest step, at least 1."""
        return max(self.window - 1, 1)

    @property
    def longest_jump_ms(self) -> int:
        """Longest move of a watermark that counts as time in which nodes reported."""
        return self.silence_ms // 2


@dataclass(frozen=True, slots=True)
class SilenceRules:
    """What decides that a node is silent, all in milliseconds of event time.

    Attributes:
        limit: longest silence that is not told.
        silent: since its last step, at which a node is silent: the step that ends the limit is missing, and the next.
        told: how far two other nodes have come when the silence is told before the node itself is back. Later by what a
            record may reach the partition later than those of others.
        lived: least time that others have reported meanwhile; without it the partition stood still, not the node.
        watched: steps in a row of a node that is watched.
    """

    limit: int
    silent: int
    told: int
    lived: int
    watched: int

    @classmethod
    def of(cls, rules: WindowRules) -> "SilenceRules":
        """Derive them from the store's rules."""
        limit = rules.silence_ms
        grace = max(rules.step_ms, limit // 6)
        silent = limit + rules.step_ms
        return cls(limit, silent, silent + grace, max(limit - grace, 1), min(WATCHED_STEPS, rules.window))
