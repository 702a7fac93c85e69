"""The node reliability detector: gradient-boosted trees over the features of a 30-step window, as a probability."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import ArtefactError, Metadata, ThresholdFit, read_artefact, write_artefact
from detectors.protocol import NodeState, Scores
from detectors.reliability.features import RECENT, FeaturePlan, window_features
from features.batch import WindowBatch
from schemas.outputs import Contribution

if TYPE_CHECKING:
    import xgboost

NAME = "reliability"
MODEL_FILE = "model.json"

_TOP = 5
_BAND = 0.1


class ReliabilityDetector:
    """Probability that a node is in an incident or within 30 minutes of one; a ``detectors.protocol.Detector``.

    The score is ``1 / (1 + exp(-(slope * margin + offset)))`` of the trees' margin: a probability calibrated on
    validation rows. Prediction is single-threaded and each window's score its own, to the bit, in any batch.
    """

    name: str
    version: str
    fields: tuple[str, ...]
    window: int
    threshold: float
    levels: tuple[float, float]
    state_width: int

    def __init__(self, metadata: Metadata, model: bytes) -> None:
        """Build the detector from an artefact's metadata and its trees in XGBoost's JSON format.

        Raises:
            ValueError: the parameters or the trees do not fit the fields.
        """
        self.name = NAME
        self.version = metadata.model_version
        self.fields = metadata.fields
        self.window = metadata.window
        self.threshold = metadata.threshold.value
        # A warning and a critical one are a third and two thirds of the way from the threshold to certainty.
        left = 1.0 - self.threshold
        self.levels = (self.threshold + left / 3.0, self.threshold + 2.0 * left / 3.0)
        self.state_width = 0
        self.plan = FeaturePlan.from_dict(metadata.fields, metadata.parameters.get("features", {}))
        self._slope, self._offset = _calibration(metadata.parameters)
        self._booster = _booster(model, len(self.plan.names))
        self._metadata = metadata
        self._model = model

    @property
    def metadata(self) -> Metadata:
        """How the model was made and what it reached in training."""
        return self._metadata

    def score(self, windows: WindowBatch, before: NodeState | None = None) -> Scores:  # noqa: ARG002 - stateless
        """Return the probability of an incident for each window: float64 (n,), 0 to 1."""
        if not len(windows):
            return np.empty(0)
        return self.probability(window_features(windows, self.plan))

    def probability(self, features: NDArray[np.float32]) -> Scores:
        """Return the probability for rows of ``window_features``: float64 (n,)."""
        margin = self._booster.inplace_predict(features, predict_type="margin", validate_features=False)
        return probability_of(np.asarray(margin, np.float64), self._slope, self._offset)

    def contributions(
        self,
        windows: WindowBatch,
        before: NodeState | None = None,  # noqa: ARG002 - stateless
    ) -> list[tuple[Contribution, ...]]:
        """Say which raw fields raise each window's probability: exact SHAP values of the trees, summed by field.

        Shares are of what speaks for an incident; the five largest are given. ``value`` is the newest measurement, the
        expected band the 10th to 90th percentile of the window's older steps (all but the newest five).
        """
        if not len(windows):
            return []
        by_field = self._shap_by_field(window_features(windows, self.plan))
        steps = windows.tensor()
        # Order statistics, not interpolated quantiles: bounds that were really measured.
        older = np.sort(steps[:, :-RECENT], axis=1)
        edge = int(_BAND * older.shape[1])
        low, high, last = older[:, edge], older[:, -1 - edge], steps[:, -1]
        return [self._explain(by_field[place], last[place], low[place], high[place]) for place in range(len(windows))]

    def save(self, directory: Path) -> None:
        """Write the artefact and take over its version. Raises ``ArtefactError`` when it cannot be written."""
        self._metadata = write_artefact(directory, self._metadata, {MODEL_FILE: self._model})
        self.version = self._metadata.model_version

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read an artefact. Raises ``ArtefactError`` when a file is missing, changed or belongs to another detector."""
        artefact = read_artefact(directory, NAME)
        try:
            return cls(artefact.metadata, artefact.file(MODEL_FILE))
        except ValueError as error:
            raise ArtefactError(directory, str(error), "train the detector again with this release") from error

    def _shap_by_field(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the sum of SHAP values of each raw field's features, on the margin: float64 (n, F)."""
        import xgboost  # noqa: PLC0415 - importing detectors must stay cheap

        values = self._booster.predict(xgboost.DMatrix(features, nthread=1), pred_contribs=True)
        by_field = np.zeros((len(features), len(self.fields)))
        np.add.at(by_field.T, self.plan.field_of, np.asarray(values, np.float64)[:, :-1].T)
        return by_field

    def _explain(
        self,
        shap: NDArray[np.float64],
        last: NDArray[np.float32],
        low: NDArray[np.float32],
        high: NDArray[np.float32],
    ) -> tuple[Contribution, ...]:
        """Name the fields that speak for an incident in one window, largest share first."""
        raising = np.maximum(shap * np.sign(self._slope), 0.0)
        # A hair more than the sum, so that rounding cannot take the shares past 1.
        shares = raising / max(float(raising.sum()) * (1.0 + 1e-12), 1e-300)
        order = np.argsort(-shares, kind="stable")[:_TOP]
        return tuple(
            Contribution(self.fields[i], float(shares[i]), float(last[i]), float(low[i]), float(high[i]))
            for i in order.tolist()
            if shares[i] > 0.0
        )


def probability_of(margin: Scores, slope: float, offset: float) -> Scores:
    """Return the calibrated probability of margins: float64, 0 to 1."""
    # Exponent bounded so that it can neither overflow nor warn; beyond it the probability is 0 or 1 to 15 digits.
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(slope * margin + offset, -36.0, 36.0))), np.float64)


def parameters_of(plan: FeaturePlan, slope: float, offset: float) -> dict[str, Any]:
    """Return what decides a score beside the trees, for the artefact's metadata."""
    return {"features": plan.to_dict(), "calibration": {"slope": slope, "offset": offset}}


def metadata_of(
    fields: tuple[str, ...], window: int, threshold: ThresholdFit, parameters: dict[str, Any], **notes: Any
) -> Metadata:
    """Return the metadata of a freshly trained detector; ``notes``: training, versions, metrics."""
    return Metadata(detector=NAME, fields=fields, window=window, threshold=threshold, parameters=parameters, **notes)


def _calibration(parameters: dict[str, Any]) -> tuple[float, float]:
    try:
        slope = float(parameters["calibration"]["slope"])
        offset = float(parameters["calibration"]["offset"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"parameters need calibration.slope and calibration.offset as numbers ({error})") from error
    if not (np.isfinite(slope) and np.isfinite(offset) and slope > 0.0):
        raise ValueError(f"calibration slope {slope} must be positive and offset {offset} finite")
    return slope, offset


def _booster(model: bytes, width: int) -> "xgboost.Booster":
    """Load the trees, single-threaded. Raises ``ValueError`` when they are no trees or of other features."""
    import xgboost  # noqa: PLC0415 - importing detectors must stay cheap

    try:
        booster = xgboost.Booster(params={"nthread": 1}, model_file=bytearray(model))
        features = int(booster.num_features())
    except xgboost.core.XGBoostError as error:
        raise ValueError(f"{MODEL_FILE} holds no trees in XGBoost's format ({str(error).splitlines()[0]})") from error
    if features != width:
        raise ValueError(f"{MODEL_FILE} takes {features} features, the plan makes {width}")
    return booster
