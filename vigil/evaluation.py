"""Evaluation from files: read labelled recordings, load or fit the detector, measure it beside the baselines."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import Metadata, shipped
from detectors.catalogue import detector_class
from detectors.consensus.fit import FitSettings, fit_consensus
from detectors.evaluation.run import Recording, Scored, measure, score_baselines
from detectors.evaluation.silences import silence_figures
from detectors.offline import Steps, score_steps
from detectors.protocol import Detector
from features.recordings import Columns
from schemas.outputs import Contribution
from schemas.streams import Stream
from vigil.errors import InputError
from vigil.labelled import read_labelled
from vigil.progress import Say, say_nothing
from vigil.training_data import TrainingData, normal_steps, training_data

__all__ = ["Choice", "Evaluated", "asked_rate", "evaluate_file"]

EXPLAINED = 2_000  # flagged windows whose contributions a report sums up


@dataclass(frozen=True, slots=True)
class Choice:
    """What to measure.

    Attributes:
        detector: its name.
        fit: fit on each file's train part; otherwise a trained artefact is measured as it is.
        artefact: folder of the artefact, the shipped one when ``None``.
        fields: the columns to look at, all of numbers (or the known stream's) when empty.
        step_ms: time between two steps, told from the file when ``None``.
        false_alarms: a node-day, that a fitted threshold aims at; the detector's default when ``None``.
        epochs: most epochs of a fitted network.
    """

    detector: str
    fit: bool = False
    artefact: Path | None = None
    fields: tuple[str, ...] = ()
    step_ms: int | None = None
    false_alarms: float | None = None
    epochs: int = 40


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One file's evaluation.

    Attributes:
        recording: what was measured on.
        detector: the detector that was measured.
        scored: what it and each baseline said, the detector first.
        results: their figures, in the same order.
        explained: contributions to the first flagged windows.
    """

    recording: Recording
    detector: Detector
    scored: tuple[Scored, ...]
    results: tuple[dict[str, Any], ...]
    explained: tuple[tuple[Contribution, ...], ...]


def evaluate_file(path: Path, choice: Choice, say: Say = say_nothing) -> Evaluated:
    """Measure a detector and the baselines on one file.

    Args:
        path: labelled recording; ``NAME.faults.json`` beside it is read when it is there.
        choice: what to measure.
        say: told what is being done, and how far it is.

    Raises:
        InputError: the file or the choice cannot be used.
        ArtefactError: the artefact is missing or damaged.
        RecordingError: the file cannot be read.
        EvaluationError: the file has no labels or no test rows.
    """
    say(f"reading {path.name}", 0, 0)
    loaded = None if choice.fit else _loaded(choice)
    recording, stream = read_labelled(path, loaded.fields if loaded else choice.fields, choice.step_ms)
    detector = loaded or fitted(recording, stream, choice, say)
    scored, explained = _score(recording, detector, choice, say)
    everything = [scored]
    everything += score_baselines(recording, lambda name: say(f"{path.name}: {name}", 0, 0))
    say(f"{path.name}: measuring", 0, 0)
    results = tuple(measure(recording, each) for each in everything)
    results[0]["silence"] = silences_of(recording)
    return Evaluated(recording, detector, tuple(everything), results, explained)


def fitted(recording: Recording, stream: Stream | None, choice: Choice, say: Say) -> Detector:
    """Fit the detector on the train part. Raises ``InputError`` when there is none."""
    if not recording.train.any():
        raise InputError(
            f"{recording.name}: no rows of split train to fit on", hint="without --fit a trained artefact is measured"
        )
    data = training_data(recording.columns, recording.train, recording.step_ms, stream)
    if choice.detector == "autoencoder":
        return _fitted_network(recording.name, data, choice, say)
    settings = FitSettings(step_ms=recording.step_ms)
    if choice.false_alarms is not None:
        settings = replace(settings, false_alarms_per_node_day=choice.false_alarms)
    detector = fit_consensus(
        normal_steps(data), settings, lambda done, total: say(f"{recording.name}: fitting", done, total)
    )
    return cast("Detector", detector)


def steps_of(recording: Recording) -> tuple[Steps, NDArray[np.int64]]:
    """Return the scorable rows as steps in log order, and the places of those rows, int64 (k,)."""
    columns: Columns = recording.columns
    rows = np.flatnonzero(recording.finite)
    order = rows[np.argsort(columns.ts_ms[rows], kind="stable")]
    steps = Steps(
        keys=columns.node_ids[order].tolist(),
        ts_ms=columns.ts_ms[order],
        rows=columns.values[order].astype(np.float32),
        step_ms=recording.step_ms,
    )
    return steps, order


def silences_of(recording: Recording) -> dict[str, Any]:
    """Return the figures of the built-in detector `silence`, which are in none of the model's."""
    steps, order = steps_of(recording)
    complete = bool(recording.faults) or not (recording.label == 1).any()
    return silence_figures(steps, recording.faults, recording.columns.clusters[order].tolist(), complete=complete)


def _score(
    recording: Recording, detector: Detector, choice: Choice, say: Say
) -> tuple[Scored, tuple[tuple[Contribution, ...], ...]]:
    steps, order = steps_of(recording)
    found = score_steps(
        detector,
        steps,
        explain=EXPLAINED,
        on_progress=lambda done: say(f"{recording.name}: {detector.name}", done, len(steps)),
    )
    scores, flagged = np.full(len(recording.columns), np.nan), np.zeros(len(recording.columns), dtype=np.bool_)
    scores[order], flagged[order] = found.scores, found.flagged
    about = {
        "baseline": False,
        "fit": choice.fit,
        "model_version": detector.version or None,
        "asked_false_alarms_per_node_day": asked_rate(detector),
    }
    thresholds = np.full(len(scores), detector.threshold)
    test = recording.test
    explained = tuple(reasons for place, reasons in found.explained.items() if test[order[place]])
    return Scored(detector.name, scores, thresholds, about, flagged), explained


def _loaded(choice: Choice) -> Detector:
    detector = detector_class(choice.detector).load(choice.artefact or shipped(choice.detector))
    if choice.fields and tuple(choice.fields) != tuple(detector.fields):
        raise InputError(
            f"--fields {','.join(choice.fields)}: {detector.version} takes {','.join(detector.fields)}",
            hint="fit on these fields with --fit, or leave --fields out",
        )
    if choice.false_alarms is not None:
        raise InputError("--false-alarms: a trained artefact keeps its threshold", hint="give --fit as well")
    return detector


def asked_rate(detector: Detector) -> float | None:
    """Return the false alarms a node-day that the threshold was fitted for, where the artefact says so."""
    metadata = getattr(detector, "metadata", None)
    asked = metadata.training.get("false_alarms_per_node_day") if isinstance(metadata, Metadata) else None
    return float(asked) if isinstance(asked, int | float) else None


def _fitted_network(name: str, data: TrainingData, choice: Choice, say: Say) -> Detector:
    from detectors.autoencoder.data import windows_from_rows  # noqa: PLC0415 - torch comes with these
    from detectors.autoencoder.training import train_autoencoder  # noqa: PLC0415

    if choice.false_alarms is not None:
        raise InputError("--false-alarms: the autoencoder's threshold is a percentile", hint="leave it out")
    windows = windows_from_rows(data.node_ids.tolist(), data.ts_ms, data.rows, step_ms=data.step_ms, source=name)
    trained = train_autoencoder(
        windows,
        data.fields,
        max_epochs=choice.epochs,
        on_epoch=lambda report: say(f"{name}: training", report.epoch, choice.epochs),
    )
    return cast("Detector", trained.detector)
