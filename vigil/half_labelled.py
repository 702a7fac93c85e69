"""What labels add on servers: ``python -m vigil.half_labelled FILE...``.

Each file's labelled time is halved, node by node. The first half chooses for how many steps the score of the
unsupervised detector is held (its largest value of the newest steps), and trains the trees of the reliability detector,
beside the normal rows of the train split. The second half measures them, and the detector that saw no label. The figure
is the mean of the nodes' average precisions, of nodes that have anomalous rows in the half.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.run import Recording
from detectors.offline import score_steps
from detectors.reliability.examples import NodeRows, make_examples
from detectors.reliability.features import FeaturePlan
from detectors.reliability.growing import Recipe, grow
from detectors.reliability.metrics import average_precision
from detectors.reliability.trees import margins
from vigil.evaluation import Choice, fitted, steps_of
from vigil.labelled import read_labelled
from vigil.progress import say_nothing

RECIPE = Recipe(trees=300, learning_rate=0.04, prior=0.0)
KEPT = 0.25
"""Share of the normal rows that trees are grown on; every anomalous row is."""

HOLDS = (1, 2, 3, 5, 10, 20)
"""Steps that a score may be held."""

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Halves:
    """The rows of a recording, bool (n,) each: to train on, and to measure on."""

    known: Mask
    measured: Mask


def halve(recording: Recording) -> Halves:
    """Cut each node's labelled test rows at the middle of their time."""
    labelled = recording.test & (recording.label >= 0) & recording.finite
    first = np.zeros(len(labelled), np.bool_)
    ts_ms = recording.columns.ts_ms
    for node in np.unique(recording.nodes).tolist():
        mine = labelled & (recording.nodes == node)
        if mine.any():
            first |= mine & (ts_ms < np.median(ts_ms[mine]))
    return Halves(recording.train | first, labelled & ~first)


def unsupervised(recording: Recording) -> Scores:
    """Score every row by the statistical detector fitted on the train split: float64 (n,)."""
    detector = fitted(recording, None, Choice("consensus", fit=True), say_nothing)
    steps, order = steps_of(recording)
    found = score_steps(detector, steps).scores
    scores = np.zeros(len(recording.columns))
    scores[order] = np.where(np.isnan(found), 0.0, found)
    return scores


def supervised(recording: Recording, halves: Halves, score: Scores) -> dict[str, Scores]:
    """Score every row by trees, float64 (n,): over window features alone, and with the score beside them."""
    steps, order = steps_of(recording)
    rows = NodeRows(recording.columns.fields, np.asarray(steps.keys), steps.ts_ms, steps.rows, recording.step_ms)
    positive, known = recording.label[order] == 1, halves.known[order]
    plan = FeaturePlan.fit(rows.fields, rows.values[known & ~positive])
    drawn = np.random.default_rng(0).random(len(order)) < KEPT
    wanted = (known & (positive | drawn)) | halves.measured[order]
    examples = make_examples(rows, plan, 30, wanted)
    at = examples.rows
    train, weight = known[at], np.where(positive[at], 1.0, 1.0 / KEPT)
    beside = np.column_stack([examples.features, np.log1p(np.maximum(score[order][at], 0.0)).astype(np.float32)])
    found = {}
    for name, features in (("trees", examples.features), ("trees with the score", beside)):
        booster = grow(features[train], positive[at][train], weight[train], RECIPE)
        scores = np.full(len(recording.columns), -np.inf)
        scores[order[at]] = margins(booster, features)
        found[name] = scores
    return found


def held(recording: Recording, score: Scores, steps: int) -> Scores:
    """Return the largest score of each node's newest ``steps`` rows: float64 (n,)."""
    found = np.empty_like(score)
    for node in np.unique(recording.nodes).tolist():
        mine = np.flatnonzero(recording.nodes == node)
        padded = np.concatenate([np.full(steps - 1, -np.inf), score[mine]])
        found[mine] = np.lib.stride_tricks.sliding_window_view(padded, steps).max(axis=1)
    return found


def mean_precision(recording: Recording, rows: Mask, scores: Scores) -> float:
    """Return the mean average precision of the nodes that have anomalous ones among ``rows``; NaN when none has."""
    positive = recording.label == 1
    parts = [rows & (recording.nodes == node) for node in np.unique(recording.nodes).tolist()]
    found = [average_precision(positive[part], scores[part]) for part in parts if positive[part].any()]
    return float(np.mean(found)) if found else float("nan")


def compare(path: Path) -> dict[str, object]:
    """Measure one file; the keys are its name and the mean average precision of each contender."""
    recording, _ = read_labelled(path)
    halves, score = halve(recording), unsupervised(recording)
    first = halves.known & recording.test
    steps = max(HOLDS, key=lambda each: mean_precision(recording, first, held(recording, score, each)))
    contenders = {
        "unsupervised": score,
        "held as the labels say": held(recording, score, steps),
        **supervised(recording, halves, score),
    }
    means = {name: mean_precision(recording, halves.measured, scores) for name, scores in contenders.items()}
    return {"file": path.name, "held_steps": steps, **means}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m vigil.half_labelled", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="labelled recordings with a train split")
    results = [compare(path) for path in parser.parse_args(arguments).files]
    sys.stdout.write(msgspec.json.encode({"results": results}).decode() + "\n")


if __name__ == "__main__":
    main()
