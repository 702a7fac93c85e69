"""The statistical detector of consensus telemetry: a robust, self-adapting rolling Mahalanobis distance."""

from pathlib import Path
from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import ArtefactError, Metadata, ThresholdFit, library_versions, read_artefact, write_artefact
from detectors.consensus.baseline import BaselineRule
from detectors.consensus.model import PARTS, ConsensusModel, Floats
from detectors.protocol import NodeState, Scores
from detectors.tiles import apply_tiled
from features.batch import WindowBatch
from schemas.outputs import Contribution

TILE: Final = 64
TOP_FEATURES: Final = 5
BAND_SCALES: Final = 2.0  # expected band: location +- this many scales
FILE: Final = "model.json"


class ConsensusDetector:
    """Scores a window by how far its newest steps are from what this node usually shows.

    Each feature's newest step, recent mean and recent deviation are measured against the node's own slow baseline
    (``BaselineRule``) and combined by a covariance learned on normal telemetry of many nodes: the rolling Mahalanobis
    distance, in units that are 1 on average in normal operation. State: one baseline a node.

    Attributes:
        levels: scores from which an anomaly is a warning, and critical.
    """

    name: ClassVar[str] = "consensus"

    def __init__(self, model: ConsensusModel, metadata: Metadata) -> None:
        """Bind a model to the metadata it was trained or loaded with."""
        self.model = model
        self.metadata = metadata
        self.version = metadata.model_version
        self.fields = metadata.fields
        self.window = metadata.window
        self.threshold = metadata.threshold.value
        self.levels = (1.5 * self.threshold, 2.5 * self.threshold)
        self.state_width = model.rule.state_width

    def score(self, windows: WindowBatch, state: NodeState | None = None) -> Scores:
        """Score windows and move their nodes' baselines; see ``Detector.score``."""
        if state is None:
            raise ValueError("the consensus detector keeps a baseline a node: give it its state")
        packed = apply_tiled(self._score_tile, self._packed(windows, state), TILE)
        state[:] = packed[:, 1:]
        return np.asarray(packed[:, 0], dtype=np.float64)

    def deviations(self, windows: WindowBatch, state: NodeState) -> Floats:
        """Return what ``score`` measures, float64 (n, 3 F), and move the baselines: the input of fitting."""
        packed = apply_tiled(self._deviate_tile, self._packed(windows, state), TILE)
        state[:] = packed[:, : self.state_width]
        return np.asarray(packed[:, self.state_width :], dtype=np.float64)

    def contributions(self, windows: WindowBatch, state: NodeState | None = None) -> list[tuple[Contribution, ...]]:
        """Split each squared distance over the features; see ``Detector.contributions``."""
        if state is None:
            raise ValueError("the consensus detector keeps a baseline a node: give it its state")
        model, width = self.model, len(self.model.columns)
        window, before = self._unpacked(self._packed(windows, state))
        standardised = model.standardised(model.deviations(window[:, -model.recent :], before))
        pull = np.maximum(standardised * (standardised @ (model.whitening @ model.whitening.T)), 0.0)
        share = pull.reshape(-1, PARTS, width).sum(axis=1)
        share /= np.maximum(share.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        location, scale = model.rule.split(before)
        low, high = (model.restored(location + sign * BAND_SCALES * scale) for sign in (-1.0, 1.0))
        values = windows.last()[:, model.columns]
        return [
            self._ranked(*row)
            for row in zip(share, values, np.where(model.log, np.maximum(low, 0), low), high, strict=True)
        ]

    def save(self, directory: Path) -> None:
        """Write the artefact; see ``Detector.save``."""
        self.metadata = write_artefact(directory, self.metadata, {FILE: encode_model(self.model)})
        self.version = self.metadata.model_version

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read an artefact back; see ``Detector.load``."""
        artefact = read_artefact(directory, cls.name)
        return cls(decode_model(directory, artefact.file(FILE)), artefact.metadata)

    def _packed(self, windows: WindowBatch, state: NodeState) -> NDArray[np.float32]:
        """Put each window's state and cells into one row, float32 (n, state_width + window x all features)."""
        cells = windows.tensor()
        return np.concatenate([state, cells.reshape(len(cells), -1)], axis=1)

    def _unpacked(self, packed: NDArray[np.float32]) -> tuple[Floats, Floats]:
        """Return the transformed windows, float64 (n, window, F), and the baselines, started where there was none."""
        cells = packed[:, self.state_width :].reshape(len(packed), self.window, -1)
        window = self.model.transformed(cells)
        state = packed[:, : self.state_width].astype(np.float64)
        fresh = state[:, 0] == 0.0
        if fresh.any():
            state[fresh] = self.model.rule.start(window[fresh])
        return window, state

    def _deviate_tile(self, packed: NDArray[np.float32]) -> Floats:
        window, state = self._unpacked(packed)
        measured = self.model.deviations(window[:, -self.model.recent :], state)
        calm = np.zeros(len(window), dtype=np.bool_)
        return np.concatenate([self.model.rule.moved(state, window, calm), measured], axis=1)

    def _score_tile(self, packed: NDArray[np.float32]) -> Floats:
        window, state = self._unpacked(packed)
        distance = self.model.distances(self.model.deviations(window[:, -self.model.recent :], state))
        moved = self.model.rule.moved(state, window, distance > self.threshold)
        return np.concatenate([distance[:, None], moved], axis=1)

    def _ranked(self, share: Floats, value: NDArray[np.float32], low: Floats, high: Floats) -> tuple[Contribution, ...]:
        order = [int(i) for i in np.argsort(-share, kind="stable")[:TOP_FEATURES] if share[i] > 0.0]
        names = [self.fields[int(column)] for column in self.model.columns]
        return tuple(
            Contribution(
                feature=names[i],
                share=round(float(share[i]), 4),
                value=float(value[i]),
                expected_low=round(float(low[i]), 4),
                expected_high=round(float(high[i]), 4),
            )
            for i in order
        )


class _Encoded(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[int]
    log: list[bool]
    recent: int
    scale: list[float]
    memory: int
    prior_weight: int
    clip: float
    floor: float
    relearn: int
    centre: list[float]
    spread: list[float]
    whitening: list[list[float]]


def encode_model(model: ConsensusModel) -> bytes:
    """Return the model as JSON; every float comes back to the bit."""
    rule = model.rule
    return msgspec.json.encode(
        _Encoded(
            model.columns.tolist(),
            model.log.tolist(),
            model.recent,
            rule.scale.tolist(),
            rule.memory,
            rule.prior_weight,
            rule.clip,
            rule.floor,
            rule.relearn,
            model.centre.tolist(),
            model.spread.tolist(),
            model.whitening.tolist(),
        )
    )


def decode_model(directory: Path, encoded: bytes) -> ConsensusModel:
    """Read a model back. Raises ``ArtefactError`` when the shapes or values do not fit together."""
    try:
        raw = msgspec.json.decode(encoded, type=_Encoded)
        arrays: dict[str, NDArray[Any]] = {
            name: np.array(getattr(raw, name), dtype=np.float64) for name in ("scale", "centre", "spread", "whitening")
        }
    except (msgspec.MsgspecError, ValueError) as error:
        raise ArtefactError(directory, f"{FILE} is not a consensus model ({error})", "train it again") from error
    width = len(raw.columns)
    shapes = {
        "scale": (width,),
        "centre": (PARTS * width,),
        "spread": (PARTS * width,),
        "whitening": (PARTS * width, PARTS * width),
    }
    if len(raw.log) != width or any(arrays[name].shape != shape for name, shape in shapes.items()):
        raise ArtefactError(
            directory, f"{FILE} has arrays of shapes that do not fit its {width} columns", "train it again"
        )
    if (
        any(not np.all(np.isfinite(array)) for array in arrays.values())
        or np.any(arrays["scale"] <= 0)
        or np.any(arrays["spread"] <= 0)
    ):
        raise ArtefactError(
            directory, f"{FILE} holds values that are not finite or scales that are not positive", "train it again"
        )
    rule = BaselineRule(arrays["scale"], raw.memory, raw.prior_weight, raw.clip, raw.floor, raw.relearn)
    return ConsensusModel(
        np.array(raw.columns, dtype=np.int64),
        np.array(raw.log, dtype=np.bool_),
        rule,
        raw.recent,
        arrays["centre"],
        arrays["spread"],
        arrays["whitening"],
    )


def metadata_of(
    fields: tuple[str, ...], window: int, threshold: ThresholdFit, training: dict[str, Any], metrics: dict[str, Any]
) -> Metadata:
    """Assemble the metadata of a fitted model."""
    return Metadata(
        detector=ConsensusDetector.name,
        fields=fields,
        window=window,
        threshold=threshold,
        training=training,
        versions=library_versions("numpy"),
        metrics=metrics,
    )
