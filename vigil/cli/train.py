"""`vigil train consensus|autoencoder|reliability`."""

import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import numpy as np
import typer

from schemas.metrics import Incident
from vigil.assembly import kafka_config
from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, configured, names_of
from vigil.cli.output import note, print_json, with_progress
from vigil.errors import InputError
from vigil.own_streams import is_own, stream_settings
from vigil.progress import Say
from vigil.training_data import TrainingData, normal_steps, read_incidents, read_training_data

if TYPE_CHECKING:
    from vigil.training.consensus import Trained

__all__ = ["app"]

app = typer.Typer()

FileArgument = Annotated[Path, typer.Argument(help="Recording: .jsonl, .jsonl.gz or .parquet.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the artefact.")]
StepOption = Annotated[
    int | None, typer.Option("--step-ms", min=1, help="Time between two steps; told from the file otherwise.")
]
FieldsOption = Annotated[
    str | None, typer.Option("--fields", metavar="A,B,...", help="Columns to train on; all of numbers otherwise.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed and rows give the same model.")]
AllSplitsOption = Annotated[bool, typer.Option("--all-splits", help="Train on every split, not on `train` alone.")]


@app.command("consensus")
def consensus(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: FileArgument,
    out: OutOption,
    fields: FieldsOption = None,
    step_ms: StepOption = None,
    all_splits: AllSplitsOption = False,
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", min=0.001, help="False alarms a node-day that the threshold aims at.")
    ] = 1.0,
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder for plots and a page of figures; OUT/report otherwise.")
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write the artefact alone.")] = False,
    json: JsonOption = False,
) -> None:
    """Fit the statistical detector: any numeric telemetry, no labels, seconds.

    Every column of numbers is a feature. Where the recording has labels and splits, only normal rows of the train split
    are used.

    The last fifth by time is a test: a detector fitted on the rows before it scores it, and its false alarms a node-day
    stand beside the asked ones, here and in the artefact's metadata. The artefact itself is fitted on all rows.

    Nothing is random or iterative: scales, covariances, forecasts and the threshold's tail are each computed in one
    pass, so there are no epochs, no early stopping and nothing to resume. The same rows give the same artefact.
    """
    from detectors.consensus.fit import FitSettings  # noqa: PLC0415 - one trainer, not all three
    from detectors.evaluation.held_out import held_out_text  # noqa: PLC0415
    from vigil.training.consensus import train_consensus  # noqa: PLC0415

    began = time.monotonic()

    def work(say: Say) -> tuple[TrainingData, "Trained"]:
        data = _read(file, step_ms, say, whole=all_splits, fields=fields)
        settings = FitSettings(false_alarms_per_node_day=false_alarms, step_ms=data.step_ms)
        return data, train_consensus(normal_steps(data), settings, say)

    data, trained = with_progress(work, quiet=json)
    detector, held_out = trained.detector, trained.held_out
    detector.save(out)
    page = None if no_report else _report(trained, report, out / "report")
    if not json:
        note(f"held out: {held_out_text(held_out)}")
        if page is not None:
            note(f"plots: {page}")
    fit = detector.metadata.threshold.fit
    extra = {"threshold_fit": fit, "held_out": held_out, "report": None if page is None else str(page)}
    _finish(detector, out, data, began, json=json, extra=extra)


@app.command("autoencoder")
def autoencoder(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: FileArgument,
    out: OutOption,
    fields: FieldsOption = None,
    step_ms: StepOption = None,
    all_splits: AllSplitsOption = False,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Most epochs; it stops earlier by itself.")] = 40,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Use every n-th window of a node.")] = 5,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="Folder for a checkpoint after every epoch.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train the reference BiLSTM autoencoder (extra `train`; minutes to hours).

    The later fifth of the windows decides when to stop and sets the threshold. With --checkpoints a run that was
    stopped goes on with --resume, and ends with the same weights, to the bit, as one that was not.
    """
    _require("torch", "train")
    from detectors.autoencoder.data import windows_from_rows  # noqa: PLC0415 - torch comes with these
    from detectors.autoencoder.fitting import EpochReport, Recipe  # noqa: PLC0415
    from detectors.autoencoder.training import TrainedAutoencoder, train_autoencoder  # noqa: PLC0415

    began = time.monotonic()

    def work(say: Say) -> tuple[TrainingData, TrainedAutoencoder]:
        data = _read(file, step_ms, say, whole=all_splits, fields=fields)
        say("training", 0, epochs)
        windows = windows_from_rows(
            data.node_ids.tolist(), data.ts_ms, data.rows, stride=stride, step_ms=data.step_ms, source=file.name
        )

        def on_epoch(report: EpochReport) -> None:
            say(f"training, validation loss {report.validation_loss:.4f}", report.epoch, epochs)

        trained = train_autoencoder(
            windows,
            data.fields,
            recipe=Recipe(seed=seed),
            max_epochs=epochs,
            on_epoch=on_epoch,
            checkpoints=checkpoints,
            resume=resume,
        )
        return data, trained

    data, trained = with_progress(work, quiet=json)
    trained.detector.save(out)
    extra = {"epochs": len(trained.history), "best_epoch": trained.best_epoch}
    _finish(trained.detector, out, data, began, json=json, extra=extra)


@app.command("reliability")
def reliability(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: FileArgument,
    out: OutOption,
    incidents: Annotated[
        Path | None,
        typer.Option("--incidents", help="Reported incidents, a JSON object a line; otherwise Kafka's incident topic."),
    ] = None,
    step_ms: StepOption = None,
    trees: Annotated[int, typer.Option("--trees", min=1, help="Trees to grow.")] = 500,
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", min=0.001, help="False alarms a node-day that the threshold may cost.")
    ] = 0.7,
    recall: Annotated[
        float | None,
        typer.Option("--recall", min=0.01, max=1, help="Instead: share of incidents that the threshold has to catch."),
    ] = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Learn from these rows alone, without the shipped model's trees.")
    ] = False,
    transplants: Annotated[
        float, typer.Option("--transplants", min=0, help="Times each incident is told again on other nodes; 0: never.")
    ] = 4.0,
    seed: SeedOption = 0,
    config: ConfigOption = None,
    kafka: KafkaOption = None,
    json: JsonOption = False,
) -> None:
    """Train the node reliability classifier on node metrics and reported incidents.

    Rows are split by time and by node: a quarter of the nodes is never trained on, and the last 30 % of the time only
    measures. The figures of that test are in the artefact's metadata. What went wrong on one node is told again on
    others, at their own level and weaker (--transplants), so that few incidents teach more.
    """
    from detectors.reliability.detector import ReliabilityDetector  # noqa: PLC0415 - XGBoost comes with these
    from detectors.reliability.thresholds import AlarmBudget, RecallTarget  # noqa: PLC0415
    from detectors.reliability.training import NodeRows, Recipe, prior_for, train_reliability  # noqa: PLC0415

    began = time.monotonic()

    def work(say: Say) -> tuple[TrainingData, ReliabilityDetector]:
        data = _read(file, step_ms, say, whole=True)
        rows = NodeRows(data.fields, data.node_ids, data.ts_ms, data.rows.astype(np.float32), data.step_ms)
        say("reading incidents", 0, 0)
        return data, train_reliability(
            rows,
            _reported(config, kafka) if incidents is None else read_incidents(incidents),
            prior=None if alone else prior_for(data.fields),
            recipe=Recipe(trees=trees, transplants=transplants, seed=seed),
            rule=AlarmBudget(false_alarms) if recall is None else RecallTarget(recall),
            progress=partial(say, "growing trees"),
        )

    data, detector = with_progress(work, quiet=json)
    detector.save(out)
    _finish(detector, out, data, began, json=json, extra={"test": detector.metadata.metrics.get("test")})


def _reported(config: Path | None, kafka: str | None) -> list[Incident]:
    """Read the incident topic of the configured Kafka."""
    from streams.incidents import read_incident_log  # noqa: PLC0415 - Kafka's client comes with it

    found = read_incident_log(kafka_config(configured(config, kafka__bootstrap=kafka).settings))
    note(f"{len(found)} records of incidents")
    return found


class _Trained(Protocol):
    """What every detector says about itself."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def threshold(self) -> float: ...
    @property
    def fields(self) -> tuple[str, ...]: ...


def _read(file: Path, step_ms: int | None, say: Say, *, whole: bool, fields: str | None = None) -> TrainingData:
    say(f"reading {file.name}", 0, 0)
    data = read_training_data(file, fields=names_of(fields), step_ms=step_ms, whole=whole)
    nodes = len(set(data.node_ids.tolist()))
    kind = data.stream.name if data.stream is not None else f"{len(data.fields)} features of your own"
    note(
        f"{len(data.ts_ms)} normal rows of {nodes} nodes, {kind}, steps of {data.step_ms} ms ({data.left_out} left out)"
    )
    return data


def _report(trained: "Trained", given: Path | None, usual: Path) -> Path | None:
    """Write plots and a page, and return the page; without matplotlib only where a folder was asked for."""
    from detectors.evaluation.training_report import write_training_report  # noqa: PLC0415 - matplotlib comes with it

    if given is None and find_spec("matplotlib") is None:
        note("no plots: they need matplotlib, pip install 'vigil-dwcp[train]'")
        return None
    return write_training_report(trained.detector, trained.tried, trained.course, given or usual)[0]


def _require(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise InputError(f"this needs {package}", hint=f"pip install 'vigil-dwcp[{extra}]'")


def _finish(
    detector: _Trained, out: Path, data: TrainingData, began: float, *, json: bool, extra: dict[str, Any] | None = None
) -> None:
    seconds = round(time.monotonic() - began, 2)
    settings = stream_settings(data, detector.name, out) if is_own(data) else None
    if json:
        print_json(
            {
                "detector": detector.name,
                "model_version": detector.version,
                "threshold": detector.threshold,
                "fields": detector.fields,
                "rows": len(data.ts_ms),
                "step_ms": data.step_ms,
                "seconds": seconds,
                "out": str(out),
                "settings": settings,
                **(extra or {}),
            }
        )
        return
    note(f"{detector.version}, threshold {detector.threshold:.4g}, in {seconds:.1f} s: {out}")
    note(f"try it: vigil score RECORDING --artefact {out}")
    if settings is not None:
        note(f"stream it, in vigil.toml:\n\n{settings}")
