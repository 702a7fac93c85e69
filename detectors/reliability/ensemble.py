"""Trees grown on a fleet's own incidents, leaning on trees that knew many incidents of other fleets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.trees import Trees, margins, shap_values


@dataclass(frozen=True, slots=True)
class Ensemble:
    """What a margin is made of.

    Attributes:
        own: trees of the fleet's own incidents.
        prior: trees of earlier training over the same features, ``None`` for none.
        weight: share of the prior in the margin, 0 to 1.
    """

    own: Trees
    prior: Trees | None = None
    weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < 1.0 or (self.prior is None) != (self.weight == 0.0):
            raise ValueError(f"prior weight {self.weight} must be in [0, 1), and 0 exactly without a prior")

    def margins(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the margins of rows of features: float64 (n,)."""
        own = margins(self.own, features)
        if self.prior is None:
            return own
        return (1.0 - self.weight) * own + self.weight * margins(self.prior, features)

    def shap_values(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the exact SHAP values of the margins: float64 (n, width)."""
        own = shap_values(self.own, features)
        if self.prior is None:
            return own
        return (1.0 - self.weight) * own + self.weight * shap_values(self.prior, features)
