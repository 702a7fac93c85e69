"""When a high score is an alarm: it has to stand for two steps, and it ends soon after an incident does.

The score is the probability of the newest window alone. An odd minute or two make it jump, and after an incident it
takes minutes to fall, while what went wrong fades. Both are false alarms. So a window is judged together with those
that ended just before it, which are part of it: nothing has to be kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import NodeState
from features.batch import WindowBatch

Floats = NDArray[np.float64]
MOST_STEPS: Final = 17

Margins = Callable[[WindowBatch, NodeState], Floats]


@dataclass(frozen=True, slots=True)
class Decision:
    """How margins make a decision.

    The height of a step is the smallest margin of the ``agree`` steps that end with it. The decision is the height less
    ``fall`` times how far it is below the highest of the ``look_back`` steps before.

    Attributes:
        agree: steps, at least 1.
        look_back: steps, at least 0; with ``agree`` at most 17.
        fall: at least 0.
    """

    agree: int = 2
    look_back: int = 14
    fall: float = 3.0

    @property
    def steps(self) -> int:
        """Windows that one decision looks at: the newest, and those that ended just before it."""
        return self.look_back + self.agree

    def __post_init__(self) -> None:
        if self.agree < 1 or self.look_back < 0 or self.steps > MOST_STEPS or not self.fall >= 0.0:
            raise ValueError(
                f"decision: agree {self.agree} must be at least 1, look_back {self.look_back} and fall {self.fall} at "
                f"least 0, and agree and look_back together at most {MOST_STEPS}"
            )

    def of_margins(self, margins: Floats) -> Floats:
        """Return the decisions, float64 (n,), never above the newest margin.

        Args:
            margins: float64 (n, steps), the newest step's first.
        """
        height = np.lib.stride_tricks.sliding_window_view(margins, self.agree, axis=1).min(axis=2)
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
        return {"agree": self.agree, "look_back": self.look_back, "fall": self.fall}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild from ``to_dict``. Raises ``ValueError`` when the values cannot be."""
        try:
            agree, look_back, fall = int(values["agree"]), int(values["look_back"]), float(values["fall"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"parameters.decision needs agree, look_back and fall as numbers ({error})") from error
        return cls(agree, look_back, fall)
