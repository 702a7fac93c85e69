"""What is measured of a window: its newest step against the last ten, against the last thirty, and against a forecast.

All views are taken of steps relative to the node's own baseline, in scales. A view only looks backwards.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RECENT: Final = 10  # steps of the short view: long enough to tell a burst from a fault, short enough to see one start
LAGS: Final = 3  # steps that a forecast looks back
PARTS: Final = 3  # of each feature in a view: its newest step, mean and deviation


def summary(steps: Floats) -> Floats:
    """Return the newest step, the mean and the deviation over the steps.

    Args:
        steps: float64 (n, steps, F).

    Returns:
        float64 (n, 3 F).
    """
    mean = np.mean(steps, axis=1)
    spread = np.sqrt(np.mean((steps - mean[:, None, :]) ** 2, axis=1))
    return np.concatenate([steps[:, -1], mean, spread], axis=1)


def lagged(steps: Floats) -> Floats:
    """Return what the forecasts of the last ``RECENT`` steps are made from.

    Args:
        steps: float64 (n, steps, F) with at least ``RECENT + LAGS`` steps.

    Returns:
        float64 (n, RECENT, LAGS F + 1): the ``LAGS`` steps before each, newest first, and 1.
    """
    count = steps.shape[1]
    before = [steps[:, count - RECENT - lag : count - lag] for lag in range(1, LAGS + 1)]
    return np.concatenate([*before, np.ones((len(steps), RECENT, 1))], axis=2)
