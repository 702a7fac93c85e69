"""Fitting the statistical detector on normal telemetry: scales, covariance, threshold. No labels are used."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import ThresholdFit, data_hash
from detectors.consensus.baseline import BaselineRule
from detectors.consensus.detector import ConsensusDetector, metadata_of
from detectors.consensus.model import PARTS, ConsensusModel, Floats
from detectors.rounds import rounds
from detectors.thresholds import fit_threshold
from features.windows import WindowStore

CHUNK: Final = 8192
MAX_COVARIANCE_ROWS: Final = 500_000
RIDGE: Final = 1e-2  # added to the correlations' diagonal: directions that hardly ever moved must not decide alone
MIN_LOG_SCALE: Final = 0.005  # a count that never moved: any change of it is news, and weighs accordingly
TAIL: Final = 0.999  # quantile at which tails are compared
MIN_SPREAD: Final = 0.1  # deviations are in scales: one that strays less than this never moved, rounding aside
NO_THRESHOLD: Final = 1e9  # while fitting, no step is anomalous
Progress = Callable[[int, int], None]


class FitError(ValueError):
    """The recording cannot carry a model: no usable steps, or none with a whole window."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """What a user may choose.

    Attributes:
        false_alarms_per_node_day: what the threshold aims at.
        step_ms: nominal milliseconds between a node's steps.
        window: steps in a window.
        recent: steps over which recent mean and deviation are taken.
        memory: steps a node's baseline remembers.
    """

    false_alarms_per_node_day: float = 1.0
    step_ms: int = 1000
    window: int = 30
    recent: int = 10
    memory: int = 1000


@dataclass(frozen=True, slots=True)
class NormalSteps:
    """Normal telemetry to fit on, in log order.

    Attributes:
        fields: names of the features.
        keys: n node ids.
        ts_ms: int64 (n,), event time.
        rows: float32 (n, len(fields)).
        used: indices of the features that the detector looks at; codes of modes and types do not belong.
        log: for each used feature, whether it is measured on a log1p scale (non-negative counts and latencies).
    """

    fields: tuple[str, ...]
    keys: Sequence[str]
    ts_ms: NDArray[np.int64]
    rows: NDArray[np.float32]
    used: tuple[int, ...]
    log: tuple[bool, ...]


def fit_consensus(steps: NormalSteps, settings: FitSettings, on_progress: Progress | None = None) -> ConsensusDetector:
    """Fit the detector: the fleet's scales, the covariance of deviations, and a threshold for the rate asked.

    Args:
        steps: normal telemetry of one or more nodes.
        settings: the user's choices.
        on_progress: called with (steps done, steps in all) as the two passes over the recording go on.

    Raises:
        FitError: no node has a whole window of steps.
        ThresholdError: the recording is too short for a threshold.
    """
    progress = on_progress or (lambda _done, _all: None)
    width = len(steps.used)
    columns, log = np.array(steps.used, dtype=np.int64), np.array(steps.log, dtype=np.bool_)
    blank = ConsensusModel(
        columns,
        log,
        BaselineRule(np.ones(width)),
        settings.recent,
        np.zeros(PARTS * width),
        np.ones(PARTS * width),
        np.eye(PARTS * width),
    )
    scale = fleet_scale(blank.transformed(steps.rows), steps.keys, log)
    model = replace(blank, rule=BaselineRule(scale, memory=settings.memory))
    training = {
        "data_sha256": data_hash(steps.ts_ms, steps.rows),
        "steps": len(steps.rows),
        "nodes": len(set(steps.keys)),
        **{f"asked_{name}" if name.startswith("false") else name: value for name, value in asdict(settings).items()},
    }
    draft = metadata_of(steps.fields, settings.window, ThresholdFit(NO_THRESHOLD, "none yet"), training, {})

    gathered = [
        each for _, each in _passes(ConsensusDetector(model, draft), steps, settings, progress, 0, measure=True)
    ]
    if not gathered:
        raise FitError(f"no node has {settings.window} steps in a row: give a longer recording, or check step_ms")
    centre, spread, whitening = covariance(np.concatenate(gathered))
    model = replace(model, centre=centre, spread=spread, whitening=whitening)
    scores = _scores_by_node(ConsensusDetector(model, draft), steps, settings, progress)
    tail = fit_threshold(scores, step_ms=settings.step_ms, false_alarms_per_node_day=settings.false_alarms_per_node_day)
    fitted = ThresholdFit(tail.threshold, "Weissman quantile of episode peaks (Hill tail index)", asdict(tail))
    return ConsensusDetector(model, metadata_of(steps.fields, settings.window, fitted, training, {}))


def fleet_scale(values: Floats, keys: Sequence[str], log: NDArray[np.bool_]) -> Floats:
    """Return each feature's within-node standard deviation, root mean square over the nodes.

    Args:
        values: float64 (n, F), transformed.
        keys: n node ids.
        log: bool (F,), features on a log1p scale; their scale is at least ``MIN_LOG_SCALE``. Others: at least a thousandth
            of their overall deviation, or 1 where they never move.
    """
    _, node = np.unique(np.asarray(keys), return_inverse=True)
    count = np.bincount(node)[:, None]
    mean = np.stack([np.bincount(node, column) for column in values.T], axis=1) / count
    square = np.stack([np.bincount(node, column) for column in ((values - mean[node]) ** 2).T], axis=1) / count
    scale = np.sqrt(np.mean(square, axis=0))
    overall = np.std(values, axis=0)
    least = np.where(log, MIN_LOG_SCALE, np.where(overall > 0.0, 1e-3 * overall, 1.0))
    return np.maximum(scale, least)


def covariance(deviations: Floats) -> tuple[Floats, Floats, Floats]:
    """Return ``centre``, ``spread`` and ``whitening`` of deviations, float64 (n, D), for ``ConsensusModel``.

    Spreads are standard deviations, but no smaller than the tail asks for: a direction whose normal values stray far now
    and then (one-second spikes of a latency quantile) must stray further before it counts. This holds for each deviation
    and again for each principal direction.
    """
    centre, spread = deviations.mean(axis=0), deviations.std(axis=0)
    still = spread < MIN_SPREAD
    spread = np.where(still, 1.0, spread)
    spread *= _heaviness((deviations - centre) / spread)
    standardised = (deviations - centre) / spread
    correlation = standardised.T @ standardised / len(deviations) + np.diag(still + RIDGE)
    variances, directions = np.linalg.eigh(correlation)
    whitening = directions / np.sqrt(variances)
    return centre, spread, whitening / _heaviness(standardised @ whitening)


def _heaviness(values: Floats) -> Floats:
    """Return how much further each column's tail reaches than a Gaussian's of deviation 1, float64 (D,), at least 1."""
    reach = np.quantile(np.abs(values), TAIL, axis=0)
    return np.maximum(reach / NormalDist().inv_cdf(0.5 + TAIL / 2), 1.0)


def _scores_by_node(
    detector: ConsensusDetector, steps: NormalSteps, settings: FitSettings, progress: Progress
) -> list[Floats]:
    parts: list[tuple[NDArray[np.int64], Floats]] = list(
        _passes(detector, steps, settings, progress, len(steps.rows), measure=False)
    )
    slots = np.concatenate([slot for slot, _ in parts])
    scores = np.concatenate([score for _, score in parts])
    return [scores[slots == slot] for slot in np.unique(slots)]


def _passes(
    detector: ConsensusDetector,
    steps: NormalSteps,
    settings: FitSettings,
    progress: Progress,
    done: int,
    *,
    measure: bool,
) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Run the recording through the same windows, rounds and baselines that the worker uses.

    Yields:
        the slots of a round's windows, and their deviations (``measure``, thinned to a bounded number) or scores.
    """
    store = WindowStore(
        len(steps.fields), window=settings.window, step_ms=settings.step_ms, state_width=detector.state_width
    )
    stride = max(1, len(steps.rows) // MAX_COVARIANCE_ROWS) if measure else 1
    for start in range(0, len(steps.rows), CHUNK):
        part = slice(start, start + CHUNK)
        count = len(steps.rows[part])
        appended = store.append(np.zeros(count, dtype=np.int32), steps.keys[part], steps.ts_ms[part], steps.rows[part])
        for number, index in enumerate(rounds(appended.windows.slots)):
            windows = appended.windows.take(index)
            state = store.state[windows.slots]
            result = detector.deviations(windows, state) if measure else detector.score(windows, state)
            store.state[windows.slots] = state
            if number % stride == 0:
                yield windows.slots, result
        progress(done + start + count, 2 * len(steps.rows))
