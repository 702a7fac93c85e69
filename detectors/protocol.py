"""The seam between windows and verdicts: what every detector can do, and when a window is anomalous."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from features.batch import WindowBatch
from schemas.outputs import Contribution

Scores: TypeAlias = NDArray[np.float64]
NodeState: TypeAlias = NDArray[np.float32]


class Detector(Protocol):
    """Windows in, scores out; a window is anomalous when its score passes the threshold, see ``flag``.

    A window's score depends on nothing but the window (and, for a detector with ``state_width > 0``, on the node's own
    state): not on the batch it happens to be in, not on the number of threads. Implementations therefore score in tiles
    of one fixed shape (``detectors.tiles``).

    Attributes:
        name: what settings and anomalies call it.
        version: of the artefact, derived from all that decides a verdict.
        fields: the stream's features it takes, in order.
        window: steps in a window.
        threshold: scores of anomalous windows are greater.
        levels: scores above which an anomaly is a warning, and critical; both at least the threshold.
        state_width: float32 numbers a node that the detector keeps between steps; 0 for none.
    """

    name: str
    version: str
    fields: tuple[str, ...]
    window: int
    threshold: float
    levels: tuple[float, float]
    state_width: int

    def score(self, windows: WindowBatch, before: NodeState | None = None) -> Scores:
        """Score each window, larger is more anomalous.

        Args:
            windows: n windows of ``window`` steps and ``len(fields)`` features.
            before: float32 (n, state_width), each node's state before the window's newest step, as ``advance`` gives
                it; ``None`` for a detector without state.

        Returns:
            float64 (n,), finite.
        """
        ...

    def contributions(self, windows: WindowBatch, before: NodeState | None = None) -> list[tuple[Contribution, ...]]:
        """Say which features made each window's score, largest share first.

        Args:
            windows: n flagged windows.
            before: as for ``score``.

        Returns:
            n tuples; the shares of one window sum to at most 1.
        """
        ...

    def save(self, directory: Path) -> None:
        """Write the artefact: metadata, weights, checksums. Raises ``ArtefactError`` when it cannot be written."""
        ...

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read an artefact back. Raises ``ArtefactError`` when a file is missing, changed or belongs to another."""
        ...


class StatefulDetector(Detector, Protocol):
    """A detector that keeps a state a node: its ``state_width`` is greater than 0."""

    def prime(self, keys: Sequence[str]) -> NodeState:
        """Return the states that nodes begin with, float32 (n, state_width); all zeros for a node not known.

        Args:
            keys: n node ids (or link keys).
        """
        ...

    def advance(self, windows: WindowBatch, state: NodeState, node: NDArray[np.int64]) -> NodeState:
        """Move the nodes' states over the newest step of each window, one after another.

        Args:
            windows: n windows, each node's in order.
            state: float32 (m, state_width), the states of the m nodes, updated in place.
            node: int64 (n,), each window's node as a place in ``state``.

        Returns:
            float32 (n, state_width), the state of each window's node before its newest step.
        """
        ...


@runtime_checkable
class Confirming(Protocol):
    """A detector that looks twice: a score above the threshold is an anomaly only where the window bears it out."""

    def confirm(self, windows: WindowBatch, before: NodeState | None = None) -> NDArray[np.bool_]:
        """Say which windows are anomalous, bool (n,); like a score, each depends on its own window and state alone.

        Args:
            windows: n windows whose scores are above the threshold.
            before: as for ``Detector.score``.
        """
        ...


@runtime_checkable
class Classifier(Protocol):
    """A detector that can also tell the class of some anomalies; those of others have none."""

    def classify(self, windows: WindowBatch, before: NodeState | None = None) -> list[tuple[str | None, float | None]]:
        """Tell each anomaly's class and the confidence in it, 0 to 1; both ``None`` when it cannot be told.

        Args:
            windows: n flagged windows.
            before: as for ``Detector.score``.
        """
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """A detector that can also tell of some anomalies when the incident they announce is to be expected."""

    def expected_in(self, windows: WindowBatch, before: NodeState | None = None) -> list[tuple[float, float] | None]:
        """Tell in how many minutes each anomaly's incident is expected, from and to; ``None`` when it cannot be told.

        Args:
            windows: n flagged windows.
            before: as for ``Detector.score``.
        """
        ...


class Expected(NamedTuple):
    """What was expected of windows, in the fields' units; NaN for fields that a detector does not measure.

    Attributes:
        low, high: float64 (n, window, F), the range in which a value is as usual.
        usual: float64 (n, window, F), the middle of it.
    """

    low: Scores
    usual: Scores
    high: Scores


@runtime_checkable
class Expecting(Protocol):
    """A detector that can also say of every step of a window what was expected there, as its contributions do."""

    def expected(self, windows: WindowBatch, before: NodeState | None = None) -> Expected:
        """Say what was expected of each step of each window.

        Args:
            windows: n windows.
            before: as for ``Detector.score``.
        """
        ...


def flag(
    detector: Detector, windows: WindowBatch, scores: Scores, before: NodeState | None = None
) -> NDArray[np.bool_]:
    """Return which windows are anomalous, bool (n,): the score is above the threshold, and confirmed where it is asked.

    Args:
        detector: whose scores they are.
        windows: n windows.
        scores: float64 (n,), of ``detector.score``.
        before: what was given to ``detector.score``.
    """
    flagged = np.asarray(scores > detector.threshold, dtype=np.bool_)
    high = np.flatnonzero(flagged)
    if len(high) and isinstance(detector, Confirming):
        flagged[high] = detector.confirm(windows.take(high), None if before is None else before[high])
    return flagged
