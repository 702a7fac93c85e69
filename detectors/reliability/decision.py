"""When a high score is an alarm: it has to stand for two steps, and it ends soon after an incident does.

The score is the probability of the newest window alone. A single odd minute makes it jump, and after an incident it
takes minutes to fall, while what went wrong fades. Both are false alarms. So a window is judged together with those
that ended just before it, which are part of it: nothing has to be kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import NodeState
from features.batch import WindowBatch

Floats = NDArray[np.float64]
Margins = Callable[[WindowBatch, NodeState], Floats]


@dataclass(frozen=True, slots=True)
class Decision:
    """How margins make a decision.

    The height of a step is the smaller margin of its own and the step before. The decision is the height less ``fall``
    times how far it is below the highest of the ``look_back`` steps before.

    Attributes:
        look_back: steps, at least 0.
        fall: at least 0.
    """

    look_back: int = 14
    fall: float = 2.0

    @property
    def steps(self) -> int:
        """Windows that one decision looks at: the newest, and those that ended just before it."""
        return self.look_back + 2

    def __post_init__(self) -> None:
        if not 0 <= self.look_back <= 15 or not self.fall >= 0.0:
            raise ValueError(f"decision: look_back {self.look_back} must be in 0..15 and fall {self.fall} at least 0")

    def of_margins(self, margins: Floats) -> Floats:
        """Return the decisions, float64 (n,), never above the newest margin.

        Args:
            margins: float64 (n, look_back + 2), the newest step's first.
        """
        height = np.minimum(margins[:, :-1], margins[:, 1:])
        highest = height.max(axis=1)
        return np.asarray(height[:, 0] - self.fall * (highest - height[:, 0]), np.float64)

    def of_windows(self, windows: WindowBatch, before: NodeState, margins: Margins) -> Floats:
        """Return the decisions on windows, float64 (n,).

        An earlier step is judged by the part of the window that ends there, against the same baseline.

        Args:
            windows: n windows.
            before: float32 (n, state_width), as for ``Detector.score``.
            margins: gives the margins of windows, also of shorter ones.
        """
        earlier = [
            margins(replace(windows, length=windows.length - back, ends=windows.ends - back), before)
            for back in range(self.steps)
        ]
        return self.of_margins(np.column_stack(earlier))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the artefact's metadata."""
        return {"look_back": self.look_back, "fall": self.fall}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from ``to_dict``. Raises ``ValueError`` when the values cannot be."""
        try:
            look_back, fall = int(values["look_back"]), float(values["fall"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"parameters.decision needs look_back and fall as numbers ({error})") from error
        return cls(look_back, fall)
