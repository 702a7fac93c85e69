"""The features that made a score, for people."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.model import Floats
from schemas.outputs import Contribution

__all__ = ["ranked"]

TOP_FEATURES: Final = 5


def ranked(
    names: Sequence[str], share: Floats, value: NDArray[np.float32], low: Floats, high: Floats
) -> tuple[Contribution, ...]:
    """Return the features that made a window's score, the largest share first, at most ``TOP_FEATURES``.

    Args:
        names: of the F features.
        share: float64 (F,), of the score.
        value: float32 (F,), what was reported.
        low, high: float64 (F,), what was expected.
    """
    order = [int(i) for i in np.argsort(-share, kind="stable")[:TOP_FEATURES] if share[i] > 0.0]
    return tuple(
        Contribution(
            feature=names[i],
            share=round(float(share[i]), 4),
            value=float(value[i]),
            expected_low=round(float(low[i]), 4),
            expected_high=round(float(high[i]), 4),
        )
        for i in order
    )
