"""A small labelled recording of correlated columns with faults."""

import numpy as np

from detectors.evaluation.run import Recording, sort_recording
from features.recordings import Columns

START = 1_760_000_000_000
STEPS = 900
TRAIN = 600
FAULT = slice(750, 780)


def columns(nodes: int = 3, seed: int = 0) -> Columns:
    """Three columns that move together on each of ``nodes`` nodes; in a fault of 30 steps the third stands apart."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(nodes, STEPS, 1))
    values = common + rng.normal(scale=0.2, size=(nodes, STEPS, 3))
    values[:, FAULT, 2] -= 3.0
    label = np.zeros((nodes, STEPS), np.int8)
    label[:, FAULT] = 1
    label[:, FAULT.stop : FAULT.stop + 5] = -1
    split = np.where(np.arange(STEPS) < TRAIN, "train", "test")
    return Columns(
        fields=("a", "b", "c"),
        node_ids=np.repeat([f"n{node}" for node in range(nodes)], STEPS),
        ts_ms=np.tile(START + 1000 * np.arange(STEPS, dtype=np.int64), nodes),
        values=values.reshape(-1, 3),
        split=np.tile(split, nodes),
        label=label.ravel(),
        clusters=np.full(nodes * STEPS, ""),
    )


def recording(nodes: int = 3, *, pooled: bool = False, seed: int = 0) -> Recording:
    rows, node = sort_recording(columns(nodes, seed))
    return Recording("made.parquet", rows, node, (0, 1, 2), log=False, step_ms=1000, pooled=pooled)
