"""Evaluation from files: read labelled recordings, load or fit the detector, measure it beside the baselines."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import Metadata, shipped
from detectors.catalogue import detector_class
from detectors.consensus.fit import FitSettings, fit_consensus
from detectors.evaluation.events import Fault
from detectors.evaluation.run import Recording, Scored, measure, score_baselines, sort_recording
from detectors.offline import Steps, score_steps
from detectors.protocol import Detector
from features.recordings import Columns, read_columns
from schemas.outputs import Contribution
from schemas.streams import CONSENSUS, Stream
from vigil.errors import InputError
from vigil.recordings import step_of
from vigil.training_data import TrainingData, measured, normal_steps, read_incidents, stream_of_file, training_data

__all__ = [
    "Choice",
    "Evaluated",
    "Say",
    "asked_rate",
    "compare_on_generator",
    "compare_reliability",
    "evaluate_file",
    "read_faults",
    "read_labelled",
]

EXPLAINED = 2_000  # flagged windows whose contributions a report sums up
Say = Callable[[str, int, int], None]


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


def evaluate_file(path: Path, choice: Choice, say: Say | None = None) -> Evaluated:
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
    tell: Say = say or (lambda _what, _done, _total: None)
    tell(f"reading {path.name}", 0, 0)
    loaded = None if choice.fit else _loaded(choice)
    recording, stream = read_labelled(path, loaded.fields if loaded else choice.fields, choice.step_ms)
    detector = loaded or fitted(recording, stream, choice, tell)
    scored, explained = _score(recording, detector, choice, tell)
    everything = [scored]
    everything += score_baselines(recording, lambda name: tell(f"{path.name}: {name}", 0, 0))
    tell(f"{path.name}: measuring", 0, 0)
    results = tuple(measure(recording, each) for each in everything)
    return Evaluated(recording, detector, tuple(everything), results, explained)


def read_labelled(
    path: Path, fields: Sequence[str] = (), step_ms: int | None = None
) -> tuple[Recording, Stream | None]:
    """Read a labelled recording, and tell the known stream it is of, if any.

    Rows of all nodes are one set (pooled) when the file is of the consensus stream or names clusters: a cluster's
    faults are all its members'. Otherwise each node is measured by its own labels.

    Raises:
        InputError: no such file, or no step can be told.
        RecordingError: the file cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give a .jsonl, .jsonl.gz or .parquet recording")
    stream = stream_of_file(path)
    columns, nodes = sort_recording(read_columns(path, tuple(fields) or None, stream=stream))
    step = step_ms or step_of(columns.ts_ms, columns.node_ids, stream)
    if step < 1:
        raise InputError(f"{path}: the step cannot be told from the file", hint="give it: --step-ms 1000")
    recording = Recording(
        name=path.name,
        columns=columns,
        nodes=nodes,
        used=measured(columns.fields, stream),
        log=stream is not None,
        step_ms=step,
        pooled=stream is CONSENSUS or bool((columns.clusters != "").any()),
        faults=tuple(read_faults(path)),
    )
    return recording, stream


def read_faults(path: Path) -> list[Fault]:
    """Read ``NAME.faults.json`` beside a recording; none when it is not there. Raises ``InputError``."""
    stem = path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet")
    beside = path.with_name(f"{stem}.faults.json")
    if not beside.is_file():
        return []
    try:
        return msgspec.json.decode(beside.read_bytes(), type=list[Fault])
    except msgspec.MsgspecError as error:
        raise InputError(f"{beside}: {error}", hint="give a JSON array of {start_ms, end_ms, kind}") from error


def fitted(recording: Recording, stream: Stream | None, choice: Choice, tell: Say) -> Detector:
    """Fit the detector on the train part. Raises ``InputError`` when there is none."""
    if not recording.train.any():
        raise InputError(
            f"{recording.name}: no rows of split train to fit on", hint="without --fit a trained artefact is measured"
        )
    data = training_data(recording.columns, recording.train, recording.step_ms, stream)
    if choice.detector == "autoencoder":
        return _fitted_network(recording.name, data, choice, tell)
    settings = FitSettings(step_ms=recording.step_ms)
    if choice.false_alarms is not None:
        settings = replace(settings, false_alarms_per_node_day=choice.false_alarms)
    detector = fit_consensus(
        normal_steps(data), settings, lambda done, total: tell(f"{recording.name}: fitting", done, total)
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


def _score(
    recording: Recording, detector: Detector, choice: Choice, tell: Say
) -> tuple[Scored, tuple[tuple[Contribution, ...], ...]]:
    steps, order = steps_of(recording)
    found = score_steps(
        detector,
        steps,
        explain=EXPLAINED,
        on_progress=lambda done: tell(f"{recording.name}: {detector.name}", done, len(steps)),
    )
    scores = np.full(len(recording.columns), np.nan)
    scores[order] = found.scores
    about = {
        "baseline": False,
        "fit": choice.fit,
        "model_version": detector.version or None,
        "asked_false_alarms_per_node_day": asked_rate(detector),
    }
    thresholds = np.full(len(scores), detector.threshold)
    test = recording.test
    explained = tuple(reasons for place, reasons in found.explained.items() if test[order[place]])
    return Scored(detector.name, scores, thresholds, about), explained


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
    asked = metadata.threshold.fit.get("asked") if isinstance(metadata, Metadata) else None
    return float(asked) if isinstance(asked, int | float) else None


def _fitted_network(name: str, data: TrainingData, choice: Choice, tell: Say) -> Detector:
    from detectors.autoencoder.data import windows_from_rows  # noqa: PLC0415 - torch comes with these
    from detectors.autoencoder.training import train_autoencoder  # noqa: PLC0415

    if choice.false_alarms is not None:
        raise InputError("--false-alarms: the autoencoder's threshold is a percentile", hint="leave it out")
    windows = windows_from_rows(data.node_ids.tolist(), data.ts_ms, data.rows, step_ms=data.step_ms, source=name)
    trained = train_autoencoder(
        windows,
        data.fields,
        max_epochs=choice.epochs,
        on_epoch=lambda report: tell(f"{name}: training", report.epoch, choice.epochs),
    )
    return cast("Detector", trained.detector)


def compare_on_generator(windows: int, say: Say | None = None) -> list[dict[str, Any]]:
    """Measure the consensus detector, the shipped autoencoder and two rules on the reference generator.

    Args:
        windows: test windows, half of them with anomalous rows.
        say: told what is being done, and how far it is.
    """
    from detectors.autoencoder.detector import AutoencoderDetector  # noqa: PLC0415 - ONNX Runtime comes with these
    from detectors.evaluation.generator import (  # noqa: PLC0415
        evaluate_generator,
        fit_on_generator,
        one_bad_step_in_stream,
    )

    tell: Say = say or (lambda _what, _done, _total: None)
    detector = fit_on_generator(on_progress=lambda done, total: tell("fitting on the generator", done, total))
    network = AutoencoderDetector.load(shipped("autoencoder"))
    found = evaluate_generator(
        detector, network, windows=windows, on_model=lambda name: tell(f"generator: {name}", 0, 0)
    )
    streamed = one_bad_step_in_stream(
        detector, windows=windows, on_progress=lambda done: tell("generator: windows in a stream", done, 0)
    )
    return [
        {
            **asdict(figures),
            **(streamed if contender.name == detector.name else dict.fromkeys(streamed)),
            "file": "generator",
            "baseline": contender.baseline,
        }
        for contender, figures in found
    ]


def compare_reliability(
    path: Path, incidents: Path, artefact: Path | None, say: Say | None = None, *, fit: bool
) -> list[dict[str, Any]]:
    """Measure the reliability model and its baselines on node telemetry with reported incidents.

    Args:
        path: recording of node telemetry.
        incidents: reported incidents, a JSON object a line.
        artefact: folder of a trained artefact to measure as it is; the shipped one when ``None``.
        say: told what is being done.
        fit: train on the file's training part instead.

    Raises:
        InputError: a file is missing or an incident is malformed.
        RecordingError: the recording cannot be read.
        ArtefactError: the artefact is missing or damaged.
    """
    from detectors.reliability.detector import ReliabilityDetector  # noqa: PLC0415 - XGBoost comes with these
    from detectors.reliability.evaluation import compare, read_node_rows  # noqa: PLC0415

    tell: Say = say or (lambda _what, _done, _total: None)
    reported = read_incidents(incidents)
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give a recording of node telemetry")
    tell(f"reading {path.name}", 0, 0)
    rows = read_node_rows(path)
    as_it_is = artefact is not None or not fit
    detector = ReliabilityDetector.load(artefact or shipped("reliability")) if as_it_is else None
    tell(f"{path.name}: measuring", 0, 0)
    return compare(rows, reported, detector=detector, fit=fit, name=path.name)
