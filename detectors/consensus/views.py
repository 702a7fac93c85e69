"""What is measured of a window: its newest step against the last ten, against the last twenty, and against a forecast.

All views are taken of steps relative to the node's own baseline, in scales. A view only looks backwards.
"""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RECENT: Final = 10  # steps of the short view: long enough to tell a burst from a fault, short enough to see one start
LONGER: Final = 20  # steps of the long view: of thirty, a fault would be told for half a minute after its end
FADE: Final = 0.9  # a burst of one second must not look like ten seconds of trouble
LAGS: Final = 3  # steps that a forecast looks back
BLOCKS: Final = 3  # of a summary: the newest step, mean and deviation of each feature


def fading(steps: int) -> Floats:
    """Return the weights of the last steps, float64 (steps,), of sum 1: each counts ``FADE`` of the one after it."""
    weights = FADE ** np.arange(steps - 1, -1, -1.0)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def summary(steps: Floats, weights: Floats) -> Floats:
    """Return the newest step, the mean and the deviation over the steps.

    Args:
        steps: float64 (n, steps, F), relative to their baselines: not far from 0, so that squares lose no digits.
        weights: float64 (steps,), how much each counts; they sum to 1.

    Returns:
        float64 (n, 3 F).
    """
    # Step after step: in one order whatever the number of windows, and over all windows at once.
    along, weight = np.ascontiguousarray(steps.swapaxes(0, 1)), weights[:, None, None]
    mean, square = (weight * along).sum(axis=0), (weight * (along * along)).sum(axis=0)
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
    return np.concatenate([steps[:, -1], mean, spread], axis=1)


def followed(steps: Floats) -> Floats:
    """Return each of the last ``RECENT`` steps behind the ``LAGS`` before it.

    Args:
        steps: float64 (n, RECENT + LAGS, F), oldest first, C-contiguous.

    Returns:
        float64 (n, RECENT, (LAGS + 1) F), oldest first; overlapping views, not to be written to.
    """
    n, _, features = steps.shape
    window, step, cell = steps.strides
    return as_strided(steps, (n, RECENT, (LAGS + 1) * features), (window, step, cell), writeable=False)
