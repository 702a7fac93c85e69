"""What labels add on servers: ``python -m vigil.half_labelled FILE...``.

Each node's labelled time is cut into quarters. Two of them are known: they choose for how many steps the score of the
unsupervised detector is held (its largest value of the newest steps), and (``--trees``) train the trees of the
reliability detector, beside the normal rows of the train split. The other two measure that, and the detector that saw
no label. Four divisions are measured: the halves either way, and alternate quarters either way. The figure is the mean
of the nodes' average precisions, of nodes that have anomalous rows there.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

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

DIVISIONS: Final = ((0, 1), (2, 3), (0, 2), (1, 3))
"""Quarters that are known."""

HOLDS: Final = (1, 2, 3, 5, 10, 20)
"""Steps that a score may be held."""

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]


def held(recording: Recording, score: Scores, steps: int) -> Scores:
    """Return the largest score of each node's newest ``steps`` rows: float64 (n,)."""
    found = np.empty_like(score)
    for node in np.unique(recording.nodes).tolist():
        mine = np.flatnonzero(recording.nodes == node)
        padded = np.concatenate([np.full(steps - 1, -np.inf), score[mine]])
        found[mine] = np.lib.stride_tricks.sliding_window_view(padded, steps).max(axis=1)
    return found


def quarters(recording: Recording) -> NDArray[np.int64]:
    """Return the quarter of its node's labelled time that each row lies in, int64 (n,); -1 for rows without a label."""
    labelled = recording.test & (recording.label >= 0) & recording.finite
    found, ts_ms = np.full(len(labelled), -1, np.int64), recording.columns.ts_ms
    for node in np.unique(recording.nodes).tolist():
        mine = labelled & (recording.nodes == node)
        if mine.any():
            found[mine] = np.searchsorted(np.quantile(ts_ms[mine], (0.25, 0.5, 0.75)), ts_ms[mine], side="right")
    return found


def chosen_steps(recording: Recording, known: Mask, score: Scores) -> int:
    """Return the steps to hold a score under which the known rows' mean average precision is highest."""

    def mean(steps: int) -> float:
        figures = precisions(recording, known, held(recording, score, steps)).values()
        return float(np.mean(list(figures))) if figures else 0.0

    return max(HOLDS, key=mean)


def unsupervised(recording: Recording) -> Scores:
    """Score every row by the statistical detector fitted on the train split: float64 (n,)."""
    detector = fitted(recording, None, Choice("consensus", fit=True), say_nothing)
    steps, order = steps_of(recording)
    found = score_steps(detector, steps).scores
    scores = np.zeros(len(recording.columns))
    scores[order] = np.where(np.isnan(found), 0.0, found)
    return scores


def supervised(recording: Recording, learnt: Mask, measured: Mask, score: Scores) -> dict[str, Scores]:
    """Score every row by trees, float64 (n,): over window features alone, and with the score beside them."""
    steps, order = steps_of(recording)
    rows = NodeRows(recording.columns.fields, np.asarray(steps.keys), steps.ts_ms, steps.rows, recording.step_ms)
    positive, known = recording.label[order] == 1, learnt[order]
    plan = FeaturePlan.fit(rows.fields, rows.values[known & ~positive])
    drawn = np.random.default_rng(0).random(len(order)) < KEPT
    wanted = (known & (positive | drawn)) | measured[order]
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


def precisions(recording: Recording, rows: Mask, scores: Scores) -> dict[int, float]:
    """Return the average precision of each node, by its number, that has anomalous ones among ``rows``."""
    positive = recording.label == 1
    parts = {node: rows & (recording.nodes == node) for node in np.unique(recording.nodes).tolist()}
    return {
        node: average_precision(positive[part], scores[part]) for node, part in parts.items() if positive[part].any()
    }


def compare(path: Path, *, trees: bool) -> list[dict[str, object]]:
    """Measure one file: an entry a division, with the mean average precision of each contender.

    ``gain`` is that of what the labels chose over the unsupervised score, ``gain_error`` its standard error over nodes;
    ``None`` where fewer than two nodes have anomalous rows.
    """
    recording, _ = read_labelled(path)
    quarter, score = quarters(recording), unsupervised(recording)
    results: list[dict[str, object]] = []
    for division in DIVISIONS:
        known = np.isin(quarter, division)
        measured = (quarter >= 0) & ~known
        steps = chosen_steps(recording, known, score)
        contenders = {"unsupervised": score, "held as the labels say": held(recording, score, steps)}
        if trees:
            contenders |= supervised(recording, recording.train | known, measured, score)
        by_node = {name: precisions(recording, measured, scores) for name, scores in contenders.items()}
        gains = np.array(
            [by_node["held as the labels say"][node] - plain for node, plain in by_node["unsupervised"].items()]
        )
        results.append(
            {
                "file": path.name,
                "known_quarters": division,
                "held_steps": steps,
                **{name: float(np.mean(list(figures.values()))) for name, figures in by_node.items()},
                "nodes": len(gains),
                "gain": float(gains.mean()),
                "gain_error": float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else None,
            }
        )
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m vigil.half_labelled", description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="labelled recordings with a train split")
    parser.add_argument("--trees", action="store_true", help="also train trees on the labels: minutes a division")
    chosen = parser.parse_args(arguments)
    results = [entry for path in chosen.files for entry in compare(path, trees=chosen.trees)]
    sys.stdout.write(msgspec.json.encode({"results": results}).decode() + "\n")


if __name__ == "__main__":
    main()
