"""Measure reliability models on a recording with incidents, beside the baselines, in one run.

``python -m detectors.reliability.evaluation FILE.parquet --incidents FILE.incidents.jsonl [--fit] [--artefact DIR]``
prints ``{"results": [...]}``, one entry a model, all on the test rows of ``split.py``.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import shipped
from detectors.reliability.detector import ReliabilityDetector, probability_of
from detectors.reliability.features import FeaturePlan
from detectors.reliability.labels import Labels, current, label_rows
from detectors.reliability.metrics import average_precision, evaluate, expected_calibration_error
from detectors.reliability.split import Parts, split_by_time_and_node
from detectors.reliability.thresholds import AlarmBudget, RecallTarget, fit_threshold
from detectors.reliability.training import (
    REFERENCE_RECIPE,
    Examples,
    NodeRows,
    Recipe,
    calibrate,
    grow,
    make_examples,
    margins,
)
from features.recordings import read_columns
from schemas.metrics import Incident
from schemas.streams import NODE

Scores = NDArray[np.float64]


def read_node_rows(path: Path) -> NodeRows:
    """Read node telemetry from a recording. Raises ``RecordingError`` when it cannot be read."""
    columns = read_columns(path, stream=NODE)
    return NodeRows(columns.fields, columns.node_ids, columns.ts_ms, columns.values.astype(np.float32), NODE.step_ms)


def read_incidents(path: Path) -> list[Incident]:
    """Read ``dwcp.incidents`` records from JSON lines, in the file's order. Raises ``msgspec.ValidationError``."""
    decoder = msgspec.json.Decoder(Incident)
    with path.open("rb") as lines:
        return [decoder.decode(line) for line in lines if line.strip()]


def compare(
    rows: NodeRows,
    incidents: Iterable[Incident],
    *,
    detector: ReliabilityDetector | None = None,
    fit: bool = False,
    rule: RecallTarget | AlarmBudget | None = None,
    name: str = "",
) -> list[dict[str, Any]]:
    """Measure models and baselines on the test rows.

    Args:
        rows: telemetry, in any order.
        incidents: records of ``dwcp.incidents`` in log order.
        detector: measured as it is, at its own threshold, without retraining.
        fit: also train ours and the reference recipe on the training part.
        rule: threshold of everything fitted here; 98 % of the validation incidents when ``None``.
        name: goes into ``file``.

    Returns:
        One entry a model, with figures of the test part.
    """
    standing = current(incidents)
    order = np.argsort(rows.ts_ms, kind="stable")
    rows = NodeRows(rows.fields, np.asarray(rows.node_ids)[order], rows.ts_ms[order], rows.values[order], rows.step_ms)
    split = split_by_time_and_node(list(rows.node_ids), rows.ts_ms)
    labels = label_rows(list(rows.node_ids), rows.ts_ms, standing)
    plan = FeaturePlan.fit(rows.fields, rows.values[split.train & ~labels.positive])
    examples = make_examples(rows, plan, 30)
    bench = _Bench(rows, labels, split.parts, examples, rule or RecallTarget(), name)
    results = []
    if detector is not None:
        own = make_examples(rows, detector.plan, detector.window)
        scores = bench.of_every_row(own, detector.probability(own.features))
        results.append(bench.measure("reliability", scores, threshold=detector.threshold, probability=True))
    if fit:
        results.append(bench.trees("reliability", Recipe()))
        results.append(bench.trees("xgboost (reference recipe)", REFERENCE_RECIPE))
        results.append(bench.logistic())
    if "error_rate" in rows.fields:
        errors = examples.features[:, plan.names.index("error_rate:mean5")].astype(np.float64)
        results.append(bench.measure("error_rate, mean of 5", bench.of_every_row(examples, errors), baseline=True))
    return results


@dataclass(frozen=True, slots=True)
class _Bench:
    """What every model is measured with: all rows in time order, and the windows that end at them."""

    rows: NodeRows
    labels: Labels
    parts: Parts
    examples: Examples
    rule: RecallTarget | AlarmBudget
    name: str

    def of_every_row(self, examples: Examples, scores: Scores) -> Scores:
        """Give each row its window's score, and the lowest of all where it has none (a window not yet complete).

        A model that says nothing of a row has missed it, so such rows count.
        """
        every = np.full(len(self.rows), scores.min(initial=0.0))
        every[examples.rows] = scores
        return every

    def trees(self, model: str, recipe: Recipe) -> dict[str, Any]:
        """Train trees on the training part and measure their calibrated probability."""
        train = self.parts.train[self.examples.rows]
        booster = grow(self.examples.features[train], self.labels.positive[self.examples.rows][train], recipe)
        return self._calibrated(model, margins(booster, self.examples.features))

    def logistic(self) -> dict[str, Any]:
        """Measure logistic regression on the newest row alone."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a baseline, not part of scoring
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        values = np.log1p(np.maximum(self.rows.values[self.examples.rows], 0.0).astype(np.float64))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000, class_weight="balanced"))
        train = self.parts.train[self.examples.rows]
        model.fit(values[train], self.labels.positive[self.examples.rows][train])
        margin = np.asarray(model.decision_function(values), np.float64)
        return self._calibrated("logistic regression, one row", margin, baseline=True)

    def _calibrated(self, model: str, margin: Scores, *, baseline: bool = False) -> dict[str, Any]:
        validation = self.parts.validation[self.examples.rows]
        positive = self.labels.positive[self.examples.rows]
        scores = probability_of(margin, *calibrate(margin[validation], positive[validation]))
        return self.measure(
            model, self.of_every_row(self.examples, scores), baseline=baseline, fitted=True, probability=True
        )

    def measure(
        self,
        model: str,
        scores: Scores,
        *,
        threshold: float | None = None,
        baseline: bool = False,
        fitted: bool = False,
        probability: bool = False,
    ) -> dict[str, Any]:
        """Measure the scores of all rows on the test part; without a threshold it comes from the validation part."""
        nodes = np.asarray(self.rows.node_ids)
        validation, test, unseen = self.parts.validation, self.parts.test, self.parts.test & self.parts.unseen
        labels = self.labels.take(test)
        if threshold is None:
            known = self.labels.take(validation)
            threshold = fit_threshold(scores[validation], known, nodes[validation], self.rows.step_ms, self.rule)
        found = evaluate(scores[test], threshold, labels, nodes[test], self.rows.ts_ms[test], self.rows.step_ms)
        return {
            "model": model,
            "file": self.name,
            "fit": fitted,
            "baseline": baseline,
            "average_precision": found.average_precision,
            "average_precision_unseen": average_precision(self.labels.positive[unseen], scores[unseen]),
            "base_rate": found.base_rate,
            "incidents": found.incidents,
            "incidents_caught": found.incidents_caught,
            "caught_by_kind": found.caught_by_kind,
            "false_positive_rate": found.false_positive_rate,
            "false_episodes_per_node_day": found.false_episodes_per_node_day,
            "median_lead_minutes": found.median_lead_minutes,
            "expected_calibration_error": expected_calibration_error(labels.positive, scores[test])
            if probability
            else None,
            "threshold": threshold,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m detectors.reliability.evaluation", description=__doc__)
    parser.add_argument("file", type=Path, help="recording of node telemetry")
    parser.add_argument("--incidents", type=Path, required=True, help="its incidents, JSON lines")
    parser.add_argument("--artefact", type=Path, default=shipped("reliability"), help="the model to measure as it is")
    parser.add_argument("--fit", action="store_true", help="also train on the file's training part")
    chosen = parser.parse_args(arguments)
    results = compare(
        read_node_rows(chosen.file),
        read_incidents(chosen.incidents),
        detector=ReliabilityDetector.load(chosen.artefact),
        fit=chosen.fit,
        name=chosen.file.name,
    )
    sys.stdout.write(msgspec.json.encode({"results": results}).decode() + "\n")


if __name__ == "__main__":
    main()
