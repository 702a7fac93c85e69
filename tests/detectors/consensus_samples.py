"""A small fleet's normal telemetry, and a detector fitted on it."""

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.fit import FitSettings, NormalSteps, fit_consensus
from features.batch import WindowBatch
from features.windows import WindowStore

FIELDS = ("queue_depth", "latency_p50", "latency_p99", "leader_changes", "mode")
USED = (0, 1, 2, 3)
START_MS = 1_750_000_000_000


def fleet(nodes: int, steps: int, seed: int, name: str = "n") -> NormalSteps:
    """Nodes of different levels, each with slow noise, quick noise and one-second spikes of the latency tail."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(1.0, 4.0, (nodes, 1))
    slow = np.cumsum(rng.normal(0, 0.01, (nodes, steps)), axis=1)
    slow -= slow.mean(axis=1, keepdims=True)
    p50 = np.exp(level + slow + rng.normal(0, 0.08, (nodes, steps)))
    spikes = np.where(rng.random((nodes, steps)) < 0.01, rng.uniform(2, 6, (nodes, steps)), 1.0)
    p99 = p50 * np.exp(rng.normal(0.6, 0.15, (nodes, steps))) * spikes
    queue = rng.poisson(np.exp(0.5 * level), (nodes, steps))
    quiet = np.zeros((nodes, steps))
    rows = np.stack([queue, p50, p99, quiet, quiet + 1], axis=2)
    keys = [f"{name}{node}" for _ in range(steps) for node in range(nodes)]
    ts_ms = START_MS + 1000 * np.repeat(np.arange(steps), nodes)
    return NormalSteps(
        FIELDS, keys, ts_ms, rows.transpose(1, 0, 2).reshape(-1, 5).astype(np.float32), USED, (True,) * 4
    )


@cache
def fitted(*, know_nodes: bool = False) -> ConsensusDetector:
    return fit_consensus(fleet(10, 400, 1), FitSettings(know_nodes=know_nodes))


def scored(
    detector: ConsensusDetector, steps: NormalSteps, cuts: tuple[int, ...] = ()
) -> dict[tuple[str, int], tuple[float, NDArray[np.float32], WindowBatch]]:
    """Score as the worker does, the log cut into batches at ``cuts``: by node and time, score, state before, window."""
    store = WindowStore(len(FIELDS), state_width=detector.state_width)
    result = {}
    bounds = [0, *sorted(cuts), len(steps.rows)]
    for a, b in pairwise(bounds):
        nobody = np.zeros(b - a, dtype=np.int32)
        windows = store.append(nobody, steps.keys[a:b], steps.ts_ms[a:b], steps.rows[a:b]).windows
        slots, node = np.unique(windows.slots, return_inverse=True)
        state = store.state[slots]
        fresh = np.flatnonzero(~state.any(axis=1))
        state[fresh] = detector.prime([store.key_of(int(slot)) for slot in slots[fresh]])
        before = detector.advance(windows, state, node)
        store.state[slots] = state
        scores = detector.score(windows, before)
        for i, record in enumerate(windows.records.tolist()):
            window = windows.take(np.array([i]))
            result[steps.keys[a + record], int(steps.ts_ms[a + record])] = (float(scores[i]), before[i], window)
    return result
