"""Measure detectors on the reference generator: comparable with published figures, no evidence of use in production.

Rows of the generator are independent (SPEC section 3): there is one source of rows and no history. The consensus
detector is fitted on a run of its normal rows as one known node, and every test window is scored as if that node showed
it next. The autoencoder is the shipped one, which was trained on rows of the same generator.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from detectors.autoencoder.detector import AutoencoderDetector
from detectors.autoencoder.evaluate import (
    RATIO_LIMIT,
    TEST_SEED,
    ReferenceFigures,
    distance_from_mean,
    evaluate_reference,
    largest_ratio,
)
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.fit import FitSettings, NormalSteps, Progress, fit_consensus
from detectors.offline import Progress as StepsDone
from detectors.offline import Steps, score_steps
from detectors.protocol import Detector
from detectors.reference import (
    FIELDS,
    WINDOW,
    normal_rows,
    normal_windows,
    windows_with_bad_end,
    windows_with_one_bad_step,
)
from features.batch import WindowBatch
from schemas.streams import CONSENSUS

SOURCE: Final = "generator"
ROWS: Final = 30_000
FIT_SEED: Final = 1
VALIDATION_SEED: Final = 2
VALIDATION_WINDOWS: Final = 4_000
VALIDATION_QUANTILE: Final = 0.999
START_MS: Final = 1_760_000_000_000
STREAM_SEED: Final = 3
STREAM_QUANTILE: Final = 0.99  # of normal windows: 1 % of them are flagged
Scorer = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Contender:
    """A model to measure: its name, whether it is a rule to beat, its score of raw windows, and its threshold."""

    name: str
    baseline: bool
    score: Scorer
    threshold: float


def fit_on_generator(rows: int = ROWS, on_progress: Progress | None = None) -> ConsensusDetector:
    """Fit the consensus detector on a run of the generator's normal rows, one node's, a second apart."""
    values = normal_rows(np.random.default_rng(FIT_SEED), np.arange(rows))
    used = tuple(place for place, name in enumerate(FIELDS) if name not in CONSENSUS.codes)
    steps = NormalSteps(
        fields=FIELDS,
        keys=[SOURCE] * rows,
        ts_ms=START_MS + 1_000 * np.arange(rows, dtype=np.int64),
        rows=values.astype(np.float32),
        used=used,
        log=(True,) * len(used),
    )
    return fit_consensus(steps, FitSettings(), on_progress)


def score_as_known(detector: ConsensusDetector, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Score raw windows float32 (n, 30, 12), each as the next one of the node that the detector was fitted on."""
    return detector.score(WindowBatch.stack(windows), _as_known(detector, windows))


def worst_as_known(detector: ConsensusDetector, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure the worst step of raw windows likewise, see ``ConsensusDetector.worst_step``."""
    return detector.worst_step(WindowBatch.stack(windows), _as_known(detector, windows))


def _as_known(detector: ConsensusDetector, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(detector.prime([SOURCE]), len(windows), axis=0)


def score_in_stream(
    detector: ConsensusDetector, windows: NDArray[np.float32], on_progress: StepsDone | None = None
) -> NDArray[np.float64]:
    """Score raw windows float32 (n, 30, 12) as a stream shows them: the highest verdict at any of their 30 steps.

    All windows are one long stream of the node that the detector was fitted on. Before each come as many normal rows as
    a verdict looks back, so that no verdict sees two windows; the node's state goes on throughout.

    Returns:
        float64 (n,).
    """
    ahead = detector.window - 1
    count = len(windows) * ahead
    normal = normal_rows(np.random.default_rng(STREAM_SEED), np.arange(count)).reshape(len(windows), ahead, -1)
    rows = np.concatenate([normal, windows], axis=1)
    ts_ms = START_MS + 1_000 * np.arange(rows.shape[0] * rows.shape[1], dtype=np.int64)
    steps = Steps([SOURCE] * len(ts_ms), ts_ms, rows.reshape(-1, rows.shape[2]), 1_000)
    scores = score_steps(cast("Detector", detector), steps, on_progress=on_progress).scores.reshape(rows.shape[:2])
    return np.asarray(scores[:, ahead:].max(axis=1), dtype=np.float64)


def one_bad_step_in_stream(
    detector: ConsensusDetector, *, windows: int, on_progress: StepsDone | None = None
) -> dict[str, float]:
    """Measure how many windows with one bad step are flagged at any of their steps, at 1 % of the normal ones.

    The windows are those of ``evaluate_generator``.

    Args:
        detector: fitted on the generator's normal rows.
        windows: test windows, half of them with a bad step.
        on_progress: called with the steps done so far.

    Returns:
        ``one_bad_step_in_stream_at_1_percent``: share flagged; ``stream_threshold``: the threshold it takes.
    """
    rng = np.random.default_rng(TEST_SEED)
    windows_with_bad_end(rng, windows, length=WINDOW)  # comes first there
    single = windows_with_one_bad_step(rng, windows)
    scores = score_in_stream(detector, single.values, on_progress)
    threshold = float(np.quantile(scores[~single.labels], STREAM_QUANTILE))
    return {
        "one_bad_step_in_stream_at_1_percent": float(np.mean(scores[single.labels] > threshold)),
        "stream_threshold": threshold,
    }


def contenders(detector: ConsensusDetector, network: AutoencoderDetector) -> Iterator[Contender]:
    """Yield the models to measure and the rules to beat, each with a threshold from normal data alone."""

    def ours(windows: NDArray[np.float32]) -> NDArray[np.float64]:
        return score_as_known(detector, windows)

    def worst(windows: NDArray[np.float32]) -> NDArray[np.float64]:
        return worst_as_known(detector, windows)

    validation = normal_windows(np.random.default_rng(VALIDATION_SEED), VALIDATION_WINDOWS)
    yield Contender("consensus", False, ours, float(np.quantile(ours(validation), VALIDATION_QUANTILE)))
    yield Contender("consensus, worst step", False, worst, float(np.quantile(worst(validation), VALIDATION_QUANTILE)))
    yield Contender("consensus, its own threshold", False, ours, detector.threshold)
    yield Contender("autoencoder", False, lambda windows: network.score(WindowBatch.stack(windows)), network.threshold)
    distance, limit = distance_from_mean(TEST_SEED + 1)
    yield Contender("distance from the mean step", True, distance, limit)
    yield Contender("largest p99/p50", True, largest_ratio, RATIO_LIMIT)


def evaluate_generator(
    detector: ConsensusDetector,
    network: AutoencoderDetector,
    *,
    windows: int,
    on_model: Callable[[str], None] | None = None,
) -> list[tuple[Contender, ReferenceFigures]]:
    """Measure all contenders on the same test windows.

    Args:
        detector: fitted on the generator's normal rows.
        network: the reference autoencoder.
        windows: test windows, half of them with anomalous rows.
        on_model: told the name of the model that comes next.
    """
    found = []
    for contender in contenders(detector, network):
        if on_model is not None:
            on_model(contender.name)
        figures = evaluate_reference(contender.name, contender.score, contender.threshold, windows=windows)
        found.append((contender, figures))
    return found
