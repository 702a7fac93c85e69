"""Train the reliability model from rows and incidents: gates, splits, trees, calibration, threshold, outlook."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import Metadata, ThresholdFit, data_hash, library_versions, shipped
from detectors.reliability.calibration import calibrate
from detectors.reliability.crossfit import FOLDS, CrossFit, folds_of
from detectors.reliability.decision import Decision
from detectors.reliability.detector import MODEL_FILE, NAME, PRIOR_FILE, ReliabilityDetector, probability_of
from detectors.reliability.ensemble import Ensemble
from detectors.reliability.examples import Examples, NodeRows, Sample, draw_sample, make_examples
from detectors.reliability.features import FeaturePlan
from detectors.reliability.growing import REFERENCE_RECIPE, Progress, Recipe, grow
from detectors.reliability.labels import Labels, current, label_rows
from detectors.reliability.measuring import Verdicts, judge, measure_parts
from detectors.reliability.outlook_fit import Outlook, fit_outlook
from detectors.reliability.split import Parts, split_by_time_and_node
from detectors.reliability.thresholds import AlarmBudget, RecallTarget, fit_threshold
from detectors.reliability.transplants import Transplants, strangeness
from detectors.reliability.trees import load_trees
from schemas.metrics import Incident

MIN_ROWS = 10_000
MIN_POSITIVES = 500
RULE = AlarmBudget(0.7)
"""A budget of false alarms means the same on every fleet; a recall hangs on the few incidents that hardly show."""
LEAST = 0.05
"""Probability below which a row is no alarm, whatever the rule asks for."""


class DataGateError(ValueError):
    """The data is not fit to train on; the text says which gate it fails, by how much, and what to do."""


def check_gates(rows: NodeRows, incidents: Iterable[Incident]) -> None:
    """Refuse data that cannot train a model (SPEC section 3: at least 10,000 rows, 500 positives, no nulls).

    Raises:
        DataGateError: naming the gate and the figure.
    """
    missing = np.flatnonzero(~np.isfinite(rows.values).all(axis=0)) if len(rows) else np.empty(0, np.int64)
    if len(missing):
        names = ", ".join(rows.fields[place] for place in missing.tolist())
        raise DataGateError(f"null or non-finite values in {names}; drop those rows or fill them before training")
    if len(rows) < MIN_ROWS:
        raise DataGateError(f"{len(rows)} rows; training needs at least {MIN_ROWS}: record for longer or more nodes")
    positives = int(label_rows(list(rows.node_ids), rows.ts_ms, incidents).positive.sum())
    if positives < MIN_POSITIVES:
        raise DataGateError(
            f"{positives} rows lie in an incident or the 30 minutes before; training needs at least {MIN_POSITIVES}: "
            f"check that node ids and clocks of incidents and rows agree, or record more incidents"
        )


def prior_for(fields: Sequence[str]) -> ReliabilityDetector | None:
    """Load the shipped detector to lean on, ``None`` where it takes other fields. Raises ``ArtefactError``."""
    detector = ReliabilityDetector.load(shipped(NAME))
    return detector if detector.fields == tuple(fields) else None


def train_reliability(  # noqa: PLR0913 - one parameter a choice
    rows: NodeRows,
    incidents: Iterable[Incident],
    *,
    window: int = 30,
    recipe: Recipe | None = None,
    rule: RecallTarget | AlarmBudget | None = None,
    prior: ReliabilityDetector | None = None,
    parts: Parts | None = None,
    decision: Decision | None = None,
    progress: Progress | None = None,
) -> ReliabilityDetector:
    """Train a detector; the same arguments give the same bytes.

    Everything is learnt from three nodes of four and the first 70 % of the time. Calibration, threshold and bands come
    from trees that had not seen the node they score (``crossfit``); the trees that ship know all of those nodes. The
    last 30 % of the time, and the fourth nodes, only measure.

    Args:
        rows: telemetry, in any order.
        incidents: records of ``dwcp.incidents`` in log order.
        window: steps in a window.
        recipe: how to grow trees; the default when ``None``.
        rule: what threshold to choose; ``RULE`` when ``None``.
        prior: a detector of the same fields whose trees take part in the margin, by ``recipe.prior``.
        parts: other parts of the rows, which are then in time order; ``split_by_time_and_node`` when ``None``.
        decision: how margins decide; the default when ``None``.
        progress: called with trees grown and trees to grow.

    Returns:
        A detector, not saved yet. Its metadata holds the figures of the part before the test (by the trees of the
        folds), of the test and of unseen nodes.

    Raises:
        DataGateError: the data fails a gate.
        ValueError: there is no incident to fit the threshold on, or the prior is of other fields.
    """
    recipe, rule, decision = recipe or Recipe(), rule or RULE, decision or Decision()
    standing = current(incidents)
    check_gates(rows, standing)
    rows = rows.in_time_order()
    parts = parts or split_by_time_and_node(list(rows.node_ids), rows.ts_ms).parts
    training = _Training.prepare(rows, standing, parts, window, recipe, prior, decision)
    models = training.models(progress)
    fitted = training.fit(models, rule)
    outlook = fit_outlook(training.examples, training.labels, rows, training.crossfit, fitted.flagged)
    return training.detector(models[-1], fitted, outlook, standing, rule)


@dataclass(frozen=True, slots=True)
class _Fitted:
    """What was fitted on the scores of the folds.

    Attributes:
        calibration: slope and offset of the probability.
        threshold: of the decision.
        flagged: bool (n,), rows that the folds flag.
        figures: of the part before the test.
    """

    calibration: tuple[float, float]
    threshold: float
    flagged: NDArray[np.bool_]
    figures: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Training:
    """Everything that training needs beside the rule."""

    rows: NodeRows
    labels: Labels
    parts: Parts
    sample: Sample
    examples: Examples
    crossfit: CrossFit
    strange: NDArray[np.float32]
    recipe: Recipe
    prior: ReliabilityDetector | None
    decision: Decision

    @classmethod
    def prepare(
        cls,
        rows: NodeRows,
        standing: Sequence[Incident],
        parts: Parts,
        window: int,
        recipe: Recipe,
        prior: ReliabilityDetector | None,
        decision: Decision,
    ) -> "_Training":
        """Label and draw. Raises ``DataGateError`` when there is no positive row to learn from."""
        nodes = np.asarray(rows.node_ids)
        labels = label_rows(list(rows.node_ids), rows.ts_ms, standing)
        known = parts.train | parts.validation
        if not labels.positive[known].any():
            raise DataGateError("no positive row before the test part (split by time); record more incidents")
        if prior is not None and prior.fields != rows.fields:
            raise ValueError(f"the prior takes {list(prior.fields)}, the rows have {list(rows.fields)}; train without")
        if recipe.prior == 0.0:
            prior = None
        calm = known & ~labels.positive
        plan = prior.plan if prior is not None else FeaturePlan.fit(rows.fields, rows.values[calm])
        sample = draw_sample(rows, labels, known, recipe.negatives, recipe.seed)
        fold = np.full(len(rows), -1, np.int64)
        fold[known] = folds_of(nodes[known], rows.ts_ms[known])
        examples = make_examples(rows, plan, window, sample.keep)
        crossfit = CrossFit(rows, plan, window, fold)
        strange = strangeness(rows, plan, window) if recipe.transplants else np.empty(0, np.float32)
        return cls(rows, labels, parts, sample, examples, crossfit, strange, recipe, prior, decision)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Rows before the test part of nodes that may be learnt from."""
        return self.parts.train | self.parts.validation

    def models(self, progress: Progress | None) -> list[Ensemble]:
        """Grow the trees of each fold, and those of all."""
        folds = sorted(set(self.crossfit.fold[self.examples.rows].tolist()))
        chosen = [[other for other in folds if other != number] for number in folds] + [folds]
        total = len(chosen) * self.recipe.trees
        grown = []
        for number, learnt in enumerate(chosen):
            told = partial(_tell, progress, number * self.recipe.trees, total) if progress else None
            grown.append(grow(*self._learnt_from(learnt, number), self.recipe, told))
        if self.prior is None:
            return [Ensemble(trees) for trees in grown]
        lean = load_trees(self.prior.trees, len(self.crossfit.plan.names), PRIOR_FILE)
        return [Ensemble(trees, lean, self.recipe.prior) for trees in grown]

    def _learnt_from(
        self, folds: Sequence[int], number: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
        """Return features, labels and weights of the examples of some folds, and of transplants between their nodes."""
        part = np.isin(self.crossfit.fold[self.examples.rows], folds)
        at = self.examples.rows[part]
        features, positive, weight = self.examples.features[part], self.labels.positive[at], self.sample.weight[at]
        if self.recipe.transplants == 0.0:
            return features, positive, weight
        usable = np.isin(self.crossfit.fold, folds)
        found = Transplants.of(self.rows, self.labels, self.strange, usable)
        seed = self.recipe.seed * (FOLDS + 1) + number
        more, told = found.examples(self.crossfit.plan, self.crossfit.window, self.recipe.transplants, seed)
        share = np.full(len(told), self.recipe.transplant_weight)
        return np.concatenate([features, more]), np.concatenate([positive, told]), np.concatenate([weight, share])

    def fit(self, models: Sequence[Ensemble], rule: RecallTarget | AlarmBudget) -> _Fitted:
        """Fit calibration and threshold on rows scored by the trees of their fold."""
        margin = self.crossfit.margins(models[:-1])
        scored = self.known & np.isfinite(margin)
        slope, offset = calibrate(margin[scored], self.labels.positive[scored])
        scores = probability_of(margin, slope, offset)
        decided = np.where(scored, scores, 0.0)
        likely = scored & (decided > LEAST)
        decided[likely] = probability_of(
            self.crossfit.looked_at(models[:-1], self.decision, likely)[likely], slope, offset
        )
        nodes = np.asarray(self.rows.node_ids)
        known = self.known
        threshold = fit_threshold(decided[known], self.labels.take(known), nodes[known], self.rows.step_ms, rule)
        threshold = max(threshold, LEAST)
        flagged = decided > threshold
        seen = Verdicts.of(np.where(scored, scores, np.nan), flagged)
        return _Fitted(
            (slope, offset),
            threshold,
            flagged,
            measure_parts(self.rows, self.labels, seen, {"cross_validation": known})["cross_validation"],
        )

    def detector(
        self,
        model: Ensemble,
        fitted: _Fitted,
        outlook: Outlook,
        standing: Sequence[Incident],
        rule: RecallTarget | AlarmBudget,
    ) -> ReliabilityDetector:
        """Put the detector together, and measure it on the test part."""
        files = {MODEL_FILE: bytes(model.own.save_raw("json"))} | outlook.files()
        parameters: dict[str, Any] = {
            "features": self.crossfit.plan.to_dict(),
            "calibration": dict(zip(("slope", "offset"), fitted.calibration, strict=True)),
            "decision": self.decision.to_dict(),
        } | outlook.parameters()
        if self.prior is not None:
            files[PRIOR_FILE] = self.prior.trees
            parameters["prior"] = self.recipe.prior
        metadata = Metadata(
            detector=NAME,
            fields=self.rows.fields,
            window=self.crossfit.window,
            threshold=ThresholdFit(fitted.threshold, str(rule), {"rows": int(self.known.sum())}),
            parameters=parameters,
            training=self._origin(standing),
            versions=library_versions("xgboost-cpu", "numpy"),
            metrics={"cross_validation": fitted.figures},
        )
        detector = ReliabilityDetector(metadata, files)
        parts = {"test": self.parts.test, "test_unseen_nodes": self.parts.test & self.parts.unseen}
        figures = measure_parts(self.rows, self.labels, judge(detector, self.rows), parts)
        return detector.with_metrics(metadata.metrics | figures)

    def _origin(self, standing: Sequence[Incident]) -> dict[str, Any]:
        """Return what the artefact says of its making; threads change nothing and are left out."""
        return {
            "recipe": {name: value for name, value in asdict(self.recipe).items() if name != "threads"},
            "prior": None if self.prior is None else self.prior.version,
            "rows": len(self.rows),
            "incidents": len(standing),
            "data_sha256": data_hash(self.rows.ts_ms, self.rows.values),
        }


def _tell(progress: Progress, before: int, total: int, ready: int, _of: int) -> None:
    progress(before + ready, total)


__all__ = [
    "MIN_POSITIVES",
    "MIN_ROWS",
    "REFERENCE_RECIPE",
    "AlarmBudget",
    "DataGateError",
    "NodeRows",
    "RecallTarget",
    "Recipe",
    "check_gates",
    "prior_for",
    "train_reliability",
]
