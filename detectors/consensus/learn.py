"""From normal views to a model: metrics, places to compare with, forecast weights, calibrations."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.model import CHANGE, LONG, SHORT, VIEW_OF, NodeModel
from detectors.consensus.parts import GROUPS, Distance, Forecast, Nearest, calibrate, fit_metric
from detectors.consensus.views import LAGS

Floats = NDArray[np.float64]
PLACES: Final = 1000  # normal views kept for comparison
APART: Final = 60  # steps of one node nearer than this share too much to be compared in calibration
FORECAST_RIDGE: Final = 1e-3
BLOCK: Final = 1024


@dataclass(frozen=True, slots=True)
class NormalViews:
    """Views of normal windows and where they come from.

    Attributes:
        node: int64 (n,), which node.
        order: int64 (n,), the window's place in its node's history.
        views: by name, float64 (n, ...).
    """

    node: NDArray[np.int64]
    order: NDArray[np.int64]
    views: dict[str, Floats]


def learn_model(normal: NormalViews) -> NodeModel:
    """Learn what is normal.

    Distances to neighbours are calibrated without the neighbours in time: a normal window of tomorrow will not find
    itself among the places either.
    """
    short, long = normal.views[SHORT], normal.views[LONG]
    chosen = _places(len(short))
    nearest, nearest_long = _nearest(short, chosen), _nearest(long, chosen)
    model = NodeModel(Distance(fit_metric(short)), nearest, nearest_long, _forecast(normal.views[CHANGE]))
    distances = {
        "distance": model.distance.distances(short),
        "nearest": _distances_apart(nearest, short, normal, chosen),
        "nearest_long": _distances_apart(nearest_long, long, normal, chosen),
        "forecast": model.forecast.distances(normal.views[CHANGE]),
    }
    return replace(model, calibrations={name: calibrate(distances[name]) for name in VIEW_OF})


def _places(count: int) -> NDArray[np.int64]:
    """Choose views to keep as places, spread over the recording, one group after another; int64 (GROUPS m,)."""
    size = max(1, min(PLACES, count) // GROUPS)
    spread = np.linspace(0, count - 1, size * GROUPS).astype(np.int64)
    return np.asarray(spread.reshape(size, GROUPS).T.reshape(-1), dtype=np.int64)


def _nearest(views: Floats, chosen: NDArray[np.int64]) -> Nearest:
    metric = fit_metric(views, power=0.5)
    return Nearest(metric, metric.standardised(views[chosen]) @ metric.whitening)


def _distances_apart(part: Nearest, views: Floats, normal: NormalViews, chosen: NDArray[np.int64]) -> Floats:
    """Return the distances of normal views to the places, passing over a node's own places of about the same time."""
    result = np.empty(len(views))
    for start in range(0, len(views), BLOCK):
        block = slice(start, start + BLOCK)
        own = part.whitened(views[block])
        beyond = part.beyond(own)
        same = normal.node[block, None] == normal.node[chosen]
        close = np.abs(normal.order[block, None] - normal.order[chosen]) < APART
        beyond[(same & close).reshape(beyond.shape)] = np.inf
        result[block] = part.nearest(own, beyond)
    finite = np.isfinite(result)
    # A recording too short to hold places far enough from a step calibrates without that step.
    return result[finite] if finite.any() else part.distances(views)


def _forecast(change: Floats) -> Forecast:
    """Fit a ridge regression of the newest step on the steps before it, and a metric of its errors.

    Args:
        change: float64 (n, steps, L + F); only the newest step of each view is used, so that none counts twice.
    """
    newest = change[:, -1]
    lagged = _lagged_width(newest.shape[1])
    before, now = newest[:, :lagged], newest[:, lagged:]
    gram = before.T @ before + FORECAST_RIDGE * len(before) * np.eye(lagged)
    weights = np.asarray(np.linalg.solve(gram, before.T @ now), dtype=np.float64)
    return Forecast(weights, fit_metric(now - before @ weights))


def _lagged_width(total: int) -> int:
    """Return L of L + F = ``total`` with L = LAGS F + 1."""
    features = (total - 1) // (LAGS + 1)
    return LAGS * features + 1
