"""What a high score rests on: a few bad steps, the newest one, or a trouble that lasts.

One second's stall of a machine is unlike anything normal, and mostly nobody's business; a weak fault is a little
unusual for long. One threshold cannot serve both. So windows have three further readings, each with a threshold of its
own, from its own tail on normal telemetry. A high score has to be borne out by one of them:

- ``sudden``: the score when the ``BURST`` worst steps before the newest one are taken out: what the newest step says
  by itself;
- ``sustained``: the score that is left when the ``BURST`` worst of the last ``RECENT`` steps are taken out;
- ``lasting``: how far the calmer half of the last ``LASTING`` steps is from normal, each step by itself, and how much
  calmer the steps before them were. A trouble of middling size that does not stop is rarer than its score says: where
  this reading passes its threshold, the score is raised to what is as rare.

The false alarms that are asked for are shared out by ``SHARES``: what is over after a second has to be rarer than what
goes on.

A step that is taken out is filled with one before it, as windows fill a step that is missing.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.parts import TINY
from detectors.consensus.views import RECENT

Floats = NDArray[np.float64]
BURST: Final = 3  # steps: a stall, its echo, and the second that a stall shares with the next
JUDGED: Final = RECENT + BURST  # steps whose evidence is looked at
LASTING: Final = 10  # steps whose calmer half is looked at
CALM: Final = 0.5  # squared distance a feature up to which steps count as calm; on average it is 1 in normal telemetry
SUDDEN, SUSTAINED, STAYING = range(3)  # columns of readings
SHARES: Final = (0.25, 0.6, 0.15)  # of the false alarms asked for, a reading


def without_burst(window: Floats, evidence: Floats, *, spare_newest: bool) -> Floats:
    """Return windows without the worst of their last steps.

    Args:
        window: float64 (n, steps, F), at least ``JUDGED`` steps.
        evidence: float64 (n, JUDGED), how unusual each of the last steps is.
        spare_newest: keep the newest step whatever it is.

    Returns:
        float64 (n, steps, F), ``BURST`` of the last ``RECENT`` steps each replaced by the last one before it that stays
        and is no worse than they are: a burst may have begun before the last ``RECENT`` steps.
    """
    shape, first = window.shape[:2], window.shape[1] - JUDGED
    candidates = evidence[:, BURST : JUDGED - 1 if spare_newest else JUDGED]
    worst = np.argpartition(-candidates, BURST - 1, axis=1)[:, :BURST]
    least = np.min(np.take_along_axis(candidates, worst, axis=1), axis=1, keepdims=True)
    taken = np.zeros(shape, dtype=np.bool_)
    np.put_along_axis(taken, worst + first + BURST, True, axis=1)
    unfit = taken.copy()
    unfit[:, first : first + BURST] = evidence[:, :BURST] > least
    sources = np.maximum.accumulate(np.where(unfit, 0, np.arange(shape[1])), axis=1)
    return np.take_along_axis(window, np.where(taken, sources, np.arange(shape[1]))[:, :, None], axis=1)


def calmer_half(evidence: Floats) -> Floats:
    """Return the geometric mean of the calmer half of each window's steps, float64 (n,).

    Args:
        evidence: float64 (n, steps), how unusual each step is, not negative.
    """
    calm = np.sort(evidence, axis=1)[:, : evidence.shape[1] // 2]
    return np.asarray(np.exp(np.mean(np.log(calm + TINY), axis=1)), dtype=np.float64)


def lasting(evidence: Floats, features: int) -> Floats:
    """Return the lasting reading, float64 (n,): never above ``calmer_half`` of the last ``LASTING`` steps.

    What a window's earlier steps have more than ``CALM`` divides it: telemetry that has drifted away from its baseline
    is far off all the time, and nothing new.

    Args:
        evidence: float64 (n, steps), more than ``LASTING`` + 1 of them.
        features: that a step is made of.
    """
    before = calmer_half(evidence[:, :-LASTING]) / (CALM * features)
    return np.asarray(calmer_half(evidence[:, -LASTING:]) / np.maximum(before, 1.0), dtype=np.float64)
