"""A node's own slow baseline: where each feature usually is, and how far it usually strays.

A cluster that the model never saw has its own latencies and load. So every node is measured against itself: a location
and a scale per feature, learned from its first window, moved slowly afterwards, and moved by at most a few scales a
step, so that a fault of minutes cannot drag it along. The scale of a node with little history leans on the scale of the
fleet that the model was trained on.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HEAD: Final = 2  # state: steps learned, anomalous steps; then locations and variances
CALM: Final = 5.0  # a normal step takes back this many anomalous ones


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """How baselines start and move.

    Attributes:
        scale: float64 (F,), the fleet's within-node standard deviation per feature, in transformed units.
        memory: steps that the baseline remembers; a new one learns faster until it has seen as many.
        prior_weight: steps of evidence that the fleet's scale is worth against the node's first window.
        clip: a step moves the baseline as if it strayed by at most this many scales (Huber's rule).
        floor: a node's scale never falls below this share of the fleet's.
        relearn: anomalous steps, less ``CALM`` for each normal one, after which the node's baseline starts afresh.
    """

    scale: Floats
    memory: int = 1000
    prior_weight: int = 100
    clip: float = 3.0
    floor: float = 0.3
    relearn: int = 900

    @property
    def state_width(self) -> int:
        """Numbers a node: steps learned, anomalous steps, then F locations and F variances."""
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
        head = np.tile([float(steps), 0.0], (len(window), 1))
        return np.concatenate([head, location, variance], axis=1)

    def split(self, state: Floats) -> tuple[Floats, Floats]:
        """Return the locations and scales, float64 (n, F) each, held in float64 (n, state_width)."""
        width = len(self.scale)
        return state[:, HEAD : HEAD + width], np.sqrt(state[:, HEAD + width :])

    def moved(self, state: Floats, window: Floats, anomalous: NDArray[np.bool_]) -> Floats:
        """Return the baselines after one more step.

        Args:
            state: float64 (n, state_width).
            window: float64 (n, steps, F), transformed values, the newest step last.
            anomalous: bool (n,), whether the newest step was.
        """
        step = window[:, -1]
        location, scale = self.split(state)
        count = np.minimum(state[:, :1] + 1.0, float(self.memory))
        streak = np.maximum(state[:, 1] + np.where(anomalous, 1.0, -CALM), 0.0)
        strayed = np.clip((step - location) / scale, -self.clip, self.clip) * scale
        variance = scale**2 + (strayed**2 - scale**2) / count
        variance = np.maximum(variance, (self.floor * self.scale) ** 2)
        moved = np.concatenate([count, streak[:, None], location + strayed / count, variance], axis=1)
        stuck = streak > self.relearn
        if stuck.any():
            moved[stuck] = self.start(window[stuck])
        return moved
