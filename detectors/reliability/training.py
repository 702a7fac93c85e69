"""Train the reliability model from rows and incidents: gates, splits, trees, calibration, threshold."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from detectors.artefacts import ThresholdFit, data_hash, library_versions
from detectors.reliability.calibration import calibrate
from detectors.reliability.detector import ReliabilityDetector, metadata_of, parameters_of, probability_of
from detectors.reliability.features import FeaturePlan, window_features
from detectors.reliability.labels import Labels, current, label_rows
from detectors.reliability.metrics import Evaluation, brier_score, evaluate, expected_calibration_error
from detectors.reliability.split import Split, split_by_time_and_node
from detectors.reliability.thresholds import AlarmBudget, RecallTarget, fit_threshold
from features.windows import WindowStore
from schemas.metrics import Incident

MIN_ROWS = 10_000
MIN_POSITIVES = 500

_CHUNK = 16_384

Progress = Callable[[int, int], None]


class DataGateError(ValueError):
    """The data is not fit to train on; the text says which gate it fails, by how much, and what to do."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the trees are grown.

    The default has shallow trees, small steps and few columns a tree: with some two hundred incidents the variance
    between trees is what costs, and it generalises to unseen nodes (docs/evaluation/reliability.md has the comparison).

    Attributes:
        trees, depth, learning_rate, subsample, colsample, min_child_weight: XGBoost's own.
        balanced: weight positives by negatives / positives.
        negatives: share of the negative training rows to use (the others are drawn out by ``seed``); the rest carries
            their weight, so probabilities stay what they are.
        seed: of everything random.
        threads: for growing trees; the result does not depend on it.
    """

    trees: int = 400
    depth: int = 4
    learning_rate: float = 0.03
    subsample: float = 0.8
    colsample: float = 0.3
    min_child_weight: float = 20.0
    balanced: bool = False
    negatives: float = 1.0
    seed: int = 0
    threads: int = 2


REFERENCE_RECIPE = Recipe(trees=200, depth=6, learning_rate=0.1, colsample=0.8, min_child_weight=1.0, balanced=True)
"""The recipe of SPEC section 3."""


@dataclass(frozen=True, slots=True)
class NodeRows:
    """Rows of node telemetry.

    Attributes:
        fields: names of the F columns.
        node_ids: n node ids.
        ts_ms: int64 (n,), event times, Unix epoch milliseconds.
        values: float32 (n, F), codes for texts.
        step_ms: nominal time between two rows of a node.
    """

    fields: tuple[str, ...]
    node_ids: Sequence[str] | NDArray[np.str_]
    ts_ms: NDArray[np.int64]
    values: NDArray[np.float32]
    step_ms: int = 60_000

    def __len__(self) -> int:
        return len(self.ts_ms)


@dataclass(frozen=True, slots=True)
class Examples:
    """Features of the windows of some rows, in event-time order.

    Attributes:
        features: float32 (m, width).
        nodes: text (m,), node ids.
        ts_ms: int64 (m,), event time of each window's newest step.
        rows: int64 (m,), place of that step in the rows the examples were made of.
    """

    features: NDArray[np.float32]
    nodes: NDArray[np.str_]
    ts_ms: NDArray[np.int64]
    rows: NDArray[np.int64]


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


def make_examples(rows: NodeRows, plan: FeaturePlan, window: int) -> Examples:
    """Make the features of every complete window, through the very window store the worker uses.

    So gaps, restarts, duplicates and late rows count in training as they do in operation.
    """
    order = np.argsort(rows.ts_ms, kind="stable")
    keys = np.asarray(rows.node_ids)
    store = WindowStore(len(rows.fields), window=window, step_ms=rows.step_ms, idle_ms=(window + 30) * rows.step_ms)
    parts, places = [], []
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        partitions = np.zeros(len(chunk), np.int32)
        windows = store.append(partitions, keys[chunk].tolist(), rows.ts_ms[chunk], rows.values[chunk]).windows
        parts.append(window_features(windows, plan))
        places.append(chunk[windows.records])
    at = np.concatenate(places) if places else np.empty(0, np.int64)
    features = np.concatenate(parts) if parts else np.empty((0, len(plan.names)), np.float32)
    return Examples(features, keys[at], rows.ts_ms[at], at)


def train_reliability(
    rows: NodeRows,
    incidents: Iterable[Incident],
    *,
    window: int = 30,
    recipe: Recipe | None = None,
    rule: RecallTarget | AlarmBudget | None = None,
    progress: Progress | None = None,
) -> ReliabilityDetector:
    """Train a detector; the same arguments give the same bytes.

    Trees learn on the training part (three nodes of four, first 55 % of the time), calibration and threshold on the
    validation part (the same nodes, 55-70 %); the test part only measures.

    Args:
        rows: telemetry, in any order.
        incidents: records of ``dwcp.incidents`` in log order.
        window: steps in a window.
        recipe: how to grow trees; the default when ``None``.
        rule: what threshold to choose; 98 % of incidents when ``None``.
        progress: called with trees grown and trees to grow.

    Returns:
        A detector, not saved yet. Its metadata holds the measured figures of validation, test and unseen nodes.

    Raises:
        DataGateError: the data fails a gate.
        ValueError: the validation part holds no incident to fit on.
    """
    recipe, rule = recipe or Recipe(), rule or RecallTarget()
    standing = current(incidents)
    check_gates(rows, standing)
    split = split_by_time_and_node(list(rows.node_ids), rows.ts_ms)
    calm = ~label_rows(list(rows.node_ids), rows.ts_ms, standing).positive
    plan = FeaturePlan.fit(rows.fields, rows.values[split.train & calm])
    examples = make_examples(rows, plan, window)
    labels = label_rows(examples.nodes.tolist(), examples.ts_ms, standing)
    parts = split.of(examples.nodes, examples.ts_ms)
    for name, part in (("training", parts.train), ("validation", parts.validation)):
        if not labels.positive[part].any():
            raise DataGateError(f"no positive row in the {name} part (split by time); record more incidents")
    booster = grow(examples.features[parts.train], labels.positive[parts.train], recipe, progress)
    margin = margins(booster, examples.features)
    slope, offset = calibrate(margin[parts.validation], labels.positive[parts.validation])
    scores = probability_of(margin, slope, offset)
    validation = parts.validation
    threshold = fit_threshold(
        scores[validation], labels.take(validation), examples.nodes[validation], rows.step_ms, rule
    )
    measured = _Measured(scores, labels, examples, rows.step_ms)
    metadata = metadata_of(
        rows.fields,
        window,
        ThresholdFit(threshold, str(rule), {"validation_rows": int(validation.sum())}),
        parameters_of(plan, slope, offset),
        training=_origin(rows, standing, recipe),
        versions=library_versions("xgboost-cpu", "numpy"),
        metrics={
            "validation": measured.part(validation, threshold),
            "test": measured.part(parts.test, threshold),
            "test_unseen_nodes": measured.part(parts.test & parts.unseen, threshold),
        },
    )
    return ReliabilityDetector(metadata, bytes(booster.save_raw("json")))


def _origin(rows: NodeRows, standing: Sequence[Incident], recipe: Recipe) -> dict[str, Any]:
    """Return what the artefact says of its making; threads change nothing and are left out."""
    return {
        "recipe": {name: value for name, value in asdict(recipe).items() if name != "threads"},
        "rows": len(rows),
        "incidents": len(standing),
        "data_sha256": data_hash(rows.ts_ms, rows.values),
    }


def grow(
    features: NDArray[np.float32], positive: NDArray[np.bool_], recipe: Recipe, progress: Progress | None = None
) -> xgboost.Booster:
    """Grow the trees on training rows: features (n, width), positive bool (n,)."""
    rng = np.random.default_rng(recipe.seed)
    keep = positive | (rng.random(len(positive)) < recipe.negatives)
    weight = np.where(positive, 1.0, 1.0 / recipe.negatives)[keep]
    balance = float((~positive).sum() / max(positive.sum(), 1)) if recipe.balanced else 1.0
    parameters = {
        "objective": "binary:logistic",
        "eval_metric": "aucpr",
        "tree_method": "hist",
        "max_depth": recipe.depth,
        "learning_rate": recipe.learning_rate,
        "subsample": recipe.subsample,
        "colsample_bytree": recipe.colsample,
        "min_child_weight": recipe.min_child_weight,
        "scale_pos_weight": balance,
        "seed": recipe.seed,
        "nthread": recipe.threads,
    }
    data = xgboost.QuantileDMatrix(features[keep], positive[keep].astype(np.float32), weight=weight)
    callbacks = [_Progress(progress, recipe.trees)] if progress else []
    return xgboost.train(parameters, data, recipe.trees, callbacks=callbacks)


def margins(booster: xgboost.Booster, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the trees' margins (log odds before calibration): float64 (n,)."""
    return np.asarray(booster.inplace_predict(features, predict_type="margin", validate_features=False), np.float64)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Scores with what they are measured against."""

    scores: NDArray[np.float64]
    labels: Labels
    examples: Examples
    step_ms: int

    def part(self, mask: NDArray[np.bool_], threshold: float) -> dict[str, Any]:
        """Return the figures of some rows as plain values; what cannot be told (no incident there) is left out."""
        labels = self.labels.take(mask)
        found: Evaluation = evaluate(
            self.scores[mask], threshold, labels, self.examples.nodes[mask], self.examples.ts_ms[mask], self.step_ms
        )
        figures = asdict(found) | {
            "expected_calibration_error": expected_calibration_error(labels.positive, self.scores[mask]),
            "brier_score": brier_score(labels.positive, self.scores[mask]) if mask.any() else float("nan"),
        }
        figures["caught_by_kind"] = {kind: list(counts) for kind, counts in found.caught_by_kind.items()}
        return {name: value for name, value in figures.items() if value == value}  # noqa: PLR0124 - NaN is no JSON


class _Progress(xgboost.callback.TrainingCallback):
    """Passes the number of grown trees on."""

    def __init__(self, progress: Progress, total: int) -> None:
        super().__init__()
        self._progress = progress
        self._total = total

    def after_iteration(self, model: xgboost.Booster, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        self._progress(epoch + 1, self._total)
        return False


__all__ = [
    "MIN_POSITIVES",
    "MIN_ROWS",
    "REFERENCE_RECIPE",
    "AlarmBudget",
    "DataGateError",
    "Examples",
    "NodeRows",
    "RecallTarget",
    "Recipe",
    "Split",
    "calibrate",
    "check_gates",
    "grow",
    "make_examples",
    "margins",
    "train_reliability",
]
