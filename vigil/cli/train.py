"""`vigil train consensus|autoencoder|reliability`."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import typer

from vigil.cli.options import JsonOption, SeedOption
from vigil.cli.output import note, print_json, progress_bar
from vigil.errors import InputError
from vigil.training_data import TrainingData, normal_steps, read_incidents, read_training_data

__all__ = ["app"]

app = typer.Typer()

FileArgument = Annotated[Path, typer.Argument(help="Recording: .jsonl, .jsonl.gz or .parquet.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Folder for the artefact.")]
StepOption = Annotated[
    int | None, typer.Option("--step-ms", min=1, help="Time between two steps; told from the file otherwise.")
]
AllSplitsOption = Annotated[bool, typer.Option("--all-splits", help="Train on every split, not on `train` alone.")]


@app.command("consensus")
def consensus(
    file: FileArgument,
    out: OutOption,
    step_ms: StepOption = None,
    all_splits: AllSplitsOption = False,
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", min=0.001, help="False alarms a node-day that the threshold aims at.")
    ] = 1.0,
    json: JsonOption = False,
) -> None:
    """Fit the statistical detector: any numeric telemetry, no labels, seconds.

    Every column of numbers is a feature. Where the recording has labels and splits, only normal rows of the train split
    are used.
    """
    from detectors.consensus.fit import FitSettings, fit_consensus  # noqa: PLC0415 - one trainer, not all three

    data = _read(file, step_ms, whole=all_splits)
    settings = FitSettings(false_alarms_per_node_day=false_alarms, step_ms=data.step_ms)
    with progress_bar(quiet=json) as bar:
        task = bar.add_task("fitting", total=None, rate="")
        began = time.monotonic()
        detector = fit_consensus(
            normal_steps(data), settings, lambda done, total: bar.update(task, completed=done, total=total)
        )
    _finish(detector, out, data, began, json=json)


@app.command("autoencoder")
def autoencoder(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: FileArgument,
    out: OutOption,
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

    The later fifth of the windows decides when to stop and sets the threshold.
    """
    _require("torch", "train")
    from detectors.autoencoder.data import windows_from_rows  # noqa: PLC0415 - torch comes with these
    from detectors.autoencoder.fitting import EpochReport, Recipe  # noqa: PLC0415
    from detectors.autoencoder.training import train_autoencoder  # noqa: PLC0415

    data = _read(file, step_ms, whole=all_splits)
    windows = windows_from_rows(
        data.node_ids.tolist(), data.ts_ms, data.rows, stride=stride, step_ms=data.step_ms, source=file.name
    )
    with progress_bar(quiet=json) as bar:
        task = bar.add_task("training", total=epochs, rate="")

        def on_epoch(report: EpochReport) -> None:
            bar.update(task, completed=report.epoch, rate=f"validation loss {report.validation_loss:.4f}")

        began = time.monotonic()
        trained = train_autoencoder(
            windows,
            data.fields,
            recipe=Recipe(seed=seed),
            max_epochs=epochs,
            on_epoch=on_epoch,
            checkpoints=checkpoints,
            resume=resume,
        )
    extra = {"epochs": len(trained.history), "best_epoch": trained.best_epoch}
    _finish(trained.detector, out, data, began, json=json, extra=extra)


@app.command("reliability")
def reliability(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: FileArgument,
    incidents: Annotated[
        Path, typer.Option("--incidents", help="Reported incidents, a JSON object a line, as on dwcp.incidents.")
    ],
    out: OutOption,
    step_ms: StepOption = None,
    trees: Annotated[int, typer.Option("--trees", min=1, help="Trees to grow.")] = 400,
    recall: Annotated[
        float, typer.Option("--recall", min=0.01, max=1, help="Share of incidents that the threshold has to catch.")
    ] = 0.98,
    false_alarms: Annotated[
        float | None,
        typer.Option("--false-alarms", min=0.001, help="Instead of --recall: false alarms a node-day it may cost."),
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Train the node reliability classifier on node metrics and reported incidents.

    Rows are split by time and by node: a quarter of the nodes is never trained on, and the last 30 % of the time only
    measures. The figures of that test are in the artefact's metadata.
    """
    from detectors.reliability.thresholds import AlarmBudget, RecallTarget  # noqa: PLC0415 - XGBoost comes with these
    from detectors.reliability.training import NodeRows, Recipe, train_reliability  # noqa: PLC0415

    data = _read(file, step_ms, whole=True)
    rows = NodeRows(data.fields, data.node_ids, data.ts_ms, data.rows.astype(np.float32), data.step_ms)
    began = time.monotonic()
    with progress_bar(quiet=json) as bar:
        task = bar.add_task("growing trees", total=trees, rate="")
        detector = train_reliability(
            rows,
            read_incidents(incidents),
            recipe=Recipe(trees=trees, seed=seed),
            rule=RecallTarget(recall) if false_alarms is None else AlarmBudget(false_alarms),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    _finish(detector, out, data, began, json=json, extra={"test": detector.metadata.metrics.get("test")})


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
    def save(self, directory: Path) -> None: ...


def _read(file: Path, step_ms: int | None, *, whole: bool) -> TrainingData:
    data = read_training_data(file, step_ms=step_ms, whole=whole)
    nodes = len(set(data.node_ids.tolist()))
    kind = data.stream.name if data.stream is not None else f"{len(data.fields)} features of your own"
    note(
        f"{len(data.ts_ms)} normal rows of {nodes} nodes, {kind}, steps of {data.step_ms} ms ({data.left_out} left out)"
    )
    return data


def _require(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise InputError(f"this needs {package}", hint=f"pip install 'vigil-dwcp[{extra}]'")


def _finish(
    detector: _Trained, out: Path, data: TrainingData, began: float, *, json: bool, extra: dict[str, Any] | None = None
) -> None:
    detector.save(out)
    seconds = round(time.monotonic() - began, 2)
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
                **(extra or {}),
            }
        )
        return
    note(f"{detector.version}, threshold {detector.threshold:.4g}, in {seconds:.1f} s: {out}")
    note(f"try it: vigil score RECORDING --artefact {out}")
