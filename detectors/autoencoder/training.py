"""Train the reference autoencoder on windows of normal telemetry and make an artefact of it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save as save_tensors

from detectors.artefacts import Metadata, ThresholdFit, data_hash, library_versions
from detectors.autoencoder.checkpoint import NAME as CHECKPOINT_NAME
from detectors.autoencoder.checkpoint import read_checkpoint, write_checkpoint
from detectors.autoencoder.data import TrainingDataError, TrainingWindows
from detectors.autoencoder.detector import GRAPH, WEIGHTS, AutoencoderDetector, Parameters, scale
from detectors.autoencoder.export import export_graph
from detectors.autoencoder.fitting import EpochReport, Fit, Recipe, run_fit, start_fit
from detectors.autoencoder.network import Autoencoder, count
from features.batch import WindowBatch
from features.scaling import RobustScaler

TILE: Final = 16  # as fast a window as any larger one (benchmarked 8 to 128), and a lone window waits for 16 at most
BAND_QUANTILE: Final = 0.99
VALIDATION_SHARE: Final = 0.2
_LIBRARIES: Final = ("numpy", "torch", "onnx", "onnxruntime", "safetensors")


@dataclass(frozen=True, slots=True)
class TrainedAutoencoder:
    """A trained network, ready to score and to be written.

    Attributes:
        detector: scores windows with the exported graph and the threshold below.
        history: one report an epoch, those before a checkpoint included.
        best_epoch: the epoch whose weights were kept, from 1.
    """

    detector: AutoencoderDetector
    history: tuple[EpochReport, ...]
    best_epoch: int

    def save(self, directory: Path) -> Metadata:
        """Write the artefact and return its metadata. Raises ``ArtefactError`` when it cannot be written."""
        self.detector.save(directory)
        return self.detector.metadata


def train_autoencoder(
    windows: TrainingWindows,
    fields: Sequence[str],
    *,
    recipe: Recipe | None = None,
    max_epochs: int = 40,
    on_epoch: Callable[[EpochReport], None] | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> TrainedAutoencoder:
    """Train on the earlier windows, stop and set the threshold by the later ones.

    Args:
        windows: normal telemetry, from ``windows_from_rows`` or ``windows_in_sequence``.
        fields: names of the features, in order.
        recipe: seed, batch size, learning rate and stopping rule; the reference's by default.
        max_epochs: epochs at most, those before the checkpoint included.
        on_epoch: told after each epoch, to show progress.
        checkpoints: directory that a checkpoint is written to after each epoch; ``None`` for none.
        resume: go on from the checkpoint there, which must be of the same data and recipe.

    Raises:
        TrainingDataError: too few windows, or names and features do not match in number.
        DivergedError: the loss is not finite any more.
        CheckpointError: ``resume`` without a sound checkpoint of this very run.
    """
    recipe = recipe or Recipe()
    _check_arguments(windows, fields, max_epochs)
    training, validation = windows.split(VALIDATION_SHARE)
    scaler = RobustScaler.fit(training.values.reshape(-1, len(fields)))
    identity = data_hash(windows.values, windows.start_ms, windows.end_ms)
    fit = _start(recipe, identity, training.values.shape, checkpoints, resume=resume)
    network = run_fit(
        fit,
        scale(scaler, training.values),
        scale(scaler, validation.values),
        recipe,
        max_epochs=max_epochs,
        on_epoch=on_epoch,
        save=_saver(checkpoints, recipe, identity),
    )
    made = {
        "source": windows.source,
        "data_sha256": identity,
        "training_windows": len(training),
        "validation_windows": len(validation),
        "validation_share": VALIDATION_SHARE,
        "max_epochs": max_epochs,
        "epochs": len(fit.history),
        "best_epoch": fit.best_epoch,
        "recipe": asdict(recipe),
        "trainable_parameters": count(network),
    }
    draft = _draft(network, tuple(fields), scaler, training.values, made)
    detector = _with_threshold(draft, validation.values, recipe.threshold_quantile, fit.history)
    return TrainedAutoencoder(detector, tuple(fit.history), fit.best_epoch)


def _check_arguments(windows: TrainingWindows, fields: Sequence[str], max_epochs: int) -> None:
    if windows.values.shape[2] != len(fields):
        raise TrainingDataError(f"windows of {windows.values.shape[2]} features, {len(fields)} names: give one each")
    if max_epochs < 1:
        raise TrainingDataError(f"max_epochs {max_epochs} must be at least 1")


def _start(recipe: Recipe, identity: str, shape: tuple[int, ...], checkpoints: Path | None, *, resume: bool) -> Fit:
    _, window, features = shape
    if not resume:
        return start_fit(features, window, recipe)
    if checkpoints is None:
        raise TrainingDataError("resume needs the directory of the checkpoint: give checkpoints")
    return read_checkpoint(checkpoints / CHECKPOINT_NAME, recipe, identity, features, window)


def _saver(checkpoints: Path | None, recipe: Recipe, identity: str) -> Callable[[Fit], None] | None:
    if checkpoints is None:
        return None
    path = checkpoints / CHECKPOINT_NAME
    return lambda fit: write_checkpoint(path, fit, recipe, identity)


def _draft(
    network: Autoencoder,
    fields: tuple[str, ...],
    scaler: RobustScaler,
    training: NDArray[np.float32],
    made: dict[str, Any],
) -> AutoencoderDetector:
    """Export the network; band and threshold are still to be set, by the exported graph's own scores."""
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    files = {GRAPH: export_graph(network, TILE), WEIGHTS: save_tensors(tensors)}
    rows = training.reshape(-1, len(fields)).astype(np.float64)
    parameters = Parameters(
        tile=TILE,
        band=(0.0,) * len(fields),
        seen_low=tuple(rows.min(axis=0).tolist()),
        seen_high=tuple(rows.max(axis=0).tolist()),
    )
    metadata = Metadata(
        detector=AutoencoderDetector.name,
        fields=fields,
        window=network.window,
        threshold=ThresholdFit(0.0, "not set"),
        scaler=scaler.to_dict(),
        parameters=msgspec.to_builtins(parameters, builtin_types=()),
        training=made,
        versions=library_versions(*_LIBRARIES),
    )
    return AutoencoderDetector(metadata, files)


def _with_threshold(
    draft: AutoencoderDetector, validation: NDArray[np.float32], quantile: float, history: Sequence[EpochReport]
) -> AutoencoderDetector:
    windows = WindowBatch.stack(validation)
    scaled, expected = draft.reconstruct(windows)
    residuals = np.abs(scaled.astype(np.float64) - expected).reshape(-1, len(draft.fields))
    scores = draft.score(windows)
    band = np.quantile(residuals, BAND_QUANTILE, axis=0)
    threshold = ThresholdFit(
        float(np.quantile(scores, quantile)),
        f"{100 * quantile:g}th percentile of the scores of normal validation windows",
        {"quantile": quantile, "windows": len(scores), "largest": float(scores.max())},
    )
    best = min(history, key=lambda report: report.validation_loss)
    metrics = {
        "validation_loss": best.validation_loss,
        "training_loss": best.training_loss,
        "validation_score_mean": float(scores.mean()),
        "validation_score_median": float(np.median(scores)),
        "history": [{name: value for name, value in asdict(report).items() if name != "seconds"} for report in history],
    }
    metadata = msgspec.structs.replace(
        draft.metadata,
        threshold=threshold,
        parameters={**draft.metadata.parameters, "band": band.tolist()},
        metrics=metrics,
    )
    return AutoencoderDetector(metadata, draft.files)
