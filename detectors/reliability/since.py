"""What a node went through since its last event: counts beyond the window, in O(1) a step.

An event is a step at which several fields are far off at once; an episode is a run of events with short pauses between
them. These features are candidates: ``trials`` measures what they are worth (docs/evaluation/reliability.md), the
shipped plan has none of them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.protocol import NodeState
from detectors.rounds import rounds

Array = NDArray[np.float32]

EVENT: Final = 3
"""Fields at least two scales off that make a step an event."""
PAUSE: Final = 30
"""Quiet steps after which an episode is over."""
LONGEST: Final = 1_440.0
"""Steps that are counted at most."""
HEAD: Final = 4
"""steps since the last event, steps since the episode began, events in it, steps between it and the one before; then
what each counting field summed up to since it began."""


@dataclass(frozen=True, slots=True)
class SinceEvent:
    """The counts.

    Attributes:
        counting: places of the fields that are counts of failures, C of them.
    """

    counting: tuple[int, ...]

    @property
    def width(self) -> int:
        """Numbers a node, and features: ``HEAD`` and one a counting field."""
        return HEAD + len(self.counting)

    def start(self, nodes: int) -> NodeState:
        """Return the state of nodes that never had an event: float32 (nodes, width)."""
        state = np.zeros((nodes, self.width), np.float32)
        state[:, [0, 1, 3]] = LONGEST
        return state

    def advance(self, off: Array, newest: Array, state: NodeState, node: NDArray[np.int64]) -> Array:
        """Move the states over n steps and return the features after each: float32 (n, width).

        Args:
            off: float32 (n, F), how far each field is off its node's baseline, in scales, bad upwards.
            newest: float32 (n, F), the steps.
            state: float32 (m, width), changed in place.
            node: int64 (n,), row of ``state`` of each step's node, a node's steps in order.
        """
        event = np.count_nonzero(off > np.float32(2.0), axis=1) >= EVENT
        counts = np.maximum(newest[:, list(self.counting)], np.float32(0.0))
        found = np.empty((len(off), self.width), np.float32)
        for part in rounds(node):
            state[node[part]] = found[part] = self._moved(state[node[part]], event[part], counts[part])
        return found

    def _moved(self, state: NodeState, event: NDArray[np.bool_], counts: Array) -> NodeState:
        quiet, age, events, apart = (state[:, place] for place in range(HEAD))
        begins = event & (quiet >= PAUSE)
        lasts = (events > 0.0) & (quiet < PAUSE)
        now = np.empty_like(state)
        now[:, 0] = np.where(event, np.float32(0.0), quiet + np.float32(1.0))
        now[:, 1] = np.where(begins, np.float32(0.0), age + np.float32(1.0))
        now[:, 2] = np.where(begins, np.float32(0.0), events) + event
        now[:, 3] = np.where(begins, quiet, apart)
        carried = np.where(begins[:, None], np.float32(0.0), state[:, HEAD:])
        now[:, HEAD:] = carried + np.where((begins | lasts)[:, None], counts, np.float32(0.0))
        return np.minimum(now, np.float32(LONGEST))
