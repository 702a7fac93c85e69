"""Measure reliability models on a recording with incidents, beside the baselines, in one run.

``python -m detectors.reliability.evaluation FILE.parquet --incidents FILE.incidents.jsonl [--fit] [--artefact DIR]``
prints ``{"results": [...]}``, one entry a model, all on the test rows of ``split.py``.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import shipped
from detectors.reliability.contenders import Bench, Contender
from detectors.reliability.decision import Decision
from detectors.reliability.detector import ReliabilityDetector
from detectors.reliability.examples import NodeRows
from detectors.reliability.growing import Recipe
from detectors.reliability.labels import Labels, current, label_rows
from detectors.reliability.measuring import Verdicts, judge, measure_outlook, measure_parts
from detectors.reliability.metrics import average_precision
from detectors.reliability.split import Parts, split_by_time_and_node
from detectors.reliability.thresholds import AlarmBudget, RecallTarget, fit_threshold
from detectors.reliability.training import train_reliability
from features.recordings import read_columns
from schemas.metrics import Incident
from schemas.streams import NODE


def read_node_rows(path: Path) -> NodeRows:
    """Read node telemetry from a recording. Raises ``RecordingError`` when it cannot be read."""
    columns = read_columns(path, stream=NODE)
    return NodeRows(columns.fields, columns.node_ids, columns.ts_ms, columns.values.astype(np.float32), NODE.step_ms)


def read_incidents(path: Path) -> list[Incident]:
    """Read ``dwcp.incidents`` records from JSON lines, in the file's order. Raises ``msgspec.ValidationError``."""
    decoder = msgspec.json.Decoder(Incident)
    with path.open("rb") as lines:
        return [decoder.decode(line) for line in lines if line.strip()]


def compare(  # noqa: PLR0913 - one parameter a choice
    rows: NodeRows,
    incidents: Iterable[Incident],
    *,
    detector: ReliabilityDetector | None = None,
    fit: bool = False,
    prior: ReliabilityDetector | None = None,
    rule: RecallTarget | AlarmBudget | None = None,
    parts: Parts | None = None,
    recipe: Recipe | None = None,
    decision: Decision | None = None,
    most: int | None = None,
    name: str = "",
) -> list[dict[str, Any]]:
    """Measure models and baselines on the test rows.

    Args:
        rows: telemetry, in any order.
        incidents: records of ``dwcp.incidents`` in log order.
        detector: measured as it is, at its own threshold, without retraining.
        fit: also train ours and fit the baselines on the rows before the test part.
        prior: what ours leans on in training.
        rule: threshold of everything fitted here. When ``None`` ours has its default, and the others the highest
            threshold that catches 98 % of the validation incidents.
        parts: other parts of the rows, which are then in time order; ``split_by_time_and_node`` when ``None``.
        recipe: how to grow our trees; the default when ``None``.
        decision: how our margins decide; the default when ``None``.
        most: contenders beside ours, the strongest first; all when ``None``.
        name: goes into ``file``.

    Returns:
        One entry a model, with figures of the test part. ``median_lead_minutes`` is over the caught incidents of
        ``kinds_with_warning``: those that the model's first alarm preceded in the median before the test part.
    """
    standing = current(incidents)
    rows = rows.in_time_order()
    parts = parts or split_by_time_and_node(list(rows.node_ids), rows.ts_ms).parts
    table = _Table(rows, label_rows(list(rows.node_ids), rows.ts_ms, standing), parts, name)
    results = []
    if detector is not None:
        results.append(table.of_detector(detector, fitted=False))
    if fit:
        trained = train_reliability(
            rows, standing, recipe=recipe, rule=rule, prior=prior, parts=parts, decision=decision
        )
        results.append(table.of_detector(trained, fitted=True))
    if fit or detector is not None:
        bench = Bench(rows, table.labels, parts)
        others = bench.contenders() if fit else bench.untrained()
        results += [table.of_contender(each, rule or RecallTarget()) for each in islice(others, most)]
    return results


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows in time order, and what models are measured against."""

    rows: NodeRows
    labels: Labels
    parts: Parts
    name: str

    def of_detector(self, detector: ReliabilityDetector, *, fitted: bool) -> dict[str, Any]:
        """Measure a detector on the worker's own path."""
        verdicts = judge(detector, self.rows)
        # Of rows that its trees know, its verdicts say nothing: those of the folds do.
        before = detector.metadata.metrics["cross_validation"] if fitted else self._figures(verdicts, ~self.parts.test)
        entry = self._entry("reliability", verdicts, detector.threshold, before, fitted=fitted, baseline=False)
        return entry | {
            "outlook": measure_outlook(detector, self.rows, self.labels, verdicts.flagged & self.parts.test)
        }

    def of_contender(self, contender: Contender, rule: RecallTarget | AlarmBudget) -> dict[str, Any]:
        """Measure another model at a threshold from the validation part."""
        scores = Verdicts.of(contender.scores, np.zeros(len(self.rows), np.bool_)).scores
        known, nodes = self.parts.validation, np.asarray(self.rows.node_ids)
        threshold = fit_threshold(scores[known], self.labels.take(known), nodes[known], self.rows.step_ms, rule)
        verdicts = Verdicts(scores, scores > threshold)
        before = self._figures(verdicts, known)
        entry = self._entry(contender.name, verdicts, threshold, before, fitted=True, baseline=contender.baseline)
        if not contender.probability:
            entry |= {"expected_calibration_error": None, "brier_score": None, "reliability": None}
        return entry

    def _figures(self, verdicts: Verdicts, part: NDArray[np.bool_]) -> dict[str, Any]:
        return measure_parts(self.rows, self.labels, verdicts, {"part": part})["part"]

    def _entry(
        self,
        model: str,
        verdicts: Verdicts,
        threshold: float,
        before: Mapping[str, Any],
        *,
        fitted: bool,
        baseline: bool,
    ) -> dict[str, Any]:
        """Return the figures of the test part; ``before``: those of rows before it that the model had not seen."""
        test = self.parts.test
        figures = self._figures(verdicts, test)
        unseen = test & self.parts.unseen
        warned = sorted(kind for kind, lead in before["median_lead_by_kind"].items() if lead > 0.0)
        leads = [lead for kind in warned for lead in figures["leads"].get(kind, ())]
        return {
            "model": model,
            "file": self.name,
            "fit": fitted,
            "baseline": baseline,
            "average_precision": figures["average_precision"],
            "average_precision_unseen": average_precision(self.labels.positive[unseen], verdicts.scores[unseen]),
            **{key: figures.get(key) for key in _FIGURES},
            "median_lead_minutes": float(np.median(leads)) if leads else None,
            "median_lead_minutes_all": figures.get("median_lead_minutes"),
            "kinds_with_warning": warned,
            "threshold": threshold,
        }


_FIGURES = (
    "rows",
    "base_rate",
    "incidents",
    "incidents_caught",
    "caught_by_kind",
    "false_positive_rate",
    "false_episodes_per_node_day",
    "median_lead_by_kind",
    "leads",
    "expected_calibration_error",
    "brier_score",
    "reliability",
)


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
        detector=(artefact := ReliabilityDetector.load(chosen.artefact)),
        fit=chosen.fit,
        prior=artefact,
        name=chosen.file.name,
    )
    sys.stdout.write(msgspec.json.encode({"results": results}).decode() + "\n")


if __name__ == "__main__":
    main()
