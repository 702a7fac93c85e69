"""`vigil score`."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from detectors.artefacts import Metadata
from detectors.catalogue import load_detectors
from schemas.codec import RecordCodec
from schemas.streams import STREAMS, Stream, custom_stream
from vigil.assembly import stream_of
from vigil.cli.anomalies import anomaly_table, plain_anomaly
from vigil.cli.options import ConfigOption, JsonOption, SetOption, configured
from vigil.cli.output import note, print_json, progress_bar, stdout
from vigil.errors import InputError
from vigil.recordings import Opened, open_recording
from vigil.score import ScoreSummary, Scoring
from vigil.scorers import stream_scorer
from vigil.settings import Settings, StreamSettings

__all__ = ["command"]

METADATA = "metadata.json"
SHOWN = 40  # rows of the table; --json gives all


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: Annotated[Path, typer.Argument(help="Recording: .jsonl, .jsonl.gz or .parquet.")],
    stream: Annotated[
        str | None, typer.Option("--stream", help="What it holds; told from its fields otherwise.")
    ] = None,
    detector: Annotated[
        list[str] | None, typer.Option("--detector", "-d", help="Detector to run; repeat for more.")
    ] = None,
    artefact: Annotated[
        Path | None, typer.Option("--artefact", help="Folder of an artefact trained by you, or of several.")
    ] = None,
    step_ms: Annotated[
        int | None, typer.Option("--step-ms", min=1, help="Time between two steps; told from the file otherwise.")
    ] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Score a recording offline.

    The records take the path they take in a worker - the same decoding, windows and detectors - so ids and scores are
    equal to those the worker publishes. With --json every anomaly is one line on stdout; a summary goes to stderr.
    """
    settings = configured(config, set_).settings
    opened = open_recording(file, _streams(settings), stream=_named(stream, settings, artefact))
    scoring = _prepare(opened, settings, detector or [], artefact, step_ms)
    with progress_bar(quiet=json) as bar:
        task = bar.add_task(f"scoring {file.name}", total=None, rate="")
        anomalies = scoring.run(opened.records, lambda done: bar.update(task, completed=done))
        if json:
            for anomaly in anomalies:
                print_json(anomaly)
        else:
            found = list(anomalies)
    note(_summary_text(scoring.summary))
    if not json:
        if found:
            stdout.print(anomaly_table([plain_anomaly(one) for one in found[:SHOWN]]))
        if len(found) > SHOWN:
            note(f"{len(found) - SHOWN} more; --json prints all")


def _streams(settings: Settings) -> dict[str, Stream]:
    return {**STREAMS, **{name: stream_of(name, one) for name, one in settings.streams.items()}}


def _named(name: str | None, settings: Settings, artefact: Path | None) -> Stream | None:
    if name is not None:
        return stream_of(name, settings.streams.get(name))
    metadata = _metadata(artefact)
    if metadata is None or any(metadata.fields == one.features for one in _streams(settings).values()):
        return None
    # Telemetry of the user's own, known by nothing but the artefact that was trained on it.
    return custom_stream("custom", "custom", metadata.fields, 1000)


def _metadata(artefact: Path | None) -> Metadata | None:
    """Look into an artefact's own folder; loading it verifies it."""
    if artefact is None or not (artefact / METADATA).is_file():
        return None
    try:
        return msgspec.json.decode((artefact / METADATA).read_bytes(), type=Metadata)
    except msgspec.MsgspecError as error:
        raise InputError(f"{artefact / METADATA}: {error}", hint="train the artefact again") from error


def _prepare(
    opened: Opened, settings: Settings, detectors: list[str], artefact: Path | None, step_ms: int | None
) -> Scoring:
    stream = opened.stream
    own = settings.streams.get(stream.name, StreamSettings())
    step = step_ms or own.step_ms or opened.step_ms
    metadata = _metadata(artefact)
    names = detectors or own.detectors or ((metadata.detector,) if metadata else ())
    scorer = stream_scorer(stream, own, load_detectors(stream, names, artefact or own.artefacts), step_ms=step)
    if step != stream.step_ms:
        note(f"stream {stream.name}, steps of {step} ms (usual: {stream.step_ms} ms)")
    return Scoring(scorer, RecordCodec(stream, max_bytes=settings.worker.max_record_bytes), own.topic or stream.topic)


def _summary_text(summary: ScoreSummary) -> str:
    found = ", ".join(f"{count} by {name}" for name, count in summary.anomalies.items())
    rejected = "".join(f", {count} {code}" for code, count in sorted(summary.rejected.items()))
    return (
        f"{summary.records} records, {summary.windows} windows, anomalies: {found or 'none'}"
        f"{rejected}{f', {summary.dropped} duplicate or late' if summary.dropped else ''}"
    )
