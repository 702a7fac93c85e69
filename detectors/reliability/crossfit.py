"""Scores of rows by trees that have not seen their nodes: what calibration, threshold and bands are fitted on.

The incidents before the test part are few; a threshold that is to catch 98 % of them needs all of them. So trees are
grown several times, each time without a share of the nodes, and score those nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.decision import Decision, Margins
from detectors.reliability.ensemble import Ensemble
from detectors.reliability.examples import NodeRows, Part, windows_of
from detectors.reliability.features import FeaturePlan, window_features
from detectors.reliability.trees import Trees, margins

FOLDS = 4

Floats = NDArray[np.float64]


def folds_of(nodes: NDArray[np.str_], ts_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Deal rows to folds, int64 (n,): whole nodes in turn; stretches of time where there are too few nodes."""
    names, codes = np.unique(nodes, return_inverse=True)
    if len(names) >= FOLDS:
        return np.asarray(codes % FOLDS, np.int64)
    bounds = np.quantile(ts_ms, np.arange(1, FOLDS) / FOLDS)
    return np.searchsorted(bounds, ts_ms, side="right")


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Models of the folds, and which rows each may score.

    Attributes:
        rows: all rows, in time order.
        plan: features of every model.
        window: steps in a window.
        fold: int64 (n,), the fold that each row belongs to; -1 for rows that no fold has.
    """

    rows: NodeRows
    plan: FeaturePlan
    window: int
    fold: NDArray[np.int64]

    def margins(self, models: Sequence[Ensemble]) -> Floats:
        """Return every row's margin by the model of its fold: float64 (n,), NaN where there is no window."""
        found = np.full(len(self.rows), np.nan)
        for part in windows_of(self.rows, self.plan, self.window):
            for number, model in enumerate(models):
                mine = _of_fold(part, self.fold == number)
                if len(mine.places):
                    found[mine.places] = model.margins(window_features(mine.windows, self.plan, mine.before))
        return found

    def looked_at(self, models: Sequence[Ensemble], decision: Decision, chosen: NDArray[np.bool_]) -> Floats:
        """Return the decisions on chosen rows by the model of their fold: float64 (n,), NaN for the others."""
        found = np.full(len(self.rows), np.nan)
        for part in windows_of(self.rows, self.plan, self.window):
            for number, model in enumerate(models):
                mine = _of_fold(part, chosen & (self.fold == number))
                if len(mine.places):
                    found[mine.places] = decision.of_windows(mine.windows, mine.before, self._margins_by(model))
        return found

    def _margins_by(self, model: Ensemble) -> Margins:
        return lambda windows, before: model.margins(window_features(windows, self.plan, before))

    def outlooks(self, models: Sequence[Trees], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats]:
        """Return chosen rows, int64 (m,), and their margins by the trees of their fold, float64 (m,) or (m, c)."""
        places, found = [], []
        for part in windows_of(self.rows, self.plan, self.window):
            for number, model in enumerate(models):
                mine = _of_fold(part, chosen & (self.fold == number))
                if len(mine.places):
                    places.append(mine.places)
                    found.append(margins(model, window_features(mine.windows, self.plan, mine.before)))
        return np.concatenate(places), np.concatenate(found)


def _of_fold(part: Part, chosen: NDArray[np.bool_]) -> Part:
    index = np.flatnonzero(chosen[part.places])
    return Part(part.places[index], part.windows.take(index), part.before[index])
