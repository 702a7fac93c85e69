"""Comparisons with their own data: the reference generator, and node telemetry with reported incidents."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from detectors.artefacts import shipped
from vigil.errors import InputError
from vigil.progress import Say, say_nothing
from vigil.training_data import read_incidents

__all__ = ["compare_on_generator", "compare_reliability"]


def compare_on_generator(windows: int, say: Say = say_nothing) -> list[dict[str, Any]]:
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

    detector = fit_on_generator(on_progress=lambda done, total: say("fitting on the generator", done, total))
    network = AutoencoderDetector.load(shipped("autoencoder"))
    found = evaluate_generator(
        detector, network, windows=windows, on_model=lambda name: say(f"generator: {name}", 0, 0)
    )
    streamed = one_bad_step_in_stream(
        detector, windows=windows, on_progress=lambda done: say("generator: windows in a stream", done, 0)
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
    path: Path,
    *,
    incidents: Path | None,
    artefact: Path | None = None,
    fit: bool = False,
    false_alarms: float | None = None,
    say: Say = say_nothing,
) -> list[dict[str, Any]]:
    """Measure the reliability model and its baselines on node telemetry with reported incidents.

    Args:
        path: recording of node telemetry.
        incidents: reported incidents, a JSON object a line.
        artefact: folder of a trained artefact to measure as it is; the shipped one when ``None``.
        fit: train on the file instead, leaning on the shipped detector.
        false_alarms: a node-day, that fitted thresholds may cost; when ``None`` ours has its default, and the others
            catch 98 % of the incidents.
        say: told what is being done.

    Raises:
        InputError: a file is missing or not given, or an incident is malformed.
        RecordingError: the recording cannot be read.
        ArtefactError: the artefact is missing or damaged.
    """
    from detectors.reliability.detector import ReliabilityDetector  # noqa: PLC0415 - XGBoost comes with these
    from detectors.reliability.evaluation import compare, read_node_rows  # noqa: PLC0415
    from detectors.reliability.thresholds import AlarmBudget  # noqa: PLC0415
    from detectors.reliability.training import prior_for  # noqa: PLC0415

    if incidents is None:
        raise InputError("reliability is measured against incidents", hint="give them: --incidents FILE.jsonl")

    reported = read_incidents(incidents)
    if not path.is_file():
        raise InputError(f"{path}: no such file", hint="give a recording of node telemetry")
    say(f"reading {path.name}", 0, 0)
    rows = read_node_rows(path)
    as_it_is = artefact is not None or not fit
    detector = ReliabilityDetector.load(artefact or shipped("reliability")) if as_it_is else None
    say(f"{path.name}: {'training and ' if fit else ''}measuring", 0, 0)
    rule = None if false_alarms is None else AlarmBudget(false_alarms)
    prior = prior_for(rows.fields) if fit else None
    return compare(rows, reported, detector=detector, fit=fit, prior=prior, rule=rule, name=path.name)
