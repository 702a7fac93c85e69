"""`vigil top`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from redis.exceptions import RedisError
from rich.live import Live

from streams.config import RedisConfig
from streams.fleet import Fleet, FleetReader, Selection
from streams.redis_client import redis_client
from vigil.assembly import view_config
from vigil.cli.alert_tables import DescribedAlert, described
from vigil.cli.options import ConfigOption, JsonOption, RedisOption, SetOption, configured
from vigil.cli.output import note, print_json, stdout
from vigil.cli.top_screen import fleet_screen
from vigil.errors import ServiceError

__all__ = ["command"]

Show = Callable[[Fleet | None, str], None]


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    cluster: Annotated[str | None, typer.Option("--cluster", help="Nodes and alerts of this cluster.")] = None,
    region: Annotated[str | None, typer.Option("--region", help="Nodes and alerts of this region.")] = None,
    detector: Annotated[str | None, typer.Option("--detector", "-d", help="Verdicts of this detector.")] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, max=1000, help="Most nodes to show.")] = 20,
    every: Annotated[float, typer.Option("--every", min=0.2, max=3600, help="Seconds between two looks.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look once; without a terminal always.")] = False,
    json: JsonOption = False,
    redis: RedisOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Show the fleet live.

    Who is worst and why, open alerts, rates and lag, from Redis alone. Scores are multiples of the threshold; active
    anomalies come first. Where Redis does not answer it says so, and goes on when Redis is back. With --json each look
    is one line on stdout. Tiers are not in Redis, so they cannot be chosen by. Ctrl-C ends it.
    """
    view = view_config(configured(config, set_, redis__url=redis).settings)
    selection = Selection(cluster=cluster, region=region, detector=detector)
    once = once or not (json or stdout.is_terminal)
    with redis_client(view) as client:
        reader = FleetReader(client, view.key_prefix)
        if once:
            try:
                fleet = reader.read(selection, rows)
            except RedisError as error:
                raise ServiceError(
                    _away(view, error), hint="check redis.url (--redis); `vigil doctor` says more"
                ) from error
            _print(fleet, json=json)
            return
        with _screen(json=json) as show:
            _watch(reader, view, show, selection=selection, rows=rows, every=every)


def _watch(
    reader: FleetReader, view: RedisConfig, show: Show, *, selection: Selection, rows: int, every: float
) -> None:
    """Look again and again; an outage of Redis is shown, with the last look there was."""
    while True:
        try:
            fleet, away = reader.read(selection, rows), ""
        except RedisError as error:
            fleet, away = None, _away(view, error)
        show(fleet, away)
        time.sleep(every)


def _away(view: RedisConfig, error: RedisError) -> str:
    return f"Redis at {view.address} does not answer: {error}"


@contextmanager
def _screen(*, json: bool) -> Iterator[Show]:
    """Show looks: on the whole terminal, or a line of JSON each."""
    if json:
        before = ""

        def say(fleet: Fleet | None, away: str) -> None:
            nonlocal before
            if fleet is not None:
                _print(fleet, json=True)
            if bool(away) != bool(before):
                note(f"{away}; trying again" if away else "Redis is back")
            before = away

        yield say
        return
    last: Fleet | None = None
    with Live(console=stdout, screen=True, auto_refresh=False) as live:

        def draw(fleet: Fleet | None, away: str) -> None:
            nonlocal last
            last = fleet or last
            words = f"{away}; trying again" if away else ""
            drawn = words if last is None else _drawn(last, height=stdout.height, away=words)
            live.update(drawn, refresh=True)

        yield draw


def _print(fleet: Fleet, *, json: bool) -> None:
    if json:
        print_json(_plain(fleet))
    else:
        stdout.print(_drawn(fleet, height=None))


def _drawn(fleet: Fleet, *, height: int | None, away: str = "") -> Any:
    return fleet_screen(fleet, _described(fleet), width=stdout.width, height=height, away=away)


def _described(fleet: Fleet) -> list[DescribedAlert]:
    return [described(alert, fleet.controls, fleet.read_ms) for alert in fleet.alerts]


def _plain(fleet: Fleet) -> dict[str, Any]:
    """Return a look for programs."""
    names = ("read_ms", "nodes", "active", "silent", "worst", "newest_ms", "workers")
    return {**{name: getattr(fleet, name) for name in names}, "alerts": _described(fleet)}
