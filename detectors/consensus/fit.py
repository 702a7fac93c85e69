"""Fitting the statistical detector on normal telemetry. No labels are used.

What is fitted is the fleet's scales, a model of the fleet, a model of each node that has enough steps of its own, and
thresholds.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from detectors.artefacts import ThresholdFit
from detectors.consensus.bursts import SHARES, STAYING, SUDDEN, SUSTAINED
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.model import Floats
from detectors.consensus.passes import FitError, FitSettings, NormalSteps, Passes, Progress, know, metadata_of
from detectors.thresholds import MIN_PEAKS, TailFit, fit_threshold

__all__ = ["FitError", "FitSettings", "NormalSteps", "Progress", "fit_consensus"]

MIN_NODES_TO_SPLIT: Final = 8
NODE_FOLDS: Final = 2
TIME_FOLDS: Final = 5
FEW_PEAKS: Final = 4  # of the lasting reading: it moves slowly, and in a short recording seldom
RARER: Final = (10.0, 1000.0)  # an anomaly this many times rarer than a false alarm is a warning, and critical


def fit_consensus(steps: NormalSteps, settings: FitSettings, on_progress: Progress | None = None) -> ConsensusDetector:
    """Fit the detector.

    The model is learned from all steps. Its threshold is cross-fitted: the steps are cut into folds, and each fold is
    scored by a model learned from the others, because a model flatters the steps that it was learned from.

    Args:
        steps: normal telemetry of one or more nodes.
        settings: the user's choices.
        on_progress: called with (steps done, steps in all) as the passes over the recording go on.

    Raises:
        FitError: no node has a whole window of steps.
        ThresholdError: the recording is too short for a threshold.
    """
    # Matrices of one node's features are small: threads that wait for each other cost several times what they give.
    with threadpool_limits(limits=1, user_api="blas"):
        return _fit(steps, settings, on_progress or (lambda _done, _all: None))


def cross_fitted(
    steps: NormalSteps, settings: FitSettings, on_progress: Progress | None = None
) -> tuple[list[Floats], int]:
    """Return the readings that thresholds are fitted on, and the number of folds.

    Args:
        steps: as for ``fit_consensus``.
        settings: likewise.
        on_progress: likewise; of ``folds + 1`` passes, one is left for the whole.

    Returns:
        One entry a fold and node, float64 (n_i, 3), see ``ConsensusDetector.readings``.
    """
    fold = _folds(steps, settings)
    folds = int(fold.max()) + 1
    passes = Passes(settings, (folds + 1) * len(steps.rows), on_progress or _nothing)
    readings: list[Floats] = []
    for side in range(folds):
        readings += passes.readings(passes.learn(steps.take(fold != side)), steps, fold == side)
    return readings, folds


def tails_of(readings: Sequence[Floats], settings: FitSettings, shares: Sequence[float] = SHARES) -> list[TailFit]:
    """Fit the tail of each reading, with a threshold for its share of the false alarms that are asked for."""
    return [
        fit_threshold(
            [each[:, column] for each in readings],
            step_ms=settings.step_ms,
            false_alarms_per_node_day=share * settings.false_alarms_per_node_day,
            least_peaks=FEW_PEAKS if column == STAYING else MIN_PEAKS,
        )
        for column, share in enumerate(shares)
    ]


def _fit(steps: NormalSteps, settings: FitSettings, progress: Progress) -> ConsensusDetector:
    readings, folds = cross_fitted(steps, settings, progress)
    tails = tails_of(readings, settings)
    method = f"predictive quantile of episode peaks (Hill, Weissman), {folds}-fold cross-fitted"
    sustained, lasting = tails[SUSTAINED], tails[STAYING]
    fits = asdict(sustained) | {"sudden": asdict(tails[SUDDEN]), "lasting": asdict(lasting)}
    parameters = {
        "levels": _levels(sustained),
        "sudden_threshold": tails[SUDDEN].threshold,
        "lasting": {"threshold": lasting.threshold, "power": lasting.tail_index / sustained.tail_index},
    }
    fitted = metadata_of(steps, settings, ThresholdFit(sustained.threshold, method, fits), parameters)
    total = (folds + 1) * len(steps.rows)
    passes = Passes(settings, len(steps.rows), lambda done, all_: progress(total - all_ + done, total))
    return ConsensusDetector(passes.learn(steps), fitted)


def _nothing(_done: int, _total: int) -> None:
    """Tell nobody."""


def _folds(steps: NormalSteps, settings: FitSettings) -> NDArray[np.int64]:
    """Return each step's fold: a stretch of its node's time, or a share of the nodes when none will be known."""
    _, node = np.unique(np.asarray(steps.keys), return_inverse=True)
    nodes = int(node.max()) + 1
    if nodes >= MIN_NODES_TO_SPLIT and not know(nodes, settings):
        return np.asarray(node % NODE_FOLDS, dtype=np.int64)
    order = np.argsort(node, kind="stable")
    counts = np.bincount(node)
    place = np.empty(len(node), dtype=np.int64)
    place[order] = np.arange(len(node)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(place * TIME_FOLDS // counts[node], dtype=np.int64)


def _levels(tail: TailFit) -> list[float]:
    """Return the scores of a warning and of a critical anomaly: ``RARER`` than a false alarm, by the fitted tail."""
    return [tail.threshold * times ** (1.0 / tail.tail_index) for times in RARER]
