"""The arithmetic of the detector: transform, views of a window, parts, and their common score."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.baseline import BaselineRule
from detectors.consensus.bursts import JUDGED, LASTING, lasting, without_burst
from detectors.consensus.parts import TINY, Calibration, Forecast, Metric, Nearest, Part
from detectors.consensus.views import LAGS, LONGER, RECENT, fading, summary

Floats = NDArray[np.float64]
SHORT: Final = "short"  # the last RECENT steps
LONG: Final = "long"  # the last LONGER steps
CHANGE: Final = "change"  # the last RECENT steps and the LAGS before them
WEIGHTS: Final = (1.0, 1.0, 1.75)  # of the parts' surprises in a score
VIEW_OF: Final[Mapping[str, str]] = {"nearest": SHORT, "nearest_long": LONG, "forecast": CHANGE}
NEARLY: Final = 1.0 - 1e-9  # of a level: a mean of logarithms may be rounded up
SHORT_PART, LONG_PART = (list(VIEW_OF).index(name) for name in ("nearest", "nearest_long"))


@dataclass(frozen=True, slots=True)
class NodeModel:
    """What is normal for one node, or for a fleet: steps by themselves, and parts by name with their calibrations."""

    alone: Metric
    nearest: Nearest
    nearest_long: Nearest
    forecast: Forecast
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    def parts(self) -> dict[str, Part]:
        """Return the parts by name, in a fixed order."""
        return {name: getattr(self, name) for name in VIEW_OF}

    def surprises(self, views: Mapping[str, Floats]) -> Floats:
        """Return how unusual each part finds each window, float64 (n, parts)."""
        columns = [
            self.calibrations[name].surprise(part.distances(views[VIEW_OF[name]]))
            for name, part in self.parts().items()
        ]
        return np.stack(columns, axis=1)

    def shares(self, views: Mapping[str, Floats], weights: Floats, width: int) -> Floats:
        """Split scores over the features, float64 (n, F), rows summing to 1 (or 0 where nothing is unusual)."""
        surprise = weights * np.maximum(self.surprises(views), 0.0)
        total = np.zeros((len(surprise), width))
        for column, (name, part) in enumerate(self.parts().items()):
            pull = part.pull(views[VIEW_OF[name]]).reshape(len(surprise), -1, width).sum(axis=1)
            total += surprise[:, column, None] * pull / np.maximum(pull.sum(axis=1, keepdims=True), 1e-300)
        return np.asarray(total / np.maximum(total.sum(axis=1, keepdims=True), 1e-300), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class ConsensusModel:
    """Everything that decides a score.

    Attributes:
        columns: int64 (F,), which of the stream's features are used.
        log: bool (F,), those measured on a log1p scale.
        rule: how a node's baseline starts and moves.
        models: the fleet's model first, then those of nodes that training knew.
        known: by node id: the number of its model and its usual transformed values, float64 (F,).
        weights: float64 (parts,), of the parts' surprises in a score; of sum 1.
    """

    columns: NDArray[np.int64]
    log: NDArray[np.bool_]
    rule: BaselineRule
    models: tuple[NodeModel, ...] = ()
    known: Mapping[str, tuple[int, Floats]] = field(default_factory=dict)
    weights: Floats = field(default_factory=lambda: np.array(WEIGHTS) / np.sum(WEIGHTS))

    def transformed(self, rows: NDArray[Any]) -> Floats:
        """Return the used features of raw rows (..., all features) on their scale, float64 (..., F)."""
        return self.scaled(rows[..., self.columns])

    def scaled(self, used: NDArray[Any]) -> Floats:
        """Return the used features of rows, (..., F), on their scale, float64 (..., F)."""
        values = used.astype(np.float64)
        if not self.log.any():
            return values
        logs = np.log1p(np.maximum(values, 0.0))
        return logs if self.log.all() else np.where(self.log, logs, values)

    def restored(self, values: Floats) -> Floats:
        """Undo ``transformed``: float64 (..., F) back to the features' own units."""
        return np.asarray(np.where(self.log, np.expm1(np.maximum(values, 0.0)), values), dtype=np.float64)

    def views(self, window: Floats, state: Floats) -> dict[str, Floats]:
        """Measure windows against their nodes' baselines.

        Args:
            window: float64 (n, steps, F), transformed.
            state: float64 (n, state_width).

        Returns:
            ``SHORT`` and ``LONG``: float64 (n, 3 F); ``CHANGE``: float64 (n, RECENT + LAGS, F).
        """
        return self.views_of(self.rule.relative(window, state))

    def views_of(self, steps: Floats) -> dict[str, Floats]:
        """Measure steps that are relative already: ``views`` of float64 (n, steps, F), at least ``LONGER`` steps."""
        longer = steps[:, -LONGER:]
        return {
            SHORT: summary(steps[:, -RECENT:], fading(RECENT)),
            LONG: summary(longer, np.full(longer.shape[1], 1.0 / longer.shape[1])),
            CHANGE: np.ascontiguousarray(steps[:, -RECENT - LAGS :]),
        }

    def readings(self, number: int, window: Floats, state: Floats) -> Floats:
        """Return what decides beside the score, see ``bursts``: float64 (n, 3), sudden, sustained and lasting.

        Args:
            number: of the model.
            window: float64 (n, steps, F), transformed.
            state: float64 (n, state_width).
        """
        evidence = self.steps_alone(number, window, state)
        judged = evidence[:, -JUDGED:]
        columns = [
            self.borne_out(number, self.views(without_burst(window, judged, spare_newest=spare), state))
            for spare in (True, False)
        ]
        return np.stack([*columns, lasting(evidence, window.shape[2])], axis=1)

    def strained(self, number: int, relative: Floats, level: float) -> NDArray[np.bool_]:
        """Tell which windows' lasting reading may pass a level, bool (n,): all that do, and few others.

        The reading is at most the geometric mean of the calmer half of the last ``LASTING`` steps, and so at most the
        largest of that half: unless more than half of the steps pass the level, it does not.

        Args:
            number: of the model.
            relative: float64 (n, steps, F), relative steps.
            level: of the reading.
        """
        if np.isinf(level):
            return np.zeros(len(relative), dtype=np.bool_)
        latest = relative[:, -LASTING:].swapaxes(0, 1)  # step by step, as they lie in memory
        passed = self.models[number].alone.distances(latest.reshape(-1, latest.shape[2])) >= level * NEARLY - TINY
        return np.asarray(np.count_nonzero(passed.reshape(LASTING, -1), axis=0) > LASTING // 2, dtype=np.bool_)

    def steps_alone(self, number: int, steps: Floats, state: Floats) -> Floats:
        """Return the squared distance of each step by itself from what is normal, float64 (n, steps).

        Args:
            number: of the model.
            steps: float64 (n, steps, F), transformed.
            state: float64 (n, state_width).
        """
        relative = self.rule.relative(steps, state)
        alone = self.models[number].alone.distances(relative.reshape(-1, relative.shape[2]))
        return alone.reshape(relative.shape[:2])

    def scores(self, number: int, views: Mapping[str, Floats]) -> Floats:
        """Return scores by one of the models, float64 (n,): 1 is the median of normal, e its 99th percentile."""
        return np.asarray(np.exp(self.models[number].surprises(views) @ self.weights), dtype=np.float64)

    def borne_out(self, number: int, views: Mapping[str, Floats]) -> Floats:
        """Return the scores, float64 (n,), in which the long view says no more than the short one.

        What is over is in the long view for another ten steps: it makes a score higher, but no anomaly.
        """
        surprises = self.models[number].surprises(views)
        surprises[:, LONG_PART] = np.minimum(surprises[:, LONG_PART], surprises[:, SHORT_PART])
        return np.asarray(np.exp(surprises @ self.weights), dtype=np.float64)

    def shares(self, number: int, views: Mapping[str, Floats]) -> Floats:
        """Split scores by one of the models over the features; see ``NodeModel.shares``."""
        return self.models[number].shares(views, self.weights, len(self.columns))
