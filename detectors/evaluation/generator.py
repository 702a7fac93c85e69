"""Measure detectors on the reference generator: comparable with published figures, no evidence of use in production.

Rows of the generator are independent (SPEC section 3): there is one source of rows and no history. The consensus
detector is fitted on a run of its normal rows as one known node, and every test window is scored as if that node showed
it next. The autoencoder is the shipped one, which was trained on rows of the same generator.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

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
from detectors.reference import FIELDS, normal_rows, normal_windows
from features.batch import WindowBatch
from schemas.streams import CONSENSUS

SOURCE: Final = "generator"
ROWS: Final = 30_000
FIT_SEED: Final = 1
VALIDATION_SEED: Final = 2
VALIDATION_WINDOWS: Final = 4_000
VALIDATION_QUANTILE: Final = 0.999
START_MS: Final = 1_760_000_000_000
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
    before = np.repeat(detector.prime([SOURCE]), len(windows), axis=0)
    return detector.score(WindowBatch.stack(windows), before)


def contenders(detector: ConsensusDetector, network: AutoencoderDetector) -> Iterator[Contender]:
    """Yield the models to measure and the rules to beat, each with a threshold from normal data alone."""

    def ours(windows: NDArray[np.float32]) -> NDArray[np.float64]:
        return score_as_known(detector, windows)

    validation = normal_windows(np.random.default_rng(VALIDATION_SEED), VALIDATION_WINDOWS)
    yield Contender("consensus", False, ours, float(np.quantile(ours(validation), VALIDATION_QUANTILE)))
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
