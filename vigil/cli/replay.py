"""`vigil replay`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from streams.kafka import client_properties
from vigil.assembly import kafka_config, stream_of
from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, SeedOption, SetOption, configured
from vigil.cli.output import note, print_json, progress_bar
from vigil.disturbance import Disturbance
from vigil.errors import InputError
from vigil.publisher import Publisher
from vigil.recordings import open_recording
from vigil.replay import Pace, ReplaySummary, rebased, replay

__all__ = ["command", "parse_speed"]

REHEARSAL = "Send it as real nodes would"


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    file: Annotated[Path, typer.Argument(help="Recording: .jsonl, .jsonl.gz or .parquet.")],
    speed: Annotated[str, typer.Option("--speed", help="Event seconds a second: 1, 20, ..., or max.")] = "1",
    topic: Annotated[str | None, typer.Option("--topic", help="Where to; the stream's own topic otherwise.")] = None,
    stream: Annotated[
        str | None, typer.Option("--stream", help="What it holds; told from its fields otherwise.")
    ] = None,
    rebase_time: Annotated[
        str | None,
        typer.Option("--rebase-time", metavar="now|MILLISECONDS", help="Shift event times so that the first is then."),
    ] = None,
    disorder: Annotated[
        float,
        typer.Option("--disorder", min=0, help="Hold records up by up to so many seconds.", rich_help_panel=REHEARSAL),
    ] = 0.0,
    duplicates: Annotated[
        float, typer.Option("--duplicates", min=0, max=1, help="Share sent twice.", rich_help_panel=REHEARSAL)
    ] = 0.0,
    missing: Annotated[
        float, typer.Option("--missing", min=0, max=1, help="Share never sent.", rich_help_panel=REHEARSAL)
    ] = 0.0,
    malformed: Annotated[
        float,
        typer.Option("--malformed", min=0, max=1, help="Share sent broken, in all ways.", rich_help_panel=REHEARSAL),
    ] = 0.0,
    disturb: Annotated[
        list[str] | None,
        typer.Option("--disturb", metavar="NODE", help="Only this node; repeat for more.", rich_help_panel=REHEARSAL),
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Publish a recording to Kafka.

    Keys are the node ids, partitions are chosen by cluster, bodies are the recording's without its label columns. At
    --speed 1 records arrive at the pace of their event times; --speed max is as fast as Kafka takes them. The options
    for disorder, duplicates, missing and malformed records rehearse what real nodes and networks do.
    """
    settings = configured(config, set_, kafka__bootstrap=kafka).settings
    how = Disturbance(
        disorder, duplicates, missing, malformed, frozenset(node.encode() for node in disturb or ()), seed
    )
    pace = parse_speed(speed)
    streams = {name: stream_of(name, one) for name, one in settings.streams.items()}
    opened = open_recording(file, streams, stream=stream_of(stream, settings.streams.get(stream)) if stream else None)
    broker = kafka_config(settings)
    records = opened.records if rebase_time is None else rebased(opened.records, _start_ms(rebase_time))
    target = topic or broker.topic(opened.stream.name, opened.stream.topic)
    note(f"{file.name}: stream {opened.stream.name}, steps of {opened.step_ms} ms, to {target} at {broker.bootstrap}")
    with Publisher(target, client_properties(broker, "producer")) as publisher, progress_bar(quiet=json) as bar:
        task = bar.add_task(f"replaying {file.name}", total=None, rate="")
        summary = replay(
            records,
            publisher,
            pace=pace,
            disturbance=how,
            on_progress=lambda done: bar.update(task, completed=done),
        )
    _report(summary, json=json)


def parse_speed(text: str) -> Pace:
    """Read ``--speed``. Raises ``InputError``."""
    if text == "max":
        return Pace(None)
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise InputError(f"--speed {text}: not a speed", hint="give 1 for real time, 20 for 20 times that, or max")
    return Pace(speed)


def _start_ms(text: str) -> int:
    if text == "now":
        return time.time_ns() // 1_000_000
    if not text.isdecimal():
        raise InputError(f"--rebase-time {text}: not a time", hint="give now, or Unix epoch milliseconds")
    return int(text)


def _report(summary: ReplaySummary, *, json: bool) -> None:
    if json:
        print_json(summary)
        return
    extras = f"{summary.duplicates} twice, {summary.missing} missing, {sum(summary.malformed.values())} malformed"
    note(
        f"{summary.records} records of {summary.nodes} nodes to {summary.topic} in {summary.seconds:.1f} s "
        f"({summary.records_per_second:,.0f}/s; {extras})"
    )
