"""Random processes the simulators are built from, vectorised over time."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BLOCK = 128


def ar1(rng: np.random.Generator, steps: int, width: int, phi: float, sd: float) -> Floats:
    """Draw stationary first-order autoregressive series.

    Args:
        rng: source of the noise.
        steps: length of the series.
        width: number of independent series.
        phi: correlation of one step with the next, 0 <= phi < 1.
        sd: standard deviation of the series (not of its innovations).

    Returns:
        float64 (steps, width).
    """
    noise = rng.standard_normal((steps, width)) * (sd * np.sqrt(1.0 - phi * phi))
    noise[0] = rng.standard_normal(width) * sd
    return decaying_sum(noise, phi)


def decaying_sum(values: Floats, phi: float) -> Floats:
    """Sum values over time with the past fading by ``phi`` a step: ``y[t] = phi y[t-1] + x[t]``.

    Blocks of 128 steps are one matrix product, so that the cost is a product and not a Python loop over time.

    Args:
        values: float64 (T, width).
        phi: 0 <= phi < 1.

    Returns:
        float64 (T, width).
    """
    steps, width = values.shape
    blocks = -(-steps // _BLOCK)
    padded = np.zeros((blocks * _BLOCK, width))
    padded[:steps] = values
    lag = np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK))
    weights = np.where(lag >= 0, phi ** np.maximum(lag, 0), 0.0)
    sums = weights @ padded.reshape(blocks, _BLOCK, width)
    decay = (phi ** np.arange(1, _BLOCK + 1))[:, None]
    for block in range(1, blocks):
        sums[block] += decay * sums[block - 1, -1]
    out: Floats = sums.reshape(blocks * _BLOCK, width)[:steps]
    return out


def envelope(steps: int, rise: int, fall: int) -> Floats:
    """Return a course from 0 up to 1 and back: ``rise`` steps up, a plateau, ``fall`` steps down.

    Returns:
        float64 (steps,), greater than 0 from the first step on.
    """
    at = np.arange(steps, dtype=np.float64)
    up = (at + 1.0) / (rise + 1.0)
    down = (steps - at) / (fall + 1.0)
    return np.minimum(1.0, np.minimum(up, down))


def events(rng: np.random.Generator, steps: int, per_step: float) -> NDArray[np.int64]:
    """Draw the steps at which rare independent events start (a Poisson process, at most ``steps`` of them).

    Returns:
        int64, ascending, may be empty.
    """
    count = min(int(rng.poisson(per_step * steps)), steps)
    return np.sort(rng.integers(0, steps, count))


def daily_cycle(ts_ms: NDArray[np.int64], phase_hours: float) -> Floats:
    """Return the daily cycle in -1..1 at each time: highest at 14:00 UTC plus ``phase_hours``.

    A second harmonic makes the morning steeper than the evening, as traffic is.
    """
    day = (ts_ms % 86_400_000) / 86_400_000.0
    angle = 2.0 * np.pi * (day - (8.0 + phase_hours) / 24.0)
    wave: Floats = (np.sin(angle) + 0.25 * np.sin(2.0 * angle)) / 1.12
    return wave


def reflected(increments: Floats) -> Floats:
    """Return a queue that grows by ``increments`` and never falls below 0 (a random walk reflected at 0)."""
    level = np.cumsum(increments)
    return level - np.minimum(np.minimum.accumulate(level), 0.0)
