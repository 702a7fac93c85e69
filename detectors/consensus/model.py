"""The arithmetic of the detector: transform, deviations from the baseline, Mahalanobis distance."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.baseline import BaselineRule

Floats = NDArray[np.float64]
PARTS: Final = 3  # of each feature: its newest step, and its mean and deviation over the last steps


@dataclass(frozen=True, slots=True)
class ConsensusModel:
    """Everything that decides a score.

    Attributes:
        columns: int64 (F,), which of the stream's features are used.
        log: bool (F,), those measured on a log1p scale.
        rule: how a node's baseline starts and moves.
        recent: steps over which the recent mean and deviation are taken.
        centre: float64 (3 F,), the usual value of the deviations.
        spread: float64 (3 F,), their standard deviation.
        whitening: float64 (3 F, 3 F), W with W Wᵀ the inverse covariance: it gives standardised vectors unit covariance.
    """

    columns: NDArray[np.int64]
    log: NDArray[np.bool_]
    rule: BaselineRule
    recent: int
    centre: Floats
    spread: Floats
    whitening: Floats

    def transformed(self, rows: NDArray[Any]) -> Floats:
        """Return the used features of raw rows (..., all features) on their scale, float64 (..., F)."""
        used = rows[..., self.columns].astype(np.float64)
        return np.asarray(np.where(self.log, np.log1p(np.maximum(used, 0.0)), used), dtype=np.float64)

    def restored(self, values: Floats) -> Floats:
        """Undo ``transformed``: float64 (..., F) back to the features' own units."""
        return np.asarray(np.where(self.log, np.expm1(values), values), dtype=np.float64)

    def deviations(self, recent: Floats, state: Floats) -> Floats:
        """Measure the last steps against the node's baseline.

        Args:
            recent: float64 (n, recent, F), transformed, oldest first.
            state: float64 (n, state_width).

        Returns:
            float64 (n, 3 F): the newest step, the mean and the deviation of the recent ones, in scales of the node.
        """
        return deviations(self.rule, recent, state)

    def standardised(self, deviations: Floats) -> Floats:
        """Return the deviations less their usual value in units of their usual spread, float64 (n, 3 F)."""
        return (deviations - self.centre) / self.spread

    def distances(self, deviations: Floats) -> Floats:
        """Return the Mahalanobis distances, float64 (n,), divided by the root of the dimension: about 1 when normal."""
        whitened = self.standardised(deviations) @ self.whitening
        return np.sqrt(np.mean(whitened**2, axis=1))


def deviations(rule: BaselineRule, recent: Floats, state: Floats) -> Floats:
    """See ``ConsensusModel.deviations``; apart, because fitting needs it before there is a model."""
    location, scale = rule.split(state)
    relative = (recent - location[:, None, :]) / scale[:, None, :]
    mean = np.mean(relative, axis=1)
    spread = np.sqrt(np.mean((relative - mean[:, None, :]) ** 2, axis=1))
    return np.concatenate([relative[:, -1], mean, spread], axis=1)
