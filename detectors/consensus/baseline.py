"""A node's own slow baseline: where each feature usually is, and how far it usually strays.

A cluster that the model never saw has its own latencies and load. So every node is measured against itself: a location
and a scale per feature, learned from its first window, moved slowly afterwards, and moved by at most a few scales a
step, so that a fault of minutes cannot drag it along. The scale of a node with little history leans on the scale of the
fleet that the model was trained on, and settles: a fault must not widen it. A change that stays (a new quorum size,
another machine) is learned anew once the node has been far off for long: an alarm that never ends says nothing more.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HEAD: Final = 3  # state: which model, steps learned, far steps; then locations and variances
FLEET: Final = 0.0  # the model of nodes that training did not know
CALM: Final = 5.0  # another step takes back this many far ones


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """How baselines start and move.

    Attributes:
        scale: float64 (F,), the fleet's within-node standard deviation per feature, in transformed units.
        memory: steps that the baseline remembers; a new one learns faster until it has seen as many.
        settle: steps after which a node's scales stay as they are.
        prior_weight: steps of evidence that the fleet's scale is worth against the node's first window.
        clip: a step moves the baseline as if it strayed by at most this many scales (Huber's rule).
        floor: a node's scale never falls below this share of the fleet's.
        far: scales; a step with a feature further than this from its location is a far one.
        relearn: far steps, less ``CALM`` for each other one, after which the node's baseline starts afresh.
    """

    scale: Floats
    memory: int = 10_000
    settle: int = 1000
    prior_weight: int = 100
    clip: float = 3.0
    floor: float = 0.3
    far: float = 6.0
    relearn: int = 10_000

    @property
    def state_width(self) -> int:
        """Numbers a node: which model, steps learned, far steps, then F locations and F variances."""
        return HEAD + 2 * len(self.scale)

    def start(self, window: Floats) -> Floats:
        """Learn the baselines of new nodes from their first windows.

        Args:
            window: float64 (n, steps, F), transformed values.

        Returns:
            float64 (n, state_width).
        """
        steps = window.shape[1]
        location = np.median(window, axis=1)
        strayed = np.clip((window - location[:, None, :]) / self.scale, -self.clip, self.clip) * self.scale
        own = np.mean(strayed**2, axis=1)
        variance = (self.prior_weight * self.scale**2 + steps * own) / (self.prior_weight + steps)
        head = np.tile([FLEET, float(steps), 0.0], (len(window), 1))
        return np.concatenate([head, location, variance], axis=1)

    def known(self, model: int, location: Floats) -> Floats:
        """Return the settled baseline of a node that training knew.

        Args:
            model: the number of the node's own model.
            location: float64 (F,), its usual values in training.

        Returns:
            float64 (state_width,).
        """
        return np.concatenate([[float(model), float(self.memory), 0.0], location, self.scale**2])

    def split(self, state: Floats) -> tuple[Floats, Floats]:
        """Return the locations and scales, float64 (n, F) each, held in float64 (n, state_width)."""
        width = len(self.scale)
        # Contiguous, so that what is computed with it runs over nodes and features at once.
        return np.ascontiguousarray(state[:, HEAD : HEAD + width]), np.sqrt(state[:, HEAD + width :])

    def relative(self, window: Floats, state: Floats) -> Floats:
        """Return steps relative to their node's baseline, in its scales, float64 (n, steps, F)."""
        location, scale = self.split(state)
        return (window - location[:, None, :]) / scale[:, None, :]

    def goes_on(self, state: NDArray[Any], windows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which baselines neither start nor start afresh within so many steps, bool (m,).

        Args:
            state: (m, state_width).
            windows: int64 (m,), steps to come of each.
        """
        return np.asarray((state[:, 1] > 0.0) & (state[:, 2] + windows <= self.relearn), dtype=np.bool_)

    def moved(self, state: Floats, step: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the baselines after one more step, and which of them are due to start afresh.

        Only exact operations (no sums over many, no library functions), so that a baseline does not depend on how many
        nodes move at once.

        Args:
            state: float64 (n, state_width).
            step: float64 (n, F), transformed values of the newest step.

        Returns:
            float64 (n, state_width); bool (n,).
        """
        location, scale = self.split(state)
        count = np.minimum(state[:, 1:2] + 1.0, float(self.memory))
        off = (step - location) / scale
        far = np.max(np.abs(off), axis=1) > self.far
        streak = np.maximum(state[:, 2] + np.where(far, 1.0, -CALM), 0.0)
        strayed = np.clip(off, -self.clip, self.clip) * scale
        learned = np.maximum(scale**2 + (strayed**2 - scale**2) / count, (self.floor * self.scale) ** 2)
        variance = np.where(state[:, 1:2] < self.settle, learned, state[:, HEAD + location.shape[1] :])
        head = np.concatenate([state[:, :1], count, streak[:, None]], axis=1)
        return np.concatenate([head, location + strayed / count, variance], axis=1), streak > self.relearn
