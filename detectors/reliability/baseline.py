"""A node's own slow baseline: where each field usually is and how far it usually strays, over about a day.

Kept as detector state, so a step costs the same however long the memory is, and a batch over a whole recording gives
the same numbers to the bit: every operation is element by element, in float32.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import NodeState
from detectors.rounds import rounds
from features.batch import WindowBatch

Array = NDArray[np.float32]

HEAD: Final = 1  # steps learned; then F locations and F scales
_CLIP: Final = np.float32(3.0)
_SPREAD: Final = np.float32(1.25)  # standard deviation by mean absolute deviation, of a normal distribution


@dataclass(frozen=True, slots=True)
class NodeBaseline:
    """How baselines start and move.

    A step moves the location by 1/n of its deviation and the scale by 1/n of what it strayed, n the steps learned, at
    most ``memory``; a deviation counts as three scales at most (Huber's rule), so an incident cannot drag it along.

    Attributes:
        floor: float32 (F,), what is too small to matter; a scale never falls below three tenths of it.
        memory: steps it remembers, 1,440 is a day of minutes.
    """

    floor: Array
    memory: int = 1_440

    def __post_init__(self) -> None:
        if self.memory < 1:
            raise ValueError(f"baseline memory {self.memory} must be at least 1 step")

    @property
    def width(self) -> int:
        """Numbers a node."""
        return HEAD + 2 * len(self.floor)

    def split(self, state: NodeState) -> tuple[Array, Array]:
        """Return the locations and scales, float32 (n, F) each, held in float32 (n, width)."""
        fields = len(self.floor)
        return state[:, HEAD : HEAD + fields], state[:, HEAD + fields :]

    def start(self, windows: WindowBatch) -> NodeState:
        """Learn the baselines of new nodes from the older steps of their first windows: float32 (n, width)."""
        steps = windows.tensor()[:, :-1]
        length = steps.shape[1]
        # Order statistics: an outlier in the first half hour is not what is usual.
        location = np.sort(steps, axis=1)[:, length // 2]
        scale = np.sort(np.abs(steps - location[:, None, :]), axis=1)[:, length // 2] * np.float32(1.4826)
        head = np.full((len(steps), HEAD), length, np.float32)
        return np.concatenate([head, location, np.maximum(scale, self._least)], axis=1)

    def moved(self, state: NodeState, step: Array) -> NodeState:
        """Return the baselines after one more step: float32 (n, width) of float32 (n, width) and (n, F)."""
        location, scale = self.split(state)
        count = np.minimum(state[:, :HEAD] + np.float32(1.0), np.float32(self.memory))
        limit = _CLIP * scale
        strayed = np.clip(step - location, -limit, limit)
        wider = np.maximum(scale + (_SPREAD * np.abs(strayed) - scale) / count, self._least)
        return np.concatenate([count, location + strayed / count, wider], axis=1)

    def advance(self, windows: WindowBatch, state: NodeState, node: NDArray[np.int64]) -> NodeState:
        """Move the nodes' baselines over the newest step of each window; see ``StatefulDetector.advance``."""
        before = np.empty((len(windows), self.width), np.float32)
        newest = windows.last()
        for part in rounds(node):
            mine = node[part]
            now = state[mine]
            fresh = np.flatnonzero(now[:, 0] == 0.0)
            if len(fresh):
                now[fresh] = self.start(windows.take(part[fresh]))
            before[part] = now
            state[mine] = self.moved(now, newest[part])
        return before

    @property
    def _least(self) -> Array:
        return np.float32(0.3) * self.floor
