"""The reference autoencoder at work: ONNX Runtime, one thread, tiles of one shape. Never imports torch."""

from pathlib import Path
from typing import Any, ClassVar, Final, Self

import msgspec
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NotImplemented,  # noqa: A004  (its name in ONNX Runtime)
    RuntimeException,
)

from detectors.artefacts import ArtefactError, Metadata, read_artefact, write_artefact
from detectors.protocol import Expected, NodeState, Scores
from detectors.tiles import apply_tiled
from features.batch import WindowBatch
from features.scaling import RobustScaler
from schemas.outputs import Contribution

GRAPH: Final = "model.onnx"
WEIGHTS: Final = "weights.safetensors"
TOP_FEATURES: Final = 5
SCALED_LIMIT: Final = 1e6  # far above any telemetry; keeps float32 products finite inside the network
_CHUNK: Final = 4096  # windows gathered at a time: bounds memory when a whole recording is scored
# ONNX Runtime's errors have no common base class but Exception.
_RUNTIME_ERRORS: Final = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NotImplemented, RuntimeException)
_RETRAIN: Final = "restore the whole directory from one training run, or train the autoencoder again"


class Parameters(msgspec.Struct, frozen=True):
    """What the detector needs beside graph, scaler and threshold.

    Attributes:
        tile: windows in a call of the graph.
        band: (F,), half width of the expected band around a reconstruction, scaled units.
        seen_low, seen_high: (F,), least and greatest training value, raw units; an expected band stays within.
    """

    tile: int
    band: tuple[float, ...]
    seen_low: tuple[float, ...]
    seen_high: tuple[float, ...]


class AutoencoderDetector:
    """Scores a window by the mean squared error of its reconstruction over all scaled cells (SPEC section 3).

    The mean over all cells dilutes a short fault: that is the reference's rule, kept because this is the yardstick.

    Attributes:
        levels: scores from which an anomaly is a warning, and critical.
        metadata: of the artefact.
        files: of the artefact, by name.
    """

    name: ClassVar[str] = "autoencoder"
    state_width: ClassVar[int] = 0

    def __init__(self, metadata: Metadata, files: dict[str, bytes], origin: Path | str = "in memory") -> None:
        """Build the inference session.

        Args:
            metadata: of the artefact.
            files: the artefact's files by name, ``model.onnx`` among them.
            origin: where they come from, for error messages.

        Raises:
            ArtefactError: graph, scaler, parameters and metadata do not belong together.
        """
        self.metadata = metadata
        self.version = metadata.model_version
        self.fields = metadata.fields
        self.window = metadata.window
        self.threshold = metadata.threshold.value
        self.levels = (2.0 * self.threshold, 5.0 * self.threshold)
        self.files = dict(files)
        self._parameters, self._scaler = _read_parameters(metadata, origin)
        self._session = _open_session(files, origin)
        self._input = self._session.get_inputs()[0].name
        _check_shapes(self._session, (self._parameters.tile, self.window, len(self.fields)), origin)

    def score(self, windows: WindowBatch, before: NodeState | None = None) -> Scores:  # noqa: ARG002  (stateless)
        """Score windows; see ``Detector.score``. The score is in squared interquartile ranges."""
        scores = np.empty(len(windows), dtype=np.float64)
        scaled = self._scaled(windows)
        for chosen in _chunks(len(windows)):
            scores[chosen] = apply_tiled(self._score_tile, scaled.take(chosen).tensor(), self._parameters.tile)
        return scores

    def contributions(
        self,
        windows: WindowBatch,
        before: NodeState | None = None,  # noqa: ARG002  (stateless)
    ) -> list[tuple[Contribution, ...]]:
        """Split each score over the features; see ``Detector.contributions``.

        A feature's share is its part of the squared error. Its value is that of its worst step, beside the band in
        which 99 % of normal values lie around the reconstruction of that step.
        """
        found: list[tuple[Contribution, ...]] = []
        for chosen in _chunks(len(windows)):
            found.extend(self._explain(windows.take(chosen)))
        return found

    def expected(
        self,
        windows: WindowBatch,
        before: NodeState | None = None,  # noqa: ARG002  (stateless)
    ) -> Expected:
        """Say what was expected of each step: its reconstruction, within the band; see ``Expecting.expected``."""
        parameters, (_, centre) = self._parameters, self.reconstruct(windows)
        usual = np.clip(self._scaler.inverse(centre), parameters.seen_low, parameters.seen_high)
        low, high = self._band(centre)
        return Expected(*(np.asarray(each, dtype=np.float64) for each in (low, usual, high)))

    def reconstruct(self, windows: WindowBatch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the scaled windows and their reconstruction, both float32 (n, window, F)."""
        scaled = self._scaled(windows).tensor()
        return scaled, apply_tiled(self._run, scaled, self._parameters.tile)

    def save(self, directory: Path) -> None:
        """Write the artefact; see ``Detector.save``."""
        self.metadata = write_artefact(directory, self.metadata, self.files)
        self.version = self.metadata.model_version

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read an artefact back; see ``Detector.load``."""
        artefact = read_artefact(directory, cls.name)
        return cls(artefact.metadata, dict(artefact.files), directory)

    def _scaled(self, windows: WindowBatch) -> WindowBatch:
        shape = (windows.length, windows.features)
        if shape != (self.window, len(self.fields)):
            raise ValueError(f"windows of {shape} steps and features: it takes {(self.window, len(self.fields))}")
        return windows.with_rows(scale(self._scaler, windows.rows))

    def _run(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        (reconstruction,) = self._session.run(None, {self._input: tile})
        return np.asarray(reconstruction, dtype=np.float32)

    def _score_tile(self, tile: NDArray[np.float32]) -> NDArray[np.float64]:
        # The mean is taken here, on the tile's fixed shape, because numpy too may add in another order by shape.
        errors = np.square(tile.astype(np.float64) - self._run(tile))
        return np.asarray(errors.reshape(len(tile), -1).mean(axis=1), dtype=np.float64)

    def _explain(self, windows: WindowBatch) -> list[tuple[Contribution, ...]]:
        raw = windows.tensor()
        scaled, expected = self.reconstruct(windows)
        errors = np.square(scaled.astype(np.float64) - expected)
        by_feature = errors.sum(axis=1)
        total = by_feature.sum(axis=1, keepdims=True)
        # A hair under one, so that rounding cannot make a window's shares sum to more.
        shares = by_feature / np.maximum(total, np.finfo(np.float64).tiny) * (1 - 1e-12)
        worst = errors.argmax(axis=1)
        values = np.take_along_axis(raw, worst[:, None], axis=1)[:, 0]
        centre = np.take_along_axis(expected, worst[:, None], axis=1)[:, 0]
        low, high = self._band(centre)
        return [self._ranked(*row) for row in zip(shares, values, low, high, strict=True)]

    def _band(self, centre: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        parameters = self._parameters
        band, limits = np.array(parameters.band), (np.array(parameters.seen_low), np.array(parameters.seen_high))
        low, high = (self._scaler.inverse(centre.astype(np.float64) + sign * band) for sign in (-1.0, 1.0))
        return np.clip(low, *limits), np.clip(high, *limits)

    def _ranked(
        self,
        shares: NDArray[np.float64],
        values: NDArray[np.float32],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
    ) -> tuple[Contribution, ...]:
        first = np.argsort(-shares, kind="stable")[:TOP_FEATURES]
        return tuple(
            Contribution(self.fields[at], float(shares[at]), float(values[at]), float(low[at]), float(high[at]))
            for at in first
            if shares[at] > 0
        )


def scale(scaler: RobustScaler, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows (..., F) to what the network is given: within ``SCALED_LIMIT``, so that every score is finite."""
    with np.errstate(over="ignore"):
        scaled = scaler.transform(rows)
    return np.clip(scaled, np.float32(-SCALED_LIMIT), np.float32(SCALED_LIMIT))


def _chunks(count: int) -> list[NDArray[np.int64]]:
    return [np.arange(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]


def _read_parameters(metadata: Metadata, origin: Path | str) -> tuple[Parameters, RobustScaler]:
    width = len(metadata.fields)
    try:
        parameters = msgspec.convert(metadata.parameters, Parameters)
        scaler = RobustScaler.from_dict(metadata.scaler or {})
    except (msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(origin, f"its parameters or scaler are not valid ({error})", _RETRAIN) from error
    lengths = {len(parameters.band), len(parameters.seen_low), len(parameters.seen_high), scaler.features}
    if lengths != {width}:
        raise ArtefactError(origin, f"scaler and band are of {sorted(lengths)} features, fields of {width}", _RETRAIN)
    if not 1 <= parameters.tile <= 4096:
        raise ArtefactError(origin, f"tile {parameters.tile} is not within 1..4096", _RETRAIN)
    return parameters, scaler


def _open_session(files: dict[str, bytes], origin: Path | str) -> Any:  # ONNX Runtime ships no types
    if GRAPH not in files:
        raise ArtefactError(origin, f"{GRAPH} is not among its files", _RETRAIN)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(files[GRAPH], options, providers=["CPUExecutionProvider"])
    except _RUNTIME_ERRORS as error:
        raise ArtefactError(origin, f"{GRAPH} does not load in ONNX Runtime ({error})", _RETRAIN) from error


def _check_shapes(session: Any, shape: tuple[int, int, int], origin: Path | str) -> None:
    for side, tensors in (("takes", session.get_inputs()), ("gives", session.get_outputs())):
        shapes = [tuple(tensor.shape) for tensor in tensors]
        if shapes != [shape]:
            raise ArtefactError(origin, f"{GRAPH} {side} {shapes}, its metadata says {[shape]}", _RETRAIN)
