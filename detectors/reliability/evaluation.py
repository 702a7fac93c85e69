"""Measure reliability models on a recording with incidents, beside the baselines, in one run.

``python -m detectors.reliability.evaluation FILE.parquet --incidents FILE.incidents.jsonl [--fit] [--artefact DIR]``
prints ``{"results": [...]}``, one entry a model, all on the test rows of ``split.py``.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import shipped
from detectors.reliability.detector import ReliabilityDetector
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
    split = split_by_time_and_node(list(rows.node_ids), rows.ts_ms)
    labels = label_rows(list(rows.node_ids), rows.ts_ms, standing)
    plan = FeaturePlan.fit(rows.fields, rows.values[split.train & ~labels.positive])
    examples = make_examples(rows, plan, 30)
    labels = label_rows(examples.nodes.tolist(), examples.ts_ms, standing)
    bench = _Bench(
        examples, labels, split.of(examples.nodes, examples.ts_ms), rule or RecallTarget(), rows.step_ms, name
    )
    results = []
    if detector is not None:
        own = make_examples(rows, detector.plan, detector.window)
        results.append(bench.measure("reliability", detector.probability(own.features), threshold=detector.threshold))
    if fit:
        results.append(bench.trees("reliability", Recipe()))
        results.append(bench.trees("xgboost (reference recipe)", REFERENCE_RECIPE))
        results.append(bench.logistic(plan))
    column = plan.names.index("error_rate:mean5") if "error_rate" in plan.fields else 0
    results.append(
        bench.measure("error_rate, mean of 5", examples.features[:, column].astype(np.float64), baseline=True)
    )
    return results


class _Bench:
    """What every model is measured with."""

    def __init__(
        self,
        examples: Examples,
        labels: Labels,
        parts: Parts,
        rule: RecallTarget | AlarmBudget,
        step_ms: int,
        name: str,
    ) -> None:
        self.examples, self.labels, self.parts = examples, labels, parts
        self.rule, self.step_ms, self.name = rule, step_ms, name

    def trees(self, model: str, recipe: Recipe) -> dict[str, Any]:
        """Train trees on the training part and measure their calibrated probability."""
        train = self.parts.train
        booster = grow(self.examples.features[train], self.labels.positive[train], recipe)
        return self._calibrated(model, margins(booster, self.examples.features))

    def logistic(self, plan: FeaturePlan) -> dict[str, Any]:
        """Measure logistic regression on the newest row alone."""
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a baseline, not part of scoring
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        newest = self.examples.features[:, [plan.names.index(f"{field}:last") for field in plan.fields]]
        values = np.log1p(np.maximum(newest, 0.0).astype(np.float64))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000, class_weight="balanced"))
        train = self.parts.train
        model.fit(values[train], self.labels.positive[train])
        return self._calibrated(
            "logistic regression, one row", np.asarray(model.decision_function(values), np.float64), baseline=True
        )

    def _calibrated(self, model: str, margin: Scores, *, baseline: bool = False) -> dict[str, Any]:
        validation = self.parts.validation
        slope, offset = calibrate(margin[validation], self.labels.positive[validation])
        probability = 1.0 / (1.0 + np.exp(-np.clip(slope * margin + offset, -36.0, 36.0)))
        return self.measure(model, probability, baseline=baseline, fitted=True)

    def measure(
        self,
        model: str,
        scores: Scores,
        *,
        threshold: float | None = None,
        baseline: bool = False,
        fitted: bool = False,
    ) -> dict[str, Any]:
        """Measure scores on the test part; without a threshold it comes from the validation part."""
        validation, test = self.parts.validation, self.parts.test
        nodes, unseen = self.examples.nodes, self.parts.test & self.parts.unseen
        if threshold is None:
            threshold = fit_threshold(
                scores[validation], self.labels.take(validation), nodes[validation], self.step_ms, self.rule
            )
        found = evaluate(
            scores[test], threshold, self.labels.take(test), nodes[test], self.examples.ts_ms[test], self.step_ms
        )
        is_probability = fitted or model == "reliability"
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
            "expected_calibration_error": expected_calibration_error(self.labels.positive[test], scores[test])
            if is_probability
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
