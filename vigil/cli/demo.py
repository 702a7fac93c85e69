"""`vigil demo`."""

import io
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from streams.config import KafkaConfig
from vigil.assembly import kafka_config
from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, RedisOption, SetOption, configured
from vigil.cli.output import note, print_json, stderr, stdout
from vigil.demo import DemoOptions, DemoReport, run_demo
from vigil.demo.screen import Moment, final_table, live_view

__all__ = ["command"]

FRAMES_PER_SECOND = 8
LINES_BESIDE_ANOMALIES = 18
PICTURE_WIDTH = 124
PICTURE_ROWS = 8


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    nodes: Annotated[int, typer.Option("--nodes", min=3, max=5000, help="Nodes in consensus clusters, about.")] = 54,
    minutes: Annotated[float, typer.Option("--minutes", min=8, max=240, help="Event time to play.")] = 16.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed plays the same fleet and faults.")] = 7,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.svg", help="Save how it looked, as a picture.")
    ] = None,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """See it work.

    Starts a Kafka broker, a Redis and a worker, publishes a simulated fleet with labelled faults, shows what the worker
    finds while it finds it, and ends with a table: faults injected and seen, delay, false alarms. Everything is stopped
    and removed at the end, and on Ctrl-C. With --kafka and --redis the same runs on servers of your own, in topics of
    the demo's own, deleted afterwards. With --json the last line on stdout is the report.
    """
    options = DemoOptions(nodes=nodes, minutes=minutes, seed=seed, redis_url=redis)
    if kafka is not None:
        options = DemoOptions(
            nodes=nodes,
            minutes=minutes,
            seed=seed,
            redis_url=redis,
            kafka=_own_kafka(kafka, config, set_),
            worker_arguments=_passed_on(config, set_),
        )
    signal.signal(signal.SIGTERM, _end)  # everything started is stopped, as on Ctrl-C
    moments: list[Moment] = []
    with _screen(live=stdout.is_terminal and not json) as show:

        def watch(moment: Moment) -> None:
            moments[:] = [moment]
            show(moment)

        report = run_demo(options, watch)
    if picture is not None:
        picture.write_text(_drawn(moments[-1], report), encoding="utf-8")
    if json:
        print_json(report)
        return
    stdout.print(final_table(report))
    if stderr.is_terminal:
        note("your own Kafka: vigil topics create --kafka HOST:PORT && vigil worker --kafka HOST:PORT --redis URL")


@contextmanager
def _screen(*, live: bool) -> Iterator[Callable[[Moment], None]]:
    """Show moments: live on a terminal, elsewhere each phase once as a line on stderr."""
    if not live:
        said: set[str] = set()

        def say(moment: Moment) -> None:
            if moment.phase not in said:
                said.add(moment.phase)
                note(moment.phase)

        yield say
        return
    with Live(console=stdout, refresh_per_second=FRAMES_PER_SECOND, transient=True) as screen:
        rows = max(3, stdout.height - LINES_BESIDE_ANOMALIES)
        yield lambda moment: screen.update(live_view(moment, rows))


def _drawn(moment: Moment, report: DemoReport) -> str:
    console = Console(
        record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(live_view(moment, PICTURE_ROWS))
    console.print(final_table(report))
    return console.export_svg(title="vigil demo")


def _end(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _own_kafka(kafka: str, config: Path | None, set_: list[str] | None) -> KafkaConfig:
    return kafka_config(configured(config, set_, kafka__bootstrap=kafka).settings)


def _passed_on(config: Path | None, set_: list[str] | None) -> list[str]:
    arguments = ["--config", str(config.resolve())] if config is not None else []
    return [*arguments, *(part for one in set_ or () for part in ("--set", one))]
