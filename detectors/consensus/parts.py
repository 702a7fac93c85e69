"""The parts of a score: three ways in which a window can be unusual, each calibrated on normal telemetry.

Every part turns views into a squared distance, and a distance into a surprise: its logarithm, 0 at the median of normal
telemetry and 1 at its 99th percentile, so that parts can be averaged.
"""

from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.views import LAGS, RECENT, fading, followed
from detectors.tiles import steady

Floats = NDArray[np.float64]
GROUPS: Final = 4
RIDGE: Final = 1e-2  # added to the correlations' diagonal: directions that hardly ever moved must not decide alone
MIN_SPREAD: Final = 0.01  # views are in scales: what strays less than this never moved, rounding aside
TAIL: Final = 0.999  # quantile at which tails are compared
CALM: Final = 0.5  # deviations; a column that is within them up to ``TAIL`` moves in events only
EVENT: Final = 4.0  # deviations that the furthest of such events counts
EVENTS_FROM: Final = 10_000  # views; of fewer, what is rarer than ``TAIL`` cannot be told from noise
TINY: Final = 1e-9
TILE: Final = 128  # windows; what is measured of them stays within a core's own cache
FURTHEST: Final = 1e15  # what is further counts as that far: squares and products stay within float32


@dataclass(frozen=True)
class Metric:
    """A learned measure of views: centre, spread, and a whitening of what is left.

    Attributes:
        centre: float64 (D,).
        spread: float64 (D,), positive.
        whitening: float64 (D, D).
    """

    centre: Floats
    spread: Floats
    whitening: Floats

    def standardised(self, views: Floats) -> Floats:
        """Return views (..., D) less their usual value, in units of their usual spread."""
        return (views - self.centre) / self.spread

    def whitened(self, views: Floats) -> Floats:
        """Return standardised views (n, D), whitened: their squared length is the squared distance."""
        return views @ self._map - self._middle

    @cached_property
    def _map(self) -> Floats:
        return np.ascontiguousarray(self.whitening / self.spread[:, None])

    @cached_property
    def _middle(self) -> Floats:
        return np.asarray((self.centre / self.spread) @ self.whitening, dtype=np.float64)

    def distances(self, views: Floats) -> Floats:
        """Return the squared distances of views (n, D) from their centre, float64 (n,)."""
        return _squares(self.whitened(views))

    def pull(self, differences: Floats) -> Floats:
        """Split squared lengths over the dimensions: float64 (n, D) differences, standardised, to shares (n, D)."""
        return np.maximum(differences * ((differences @ self.whitening) @ self.whitening.T), 0.0)


def fit_metric(views: Floats, *, power: float = 1.0) -> Metric:
    """Learn a metric from normal views.

    Spreads are standard deviations, but no smaller than the tail asks for: what strays far now and then in normal
    operation (one-second spikes of a latency quantile) must stray further before it counts. Dimensions that never moved
    keep the unit of their scale and stand alone. Of dimensions that move in rare events only (a leader change a day),
    the furthest event seen counts ``EVENT`` deviations: known to happen, and worth a look beside something else.

    Args:
        views: float64 (n, D).
        power: 1 whitens fully (Mahalanobis); 1/2 halfway, which keeps large directions large (for neighbours).
    """
    centre, spread = views.mean(axis=0), views.std(axis=0)
    still = spread < MIN_SPREAD
    spread = np.where(still, 1.0, spread)
    strayed = np.abs(views - centre) / spread
    reach = np.quantile(strayed, TAIL, axis=0)
    events = (reach < CALM) & ~still & (len(views) >= EVENTS_FROM)
    heaviness = np.maximum(reach / NormalDist().inv_cdf(0.5 + TAIL / 2.0), 1.0)
    spread = spread * np.where(events, np.max(strayed, axis=0) / EVENT, heaviness)
    standardised = (views - centre) / spread
    correlation = standardised.T @ standardised / len(views) + np.diag((still | events) + RIDGE)
    variances, directions = np.linalg.eigh(correlation)
    return Metric(centre, spread, directions * variances ** (-power / 2.0))


@dataclass(frozen=True, slots=True)
class Calibration:
    """Median and 99th percentile of the logarithm of a part's distances in normal telemetry."""

    median: float
    high: float

    def surprise(self, distances: Floats) -> Floats:
        """Return surprises, float64 of the distances' shape."""
        return np.asarray((np.log(distances + TINY) - self.median) / (self.high - self.median), dtype=np.float64)


def calibrate(distances: Floats) -> Calibration:
    """Fit a calibration to float64 (n,) distances of normal telemetry."""
    logs = np.log(distances + TINY)
    median, high = (float(value) for value in np.quantile(logs, [0.5, 0.99]))
    return Calibration(median, max(high, median + 1e-3))


class Part(Protocol):
    """One way to be unusual."""

    def distances(self, views: Floats) -> Floats:
        """Return squared distances, float64 (n,)."""
        ...

    def pull(self, views: Floats) -> Floats:
        """Split them over the view's last dimension, float64 (n, D), non-negative."""
        ...


@dataclass(frozen=True)
class Nearest:
    """Distance to the nearest of the normal views: unlike anything seen, whatever the shape of normal.

    The places are ``GROUPS`` samples of normal; the distance is the mean of the distances to the nearest of each, which
    is as steady as a distance to the k-th neighbour and needs no sorting.

    Attributes:
        metric: whitened halfway.
        places: float64 (GROUPS m, D), normal views, whitened, one sample after another.
    """

    metric: Metric
    places: Floats

    @cached_property
    def _table(self) -> NDArray[Any]:
        """What a place adds to a squared distance: (places, D + 1), float32 where that is ``steady``, else float64.

        float32 is half the work, and seven digits are plenty.
        """
        squares = np.sum(self.places**2, axis=1)
        table = np.ascontiguousarray(np.concatenate([-2.0 * self.places, squares[:, None]], axis=1))
        narrow = table.astype(np.float32)
        return narrow if steady(narrow, TILE) else table

    def whitened(self, views: Floats) -> NDArray[Any]:
        """Return views (n, D) in the space of the places, float32 or float64 as the table is."""
        return np.asarray(np.clip(self.metric.whitened(views), -FURTHEST, FURTHEST), dtype=self._table.dtype)

    def beyond(self, whitened: NDArray[Any]) -> NDArray[Any]:
        """Return squared distances to every place less the view's own square, (GROUPS, m, n) of the table's dtype."""
        extended = np.concatenate([whitened.T, np.ones((1, len(whitened)), whitened.dtype)])
        beyond: NDArray[Any] = self._table @ extended
        return beyond.reshape(GROUPS, -1, len(whitened))

    def distances(self, views: Floats) -> Floats:
        """See ``Part``; views float64 (n, D)."""
        own = self.whitened(views)
        return self.nearest(own, self.beyond(own))

    def nearest(self, whitened: NDArray[Any], beyond: NDArray[Any]) -> Floats:
        """Return squared distances to the nearest places, float64 (n,)."""
        mean = np.mean(np.min(beyond, axis=1), axis=0, dtype=np.float64) + _squares(whitened.astype(np.float64))
        return np.asarray(np.maximum(mean, 0.0), dtype=np.float64)

    def pull(self, views: Floats) -> Floats:
        """See ``Part``: the way to the middle of the nearest places."""
        own = self.whitened(views)
        beyond = self.beyond(own)
        nearest = np.argmin(beyond, axis=1) + np.arange(GROUPS)[:, None] * beyond.shape[1]
        way = own - self.places[nearest].mean(axis=0)
        return self.metric.pull(way @ np.linalg.inv(self.metric.whitening))


@dataclass(frozen=True)
class Forecast:
    """Mean distance of the last steps from what the steps before them foretold: unusual as a change.

    Attributes:
        weights: float64 (LAGS F + 1, F), from the steps before, newest first, and 1 to the forecast.
        metric: of the errors.
    """

    weights: Floats
    metric: Metric

    def errors(self, views: Floats) -> Floats:
        """Return forecast errors, float64 (n, RECENT, F), of views (n, RECENT + LAGS, F): steps, oldest first."""
        return np.asarray(followed(views) @ self._chain - self.weights[-1], dtype=np.float64)

    def distances(self, views: Floats) -> Floats:
        """See ``Part``."""
        errors = followed(views).reshape(len(views) * RECENT, -1) @ self._whitened_chain - self._usual
        return np.asarray(_squares(errors).reshape(-1, RECENT) @ fading(RECENT), dtype=np.float64)

    def pull(self, views: Floats) -> Floats:
        """See ``Part``: float64 (n, F)."""
        errors = self.metric.standardised(self.errors(views))
        pull = self.metric.pull(errors.reshape(-1, errors.shape[2])).reshape(errors.shape)
        return np.asarray(np.sum(pull * fading(RECENT)[:, None], axis=1), dtype=np.float64)

    @cached_property
    def _chain(self) -> Floats:
        """From a step behind those before it, oldest first, to the error of its forecast: float64 ((LAGS + 1) F, F)."""
        features = self.weights.shape[1]
        newest_first = self.weights[:-1].reshape(LAGS, features, features)
        return np.concatenate([*-newest_first[::-1], np.eye(features)])

    @cached_property
    def _whitened_chain(self) -> Floats:
        return np.ascontiguousarray(self._chain / self.metric.spread @ self.metric.whitening)

    @cached_property
    def _usual(self) -> Floats:
        """What is taken from whitened errors: float64 (F,)."""
        usual = (self.weights[-1] + self.metric.centre) / self.metric.spread
        return np.asarray(usual @ self.metric.whitening, dtype=np.float64)


def _squares(vectors: Floats) -> Floats:
    """Return squared lengths, float64 (n,), of vectors (n, D)."""
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors), dtype=np.float64)
