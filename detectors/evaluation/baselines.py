"""Simple detectors that any other has to beat, fitted on the same training rows and scored in the same run.

All are the obvious things to do with a table of numbers. Rows are z-scored on the training part (columns that never
move: deviation 1); the threshold is the 99.9th percentile of the training scores. Each looks backwards only.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SMOOTHING: Final = 10  # steps
CLIP: Final = 20.0  # deviations
RIDGE: Final = 1e-3  # added to covariances
VAR_RIDGE: Final = 3e-3  # a training row
VAR_LAGS: Final = (1, 2, 3)
LAGS: Final = (1, 2, 5, 10)
KEPT_VARIANCE: Final = 0.9
TREES: Final = 100
THRESHOLD_QUANTILE: Final = 0.999


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that a baseline is fitted on and scores.

    Attributes:
        fields: names of the F columns.
        values: float64 (n, F), finite, each node's rows together and in time order.
        train: bool (n,), rows to fit on.
        nodes: int64 (n,), a number a node.
    """

    fields: tuple[str, ...]
    values: Floats
    train: Bools
    nodes: NDArray[np.int64]

    def by_node(self, make: Callable[[Floats], Floats], values: Floats) -> Floats:
        """Apply a function of a series to each node's rows of ``values``, float64 (n, ...)."""
        bounds = np.flatnonzero(np.diff(self.nodes)) + 1
        return np.concatenate([make(part) for part in np.split(values, bounds)])


Scorer = Callable[[Table], Floats]


def baselines(fields: Sequence[str]) -> Iterator[tuple[str, Scorer]]:
    """Yield the baselines that apply to a table of these fields: name, and function from tables to float64 (n,)."""
    yield "random", lambda table: np.random.default_rng(0).random(len(table.values))
    if "latency_p99" in fields:
        yield "latency_p99 alone", lambda table: table.values[:, table.fields.index("latency_p99")]
    yield from _both("largest z", lambda table: np.max(np.abs(_z(table)), axis=1))
    yield from _both("largest z, clipped", lambda table: np.max(np.abs(_z(table, CLIP)), axis=1))
    if find_spec("sklearn") is not None:
        yield from _both("isolation forest", _isolation_forest)
    yield from _both("PCA 90 %", _principal_components)
    yield from _both("PCA 90 %, clipped", partial(_principal_components, clip=CLIP))
    yield from _both("Mahalanobis", lambda table: _mahalanobis(_z(table), table.train))
    yield from _both("Mahalanobis, clipped", lambda table: _mahalanobis(_z(table, CLIP), table.train))
    yield "rolling Mahalanobis", partial(_rolling, steps=10)
    yield "rolling Mahalanobis, 30", partial(_rolling, steps=30)
    yield "lagged Mahalanobis", _lagged
    yield "VAR(3) residual, smoothed", _smoothed(_autoregression)


def threshold(scores: Floats, train: Bools) -> float:
    """Return the 99.9th percentile of the training scores."""
    return float(np.quantile(scores[train], THRESHOLD_QUANTILE))


def trailing(values: Floats, steps: int) -> tuple[Floats, Floats]:
    """Return the mean and the deviation over each row and the ``steps - 1`` before it, fewer at the start.

    Args:
        values: float64 (n, F), one node's rows in time order.
        steps: rows to look at.

    Returns:
        float64 (n, F) twice.
    """
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - steps, 0)
    count = (end - start)[:, None]

    def window_mean(column: Floats) -> Floats:
        sums = np.concatenate([np.zeros((1, column.shape[1])), np.cumsum(column, axis=0)])
        return np.asarray((sums[end] - sums[start]) / count, dtype=np.float64)

    mean = window_mean(values)
    return mean, np.sqrt(np.maximum(window_mean(values**2) - mean**2, 0.0))


def _both(name: str, scorer: Scorer) -> Iterator[tuple[str, Scorer]]:
    yield name, scorer
    yield f"{name}, smoothed", _smoothed(scorer)


def _smoothed(scorer: Scorer) -> Scorer:
    def smooth(table: Table) -> Floats:
        return table.by_node(lambda scores: trailing(scores[:, None], SMOOTHING)[0][:, 0], scorer(table))

    return smooth


def _z(table: Table, clip: float = np.inf) -> Floats:
    return np.clip(_standardised(table.values, table.train), -clip, clip)


def _standardised(values: Floats, train: Bools) -> Floats:
    mean, deviation = values[train].mean(axis=0), values[train].std(axis=0)
    return np.asarray((values - mean) / np.where(deviation < 1e-12, 1.0, deviation), dtype=np.float64)


def _mahalanobis(values: Floats, train: Bools) -> Floats:
    centred = values - values[train].mean(axis=0)
    covariance = np.cov(centred[train].T).reshape(centred.shape[1], -1) + RIDGE * np.eye(centred.shape[1])
    return np.asarray(np.sum(centred * np.linalg.solve(covariance, centred.T).T, axis=1), dtype=np.float64)


def _rolling(table: Table, steps: int) -> Floats:
    def views(values: Floats) -> Floats:
        return np.concatenate([values, *trailing(values, steps)], axis=1)

    return _mahalanobis(_standardised(table.by_node(views, _z(table)), table.train), table.train)


def _lagged(table: Table) -> Floats:
    return _mahalanobis(
        _standardised(table.by_node(lambda values: _with_lags(values, LAGS), _z(table)), table.train), table.train
    )


def _with_lags(values: Floats, lags: Sequence[int]) -> Floats:
    """Return rows beside those ``lags`` before them, the first row standing for what came before it."""
    place = np.arange(len(values))
    return np.concatenate([values, *(values[np.maximum(place - lag, 0)] for lag in lags)], axis=1)


def _autoregression(table: Table) -> Floats:
    values = _z(table)
    width = values.shape[1]
    lagged = table.by_node(lambda rows: _with_lags(rows, VAR_LAGS)[:, width:], values)
    inputs = np.concatenate([lagged, np.ones((len(lagged), 1))], axis=1)
    train = inputs[table.train]
    square = train.T @ train + VAR_RIDGE * len(train) * np.eye(inputs.shape[1])
    residual = values - inputs @ np.linalg.solve(square, train.T @ values[table.train])
    return _mahalanobis(_standardised(residual, table.train), table.train)


def _principal_components(table: Table, clip: float = np.inf) -> Floats:
    values = _z(table, clip)
    centred = values - values[table.train].mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(centred[table.train].T).reshape(centred.shape[1], -1))
    share = np.cumsum(variances[::-1]) / np.sum(variances)
    kept = directions[:, ::-1][:, : int(np.searchsorted(share, KEPT_VARIANCE)) + 1]
    return np.asarray(np.sum((centred - (centred @ kept) @ kept.T) ** 2, axis=1), dtype=np.float64)


def _isolation_forest(table: Table) -> Floats:
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415 - one baseline; nothing else here needs it

    values = _z(table, CLIP)
    forest = IsolationForest(n_estimators=TREES, random_state=0).fit(values[table.train])
    return np.asarray(-forest.score_samples(values), dtype=np.float64)
