"""Measure a detector on the reference generator: ``python -m detectors.autoencoder.evaluate [--json]``.

The figures are comparable with the reference's own (SPEC section 3): detection accuracy is (precision + recall) / 2 at
the artefact's own threshold, which comes from validation windows alone. Two trivial rules stand beside them.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import shipped
from detectors.autoencoder.detector import AutoencoderDetector
from detectors.reference import FIELDS, normal_windows, windows_with_bad_end, windows_with_one_bad_step
from features.batch import WindowBatch

Scorer: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float64]]
TEST_SEED: Final = 20_000  # training draws from seed 0
BAD_STEPS: Final = (1, 2, 3, 5, 10, 15, 30)
RATIO_LIMIT: Final = 2.52  # no normal row passes 1.8 x 1.4
_NORMAL_WINDOWS: Final = 4_000


@dataclass(frozen=True, slots=True)
class ReferenceFigures:
    """What a model reached on the reference generator.

    Attributes:
        model: its name.
        threshold: a greater score is an alarm.
        detection_accuracy: (precision + recall) / 2 over windows of which half end in 1 to 15 anomalous rows.
        precision, recall, f1, false_positive_rate: of the same windows.
        recall_by_bad_steps: recall by the number of anomalous rows at the end of the window.
        one_bad_step_flagged: share flagged of windows with a single anomalous row anywhere, at ``threshold``.
        one_bad_step_at_1_percent: the same at the threshold that 1 % of the normal windows among them pass.
    """

    model: str
    threshold: float
    detection_accuracy: float
    precision: float
    recall: float
    f1: float
    false_positive_rate: float
    recall_by_bad_steps: dict[str, float]
    one_bad_step_flagged: float
    one_bad_step_at_1_percent: float


def evaluate_reference(
    model: str, score: Scorer, threshold: float, *, windows: int = 20_000, seed: int = TEST_SEED
) -> ReferenceFigures:
    """Score windows of the reference generator.

    Args:
        model: its name.
        score: maps raw windows float32 (n, 30, 12) to scores float64 (n,), larger is more anomalous.
        threshold: from training data alone.
        windows: test windows, half of them anomalous.
        seed: of the test data; must not be the training data's.
    """
    rng = np.random.default_rng(seed)
    ends = windows_with_bad_end(rng, windows)
    flagged = score(ends.values) > threshold
    hits, alarms = int(np.sum(flagged & ends.labels)), int(np.sum(flagged))
    recall = hits / int(np.sum(ends.labels))
    precision = hits / alarms if alarms else 0.0
    single = windows_with_one_bad_step(rng, windows)
    scores = score(single.values)
    bad, normal = scores[single.labels], scores[~single.labels]
    return ReferenceFigures(
        model=model,
        threshold=threshold,
        detection_accuracy=(precision + recall) / 2,
        precision=precision,
        recall=recall,
        f1=2 * precision * recall / (precision + recall) if hits else 0.0,
        false_positive_rate=float(np.mean(flagged[~ends.labels])),
        recall_by_bad_steps={str(steps): _recall(rng, score, threshold, steps, windows // 10) for steps in BAD_STEPS},
        one_bad_step_flagged=float(np.mean(bad > threshold)),
        one_bad_step_at_1_percent=float(np.mean(bad > np.quantile(normal, 0.99))),
    )


def largest_ratio(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Score by the one-line rule that solves this data: the window's largest latency_p99 / latency_p50."""
    p50, p99 = (windows[..., FIELDS.index(name)].astype(np.float64) for name in ("latency_p50", "latency_p99"))
    return np.asarray((p99 / p50).max(axis=1), dtype=np.float64)


def distance_from_mean(seed: int) -> tuple[Scorer, float]:
    """Fit the network's own score with the mean step in place of the network; return it and its threshold."""
    rng = np.random.default_rng(seed)
    rows = normal_windows(rng, _NORMAL_WINDOWS).reshape(-1, len(FIELDS)).astype(np.float64)
    low, high = np.quantile(rows, (0.25, 0.75), axis=0)
    scale = np.where(high > low, high - low, 1.0)
    mean = rows.mean(axis=0)

    def score(windows: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.square((windows - mean) / scale).mean(axis=(1, 2)), dtype=np.float64)

    return score, float(np.quantile(score(normal_windows(rng, _NORMAL_WINDOWS)), 0.99))


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate an artefact and the two trivial rules; print a table, or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m detectors.autoencoder.evaluate", description=__doc__)
    parser.add_argument("--directory", type=Path, default=shipped("autoencoder"), help="the artefact")
    parser.add_argument("--windows", type=int, default=20_000, help="test windows, half of them anomalous")
    parser.add_argument("--seed", type=int, default=TEST_SEED, help="of the test data")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    detector = AutoencoderDetector.load(options.directory)
    distance, limit = distance_from_mean(options.seed + 1)
    models: list[tuple[str, Scorer, float]] = [
        (detector.version, lambda windows: detector.score(WindowBatch.stack(windows)), detector.threshold),
        ("distance from the mean step", distance, limit),
        ("largest p99/p50", largest_ratio, RATIO_LIMIT),
    ]
    results = [evaluate_reference(*model, windows=options.windows, seed=options.seed) for model in models]
    sys.stdout.write(_json(results, options) if options.json else _table(results))


def _recall(rng: np.random.Generator, score: Scorer, threshold: float, steps: int, windows: int) -> float:
    ends = windows_with_bad_end(rng, windows, (steps, steps))
    return float(np.mean(score(ends.values[ends.labels]) > threshold))


def _json(results: Sequence[ReferenceFigures], options: argparse.Namespace) -> str:
    return (
        json.dumps({"windows": options.windows, "seed": options.seed, "results": [asdict(each) for each in results]})
        + "\n"
    )


def _table(results: Sequence[ReferenceFigures]) -> str:
    lines = [
        "model                         detection accuracy  precision  recall  false positives  one bad step at 1 %",
        *(
            f"{each.model:<30}{each.detection_accuracy:>18.2%}{each.precision:>11.2%}{each.recall:>8.2%}"
            f"{each.false_positive_rate:>17.2%}{each.one_bad_step_at_1_percent:>21.2%}"
            for each in results
        ),
        "",
        "recall by anomalous rows at the end of the window",
        f"{'model':<30}" + "".join(f"{steps:>9}" for steps in BAD_STEPS),
        *(
            f"{each.model:<30}" + "".join(f"{each.recall_by_bad_steps[str(steps)]:>9.2%}" for steps in BAD_STEPS)
            for each in results
        ),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
