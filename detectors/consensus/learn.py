"""From normal views to a model: metrics, places to compare with, forecast weights, calibrations."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.model import CHANGE, LONG, SHORT, VIEW_OF, NodeModel
from detectors.consensus.parts import GROUPS, MIN_SPREAD, Forecast, Nearest, calibrate, fit_metric
from detectors.consensus.views import BLOCKS, LAGS

Floats = NDArray[np.float64]
PLACES: Final = 1000  # normal views kept for comparison
APART: Final = 60  # steps of one node nearer than this share too much to be compared in calibration
FORECAST_RIDGE: Final = 1e-3
USUAL_STEPS: Final = 1000  # steps that the fleet's regression counts for in a node's own
BLOCK: Final = 1024


@dataclass(frozen=True, slots=True)
class NormalViews:
    """Views of normal windows and where they come from.

    Attributes:
        node: int64 (n,), which node.
        order: int64 (n,), the window's place in its node's history.
        views: by name, float64 (n, ...).
        stride: how many windows each stands for, where they were thinned.
    """

    node: NDArray[np.int64]
    order: NDArray[np.int64]
    views: dict[str, Floats]
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Moments:
    """What a regression of steps on the steps before them needs, per step and in the node's own deviations.

    Attributes:
        gram: float64 (L, L), of the lagged steps.
        cross: float64 (L, F), of the lagged steps with the step.
    """

    gram: Floats
    cross: Floats


def learn_model(normal: NormalViews, usual: Moments | None = None) -> NodeModel:
    """Learn what is normal.

    Distances to neighbours are calibrated without the neighbours in time: a normal window of tomorrow will not find
    itself among the places either.

    Args:
        normal: what to learn from.
        usual: of the fleet, for a node with little of its own.
    """
    short, long = normal.views[SHORT], normal.views[LONG]
    chosen = _places(len(short))
    nearest, nearest_long = _nearest(short, chosen), _nearest(long, chosen)
    alone = fit_metric(short[:, : short.shape[1] // BLOCKS])
    model = NodeModel(alone, nearest, nearest_long, _forecast(normal, usual))
    distances = {
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
        beyond[(same & close).T.reshape(beyond.shape)] = np.inf
        result[block] = part.nearest(own, beyond)
    finite = np.isfinite(result)
    # A recording too short to hold places far enough from a step calibrates without that step.
    return result[finite] if finite.any() else part.distances(views)


def moments(normal: NormalViews) -> Moments:
    """Return the moments of a node's normal views."""
    before, now = _own_units(normal.views[CHANGE])[:2]
    return Moments(before.T @ before / len(before), before.T @ now / len(now))


def average(each: Sequence[Moments]) -> Moments:
    """Return the mean of several nodes' moments: what is usual in their fleet."""
    return Moments(
        np.asarray(np.mean([one.gram for one in each], axis=0), dtype=np.float64),
        np.asarray(np.mean([one.cross for one in each], axis=0), dtype=np.float64),
    )


def _forecast(normal: NormalViews, usual: Moments | None) -> Forecast:
    """Fit a ridge regression of the newest step on the steps before it, and a metric of its errors.

    A node's own regression leans on the usual one of its fleet, which counts as ``USUAL_STEPS`` steps: a few hundred
    steps do not carry the weights of dozens of lagged features.
    """
    before, now, deviation = _own_units(normal.views[CHANGE])
    own = moments(normal)
    steps = len(now) * normal.stride
    share = 1.0 if usual is None else steps / (steps + USUAL_STEPS)
    gram, cross = own.gram, own.cross
    if usual is not None:
        gram = share * gram + (1.0 - share) * usual.gram
        cross = share * cross + (1.0 - share) * usual.cross
    weights = np.asarray(np.linalg.solve(gram + FORECAST_RIDGE * np.eye(len(gram)), cross), dtype=np.float64)
    # Back from the node's own deviations to the fleet's scales, in which the views are.
    lagged = np.concatenate([np.tile(deviation, LAGS), [1.0]])
    weights = np.asarray(weights * deviation / lagged[:, None], dtype=np.float64)
    errors = now * deviation - (before * lagged) @ weights
    return Forecast(weights, fit_metric(np.asarray(errors, dtype=np.float64)))


def _own_units(change: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the lagged steps and 1, the newest step, both in the node's own deviations, and those deviations.

    Args:
        change: float64 (n, RECENT + LAGS, F); only the newest step of each view is forecast, so that none counts twice.

    Returns:
        float64 (n, LAGS F + 1), newest first; (n, F); (F,).
    """
    deviation = change[:, -1].std(axis=0)
    deviation = np.where(deviation < MIN_SPREAD, 1.0, deviation)
    own = change[:, -LAGS - 1 :] / deviation
    before = [own[:, -1 - lag] for lag in range(1, LAGS + 1)]
    return np.concatenate([*before, np.ones((len(own), 1))], axis=1), own[:, -1], deviation
