"""The node reliability detector: boosted trees over a 30-step window and the node's slow baseline, as a probability."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import ArtefactError, Metadata, read_artefact, write_artefact
from detectors.protocol import Expected, NodeState, Scores
from detectors.reliability.decision import Decision
from detectors.reliability.ensemble import Ensemble
from detectors.reliability.features import MIN_WINDOW, FeaturePlan, deviations, window_features
from detectors.reliability.outlook import KINDS_FILE, PHASE_FILE, Kinds, Phase
from detectors.reliability.trees import load_trees
from features.batch import WindowBatch
from schemas.outputs import Contribution

NAME = "reliability"
MODEL_FILE = "model.json"
PRIOR_FILE = "prior.json"

_TOP = 5
_USUAL_SCALES: Final = np.float32(1.5)  # the expected band is this many scales of the baseline wide on each side

_Floats32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Model:
    """What an artefact's files hold: the trees of the score, and those of kind and phase where there are some."""

    score: Ensemble
    kinds: Kinds | None
    phase: Phase | None


class ReliabilityDetector:
    """Probability that a node is in an incident or within 30 minutes of one; a ``detectors.protocol.Detector``.

    The score is ``1 / (1 + exp(-(slope * margin + offset)))`` of the trees' margin: a probability calibrated on
    rows the trees had not seen. A high score is an anomaly where ``decision`` bears it out. Prediction is
    single-threaded and each window's score its own, to the bit, in any batch.
    """

    name: str
    version: str
    fields: tuple[str, ...]
    window: int
    threshold: float
    levels: tuple[float, float]
    state_width: int

    def __init__(self, metadata: Metadata, files: Mapping[str, bytes]) -> None:
        """Build the detector from an artefact's metadata and its trees in XGBoost's JSON format.

        Args:
            metadata: of the artefact.
            files: ``model.json``, and ``kinds.json`` and ``phase.json`` where the parameters speak of them.

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
        self.plan = FeaturePlan.from_dict(metadata.fields, metadata.parameters.get("features", {}))
        self.baseline = self.plan.baseline
        self.state_width = self.baseline.width
        self.decision = Decision.from_dict(metadata.parameters.get("decision", {}))
        self._slope, self._offset = _calibration(metadata.parameters)
        _check_bounds(self.threshold, self.window, self.decision)
        self._model = _model(metadata.parameters, files, len(self.plan.names))
        self._metadata = metadata
        self._files = dict(files)

    @property
    def trees(self) -> bytes:
        """The trees of the score in XGBoost's JSON format, to lean on in training."""
        return self._files[MODEL_FILE]

    @property
    def metadata(self) -> Metadata:
        """How the model was made and what it reached in training."""
        return self._metadata

    def with_metrics(self, metrics: dict[str, Any]) -> Self:
        """Return the same detector with other figures in its metadata."""
        return type(self)(msgspec.structs.replace(self._metadata, metrics=metrics), self._files)

    def prime(self, keys: Sequence[str]) -> NodeState:
        """Return blank states: a node's baseline starts with its first window."""
        return np.zeros((len(keys), self.state_width), np.float32)

    def advance(self, windows: WindowBatch, state: NodeState, node: NDArray[np.int64]) -> NodeState:
        """Move the nodes' baselines; see ``StatefulDetector.advance``."""
        return self.baseline.advance(windows, state, node)

    def score(self, windows: WindowBatch, before: NodeState | None = None) -> Scores:
        """Return the probability of an incident for each window: float64 (n,), 0 to 1."""
        if not len(windows):
            return np.empty(0)
        return self.probability(self.features(windows, before))

    def confirm(self, windows: WindowBatch, before: NodeState | None = None) -> NDArray[np.bool_]:
        """Say which high scores are alarms, see ``Decision``: bool (n,)."""
        return self.decided(windows, before) > self.threshold

    def decided(self, windows: WindowBatch, before: NodeState | None = None) -> Scores:
        """Return the probability that decides, float64 (n,), at most the score."""
        if not len(windows):
            return np.empty(0)
        found = self.decision.of_windows(windows, self._states(before), self._margins)
        return probability_of(found, self._slope, self._offset)

    def features(self, windows: WindowBatch, before: NodeState | None) -> _Floats32:
        """Return the features of windows, float32 (n, width). Raises ``ValueError`` without states."""
        return window_features(windows, self.plan, self._states(before))

    def probability(self, features: _Floats32) -> Scores:
        """Return the probability for rows of ``window_features``: float64 (n,)."""
        return probability_of(self._model.score.margins(features), self._slope, self._offset)

    def classify(self, windows: WindowBatch, before: NodeState | None = None) -> list[tuple[str | None, float | None]]:
        """Tell the kind of incident of flagged windows, see ``Kinds``; nothing where the artefact knows no kinds."""
        if self._model.kinds is None or not len(windows):
            return [(None, None)] * len(windows)
        return self._model.kinds.tell(self.features(windows, before))

    def expected_in(self, windows: WindowBatch, before: NodeState | None = None) -> list[tuple[float, float] | None]:
        """Tell in how many minutes the incident of flagged windows is expected, see ``Phase``."""
        if self._model.phase is None or not len(windows):
            return [None] * len(windows)
        return self._model.phase.tell(self.features(windows, before))

    def contributions(self, windows: WindowBatch, before: NodeState | None = None) -> list[tuple[Contribution, ...]]:
        """Say which raw fields raise each window's probability: SHAP values of the trees, summed by field.

        Shares are of what speaks for an incident; the five largest are given. ``value`` is the newest measurement,
        ``usual`` where the node's baseline is, the expected band one and a half of its scales to either side.
        """
        if not len(windows):
            return []
        by_field = self._shap_by_field(self.features(windows, before))
        low, usual, high = self._band(self._states(before))
        last = windows.last()
        return [
            self._explain(by_field[place], last[place], usual[place], (low[place], high[place]))
            for place in range(len(windows))
        ]

    def expected(self, windows: WindowBatch, before: NodeState | None = None) -> Expected:
        """Say what was expected of each step: one baseline is that of all; see ``Expecting.expected``."""
        shape = (len(windows), self.window, len(self.fields))
        bands = np.stack(self._band(self._states(before))).astype(np.float64)
        return Expected(*(np.broadcast_to(each[:, None, :], shape) for each in bands))

    def save(self, directory: Path) -> None:
        """Write the artefact and take over its version. Raises ``ArtefactError`` when it cannot be written."""
        self._metadata = write_artefact(directory, self._metadata, self._files)
        self.version = self._metadata.model_version

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read an artefact. Raises ``ArtefactError`` when a file is missing, changed or belongs to another detector."""
        artefact = read_artefact(directory, NAME)
        try:
            return cls(artefact.metadata, artefact.files)
        except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            problem = f"its parameters cannot be used ({error})"[:300]
            raise ArtefactError(directory, problem, "train the detector again with this release") from error

    def _band(self, states: NodeState) -> tuple[_Floats32, _Floats32, _Floats32]:
        """Return the lower end, the middle and the upper end of what is expected, float32 (n, F) each."""
        usual, scale = self.baseline.split(states)
        low, high = usual - _USUAL_SCALES * scale, usual + _USUAL_SCALES * scale
        # What is never negative is not expected to be.
        return np.where(usual >= 0.0, np.maximum(low, np.float32(0.0)), low), usual, high

    def _states(self, before: NodeState | None) -> NodeState:
        if before is None:
            raise ValueError("the reliability detector keeps a state a node: give the states that advance returned")
        return before

    def _margins(self, windows: WindowBatch, before: NodeState) -> Scores:
        return self._model.score.margins(window_features(windows, self.plan, before))

    def _shap_by_field(self, features: _Floats32) -> NDArray[np.float64]:
        """Return the sum of SHAP values of each raw field's features, on the margin: float64 (n, F).

        Those of features across fields are shared out by how far each field is off.
        """
        by_field, field = np.zeros((len(features), len(self.fields))), self.plan.field_of
        shap = self._model.score.shap_values(features)
        np.add.at(by_field.T, field[field >= 0], shap[:, field >= 0].T)
        off = deviations(features, self.plan).astype(np.float64)
        total = off.sum(axis=1, keepdims=True)
        shares = np.where(total > 0.0, off / np.maximum(total, 1e-300), 1.0 / len(self.fields))
        by_field += shares * shap[:, field < 0].sum(axis=1, keepdims=True)
        return by_field

    def _explain(
        self,
        shap: NDArray[np.float64],
        last: _Floats32,
        usual: _Floats32,
        band: tuple[_Floats32, _Floats32],
    ) -> tuple[Contribution, ...]:
        """Name the fields that speak for an incident in one window, largest share first."""
        raising = np.maximum(shap, 0.0)
        # A hair more than the sum, so that rounding cannot take the shares past 1.
        shares = raising / max(float(raising.sum()) * (1.0 + 1e-12), 1e-300)
        order = np.argsort(-shares, kind="stable")[:_TOP]
        return tuple(
            Contribution(
                feature=self.fields[i],
                share=float(shares[i]),
                value=float(last[i]),
                expected_low=float(band[0][i]),
                expected_high=float(band[1][i]),
                usual=float(usual[i]),
                direction=_direction(last[i], usual[i]),
            )
            for i in order.tolist()
            if shares[i] > 0.0
        )


def probability_of(margin: Scores, slope: float, offset: float) -> Scores:
    """Return the calibrated probability of margins: float64, 0 to 1."""
    # Exponent bounded so that it can neither overflow nor warn; beyond it the probability is 0 or 1 to 15 digits.
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(slope * margin + offset, -36.0, 36.0))), np.float64)


def _calibration(parameters: dict[str, Any]) -> tuple[float, float]:
    try:
        slope = float(parameters["calibration"]["slope"])
        offset = float(parameters["calibration"]["offset"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"parameters need calibration.slope and calibration.offset as numbers ({error})") from error
    if not (np.isfinite(slope) and np.isfinite(offset) and slope > 0.0):
        raise ValueError(f"calibration slope {slope} must be positive and offset {offset} finite")
    return slope, offset


def _check_bounds(threshold: float, window: int, decision: Decision) -> None:
    """Refuse a threshold that is no probability, and windows too short to look back in. Raises ``ValueError``."""
    if not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold {threshold} must be a probability")
    least = MIN_WINDOW + decision.steps - 1
    if window < least:
        raise ValueError(f"a decision that looks back needs windows of at least {least} steps, not {window}")


def _model(parameters: Mapping[str, Any], files: Mapping[str, bytes], width: int) -> Model:
    """Load the trees that the parameters speak of. Raises ``ValueError`` when a file is missing or does not fit."""
    named = {MODEL_FILE: "features", PRIOR_FILE: "prior", KINDS_FILE: "kinds", PHASE_FILE: "phase"}
    for name, part in named.items():
        if (part in parameters) != (name in files):
            raise ValueError(f"parameters.{part} and {name} belong together; one of them is missing")
    own = load_trees(files[MODEL_FILE], width, MODEL_FILE)
    prior = load_trees(files[PRIOR_FILE], width, PRIOR_FILE) if PRIOR_FILE in files else None
    return Model(
        score=Ensemble(own, prior, float(parameters["prior"]) if prior is not None else 0.0),
        kinds=Kinds.from_dict(parameters["kinds"], files[KINDS_FILE], width) if "kinds" in parameters else None,
        phase=Phase.from_dict(parameters["phase"], files[PHASE_FILE], width) if "phase" in parameters else None,
    )


def _direction(value: np.float32, usual: np.float32) -> Literal["up", "down"] | None:
    return "up" if value > usual else "down" if value < usual else None
