"""Thresholds from normal data, asked for in the unit a person understands: false alarms per node-day."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MS_PER_DAY: Final = 86_400_000
FAR_TAILS: Final = (0.9999, 0.9997, 0.999, 0.997)  # quantiles of all scores at which the tail starts, given many peaks
MANY_PEAKS: Final = 100
TAILS: Final = (0.99, 0.98, 0.95, 0.9, 0.8)  # and given few
PRIOR_INDEX: Final = 5.5  # tails of scores on simulated fleets have indices of 4.5 to 6.5
PRIOR_PEAKS: Final = 20  # peaks that this knowledge is worth
MIN_PEAKS: Final = 10  # a tail index from fewer episodes is noise
MIN_SCORES: Final = 100
# Shorter recordings leave ten episodes more often than not, these always did.
LONGER: Final = (
    "give a longer recording of normal operation: 1,000 steps of one node are enough, 500 each of two, 400 each of "
    "three or more"
)


class ThresholdError(ValueError):
    """The scores cannot carry a threshold: too few, not finite, or all alike."""


@dataclass(frozen=True, slots=True)
class TailFit:
    """A threshold with the tail it was extrapolated from.

    Attributes:
        threshold: scores above it are alarms.
        tail_start: score from which the tail was taken as a power law.
        tail_index: Hill's estimate, leaning on ``PRIOR_INDEX`` where peaks are few; the larger, the lighter the tail.
        peaks: false-alarm episodes above ``tail_start`` that the fit rests on.
        node_days: event time the scores cover, summed over nodes.
        asked: false alarms per node-day the threshold is for.
        seen: episodes per node-day that pass the threshold on the very scores it was fitted on.
    """

    threshold: float
    tail_start: float
    tail_index: float
    peaks: int
    node_days: float
    asked: float
    seen: float


def episode_peaks(scores: NDArray[np.float64], level: float, quiet_steps: int) -> NDArray[np.float64]:
    """Return the highest score of each episode above ``level``.

    Args:
        scores: float64 (n,), one node's scores in event-time order.
        level: an episode holds the steps whose score is greater.
        quiet_steps: exceedances fewer than this many steps apart belong to one episode.

    Returns:
        float64 (episodes,), in event-time order.
    """
    above = np.flatnonzero(scores > level)
    if not len(above):
        return np.empty(0)
    starts = np.flatnonzero(np.diff(above, prepend=-quiet_steps - 1) > quiet_steps)
    return np.maximum.reduceat(scores[above], starts)


def fit_threshold(
    scores: Sequence[NDArray[np.float64]],
    *,
    step_ms: int,
    false_alarms_per_node_day: float,
    quiet_steps: int = 10,
    least_peaks: int = MIN_PEAKS,
) -> TailFit:
    """Find the threshold that normal telemetry passes ``false_alarms_per_node_day`` times.

    Training data is mostly shorter than a node-day, so the rate has to be extrapolated: the peaks of the highest
    episodes are taken as a power law with Hill's index (Hill, Annals of Statistics 1975), and extrapolated to the rate
    asked for (Weissman, JASA 1978). What little data leaves open about the index is averaged over, which puts the
    threshold of a short recording higher. Peaks, not steps, because what disturbs a person is the episode.

    Args:
        scores: float64 (n_i,) for each node, positive, of normal telemetry in event-time order.
        step_ms: nominal milliseconds between steps.
        false_alarms_per_node_day: the rate asked for, > 0.
        quiet_steps: steps without exceedance that end an episode.
        least_peaks: episodes without which nothing is fitted.

    Raises:
        ThresholdError: there are too few scores, or they are not finite and positive.
    """
    pooled = np.concatenate([np.asarray(each, dtype=np.float64) for each in scores]) if scores else np.empty(0)
    _check(pooled, false_alarms_per_node_day)
    node_days = len(pooled) * step_ms / MS_PER_DAY
    start, peaks = _tail(scores, pooled, quiet_steps, least_peaks)
    # The index has a Gamma posterior, in which few peaks lean on what fleets usually show; the threshold is where the
    # predictive distribution of peaks reaches the rate. With many peaks that is Weissman's quantile at Hill's index.
    shape, rate = len(peaks) + PRIOR_PEAKS, float(np.sum(np.log(peaks / start))) + PRIOR_PEAKS / PRIOR_INDEX
    index = shape / rate
    times = max(1.0, len(peaks) / node_days / false_alarms_per_node_day)
    threshold = start * float(np.exp(rate * (times ** (1.0 / shape) - 1.0)))
    passed = sum(len(episode_peaks(each, threshold, quiet_steps)) for each in scores)
    return TailFit(threshold, start, index, len(peaks), node_days, false_alarms_per_node_day, passed / node_days)


def _tail(
    scores: Sequence[NDArray[np.float64]], pooled: NDArray[np.float64], quiet_steps: int, least_peaks: int
) -> tuple[float, NDArray[np.float64]]:
    """Return where the tail starts and its episodes' peaks: as far out as leaves enough of them.

    A power law is a law of the far tail: what is rare in another way than the bulk (a leader change) shows only there.
    """
    enough = [(quantile, MANY_PEAKS) for quantile in FAR_TAILS]
    enough += [(quantile, least) for least in (MIN_PEAKS, least_peaks) for quantile in TAILS]
    for quantile, least in enough:
        start = float(np.quantile(pooled, quantile))
        peaks = np.concatenate([episode_peaks(each, start, quiet_steps) for each in scores])
        if len(peaks) >= least:
            return start, peaks
    raise ThresholdError(
        f"{len(peaks)} episodes above the {TAILS[-1]:.0%} quantile of {len(pooled)} scores: a threshold needs at least "
        f"{least_peaks}; {LONGER}"
    )


def _check(pooled: NDArray[np.float64], rate: float) -> None:
    if not rate > 0.0:
        raise ThresholdError(f"false_alarms_per_node_day is {rate}: it must be greater than 0")
    if len(pooled) < MIN_SCORES:
        raise ThresholdError(
            f"{len(pooled)} scores of normal telemetry: a threshold needs at least {MIN_SCORES}; {LONGER}"
        )
    if not np.all(np.isfinite(pooled)) or np.any(pooled <= 0.0):
        raise ThresholdError("scores of normal telemetry must be finite and positive")
