"""A node's own slow baseline: where each feature usually is, and how far it usually strays.

A cluster that the model never saw has its own latencies and load. So every node is measured against itself: a location
and a scale per feature, learned from its first window, moved slowly afterwards, and moved by at most a few scales a
step, so that a fault of minutes cannot drag it along. The scale of a node with little history leans on the scale of the
fleet that the model was trained on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """How baselines start and move.

    Attributes:
        scale: float64 (F,), the fleet's within-node standard deviation per feature, in transformed units.
        memory: steps that the baseline remembers; a new one learns faster until it has seen as many.
        prior_weight: steps of evidence that the fleet's scale is worth against the node's first window.
        clip: a step moves the baseline as if it strayed by at most this many scales (Huber's rule).
        floor: a node's scale never falls below this share of the fleet's.
    """

    scale: Floats
    memory: int = 1000
    prior_weight: int = 100
    clip: float = 3.0
    floor: float = 0.3

    @property
    def state_width(self) -> int:
        """Numbers a node: the count of steps learned, then F locations and F variances."""
        return 1 + 2 * len(self.scale)

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
        count = np.full((len(window), 1), float(steps))
        return np.concatenate([count, location, variance], axis=1)

    def split(self, state: Floats) -> tuple[Floats, Floats]:
        """Return the locations and scales, float64 (n, F) each, held in float64 (n, state_width)."""
        width = len(self.scale)
        return state[:, 1 : 1 + width], np.sqrt(state[:, 1 + width :])

    def moved(self, state: Floats, step: Floats) -> Floats:
        """Return the baselines after one more step.

        Args:
            state: float64 (n, state_width).
            step: float64 (n, F), transformed values of the newest step.
        """
        location, scale = self.split(state)
        count = np.minimum(state[:, :1] + 1.0, float(self.memory))
        strayed = np.clip((step - location) / scale, -self.clip, self.clip) * scale
        variance = scale**2 + (strayed**2 - scale**2) / count
        variance = np.maximum(variance, (self.floor * self.scale) ** 2)
        return np.concatenate([count, location + strayed / count, variance], axis=1)
