"""What a dashboard is made of, as plain data; each dashboard is a module beside this one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

__all__ = [
    "COLOURS",
    "PROMETHEUS",
    "REDIS",
    "RUNBOOKS",
    "Column",
    "Dashboard",
    "Json",
    "Panel",
    "Query",
    "Threshold",
    "coloured",
    "command",
    "prom",
    "script",
    "steps",
]

Json = dict[str, Any]
PROMETHEUS: Final[Json] = {"type": "prometheus", "uid": "prometheus"}
REDIS: Final[Json] = {"type": "redis-datasource", "uid": "redis"}
RUNBOOKS: Final = "${runbooks}docs/runbooks/"
COLOURS: Final = {"normal": "green", "info": "blue", "warning": "orange", "critical": "red"}
Threshold = tuple[float | None, str]
Kind = Literal["timeseries", "stat", "heatmap", "table", "barchart", "bargauge"]


@dataclass(frozen=True, slots=True)
class Query:
    """One question to a data source: its JSON without the letter that names it."""

    source: Json
    target: Json


def prom(expr: str, legend: str = "", *, kind: Literal["range", "instant", "heatmap", "table"] = "range") -> Query:
    """Ask Prometheus; a heat map takes a histogram's buckets, a table the newest values with their labels."""
    instant = kind in {"instant", "table"}
    formats = {"heatmap": "heatmap", "table": "table"}
    return Query(
        PROMETHEUS,
        {
            "expr": " ".join(expr.split()),
            "legendFormat": legend or "__auto",
            "format": formats.get(kind, "time_series"),
            "instant": instant,
            "range": not instant,
            "editorMode": "code",
        },
    )


def script(lua: str, *arguments: str) -> Query:
    """Ask Redis by a read-only script, see ``vigil.dashboards.scripts``; the prefix goes first."""
    return Query(REDIS, {"type": "cli", "query": command(lua, *arguments)})


def command(lua: str, *arguments: str) -> str:
    """Write a script and its arguments as the one line that the data source splits as a shell does."""
    if any(sign in lua for sign in '"\\$'):
        raise ValueError("a script holds a double quote, a backslash or a dollar: the data source would read it")
    words = (" ".join(lua.split()), "0", "${prefix}", *arguments)
    return " ".join(("EVAL_RO", *(f'"{word}"' for word in words)))


def steps(key: str, *, newest: int = 0) -> Query:
    """Ask Redis for a stream: the time shown, or the newest entries of all."""
    target: Json = {"type": "command", "command": "xrange", "keyName": "${prefix}" + key}
    if newest:
        target |= {"command": "xrevrange", "start": "-", "end": "+", "count": newest}
    return Query(REDIS, target)


@dataclass(frozen=True, slots=True)
class Column:
    """How a column of a table looks.

    Attributes:
        label: its head.
        unit: Grafana's name of the unit.
        width: pixels; 0 as wide as there is room.
        link: where a click leads, with Grafana's variables.
        states: whether it is coloured by state or severity.
        thresholds: colours by value.
        most: full scale of a bar in the cell; 0 without one.
        hidden: whether only links need it.
    """

    label: str
    unit: str = ""
    width: int = 0
    link: str = ""
    states: bool = False
    thresholds: Sequence[Threshold] = ()
    most: float = 0
    hidden: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows, with the unit where there is no axis.
        description: how to read it, for a tired person; Grafana shows it beside the title.
        runbook: page of docs/runbooks that tells what to do, without its ending.
        kind: Grafana's type.
        queries: what it asks.
        width, height: of Grafana's 24 columns, and in its rows.
        unit: of the values.
        thresholds: colours by value, the first from ``None``.
        columns: of a table, in order; others are left out. Of a row of JSON: what is shown.
        only: pattern of the fields to show, of a stream's.
        stacked: whether series are put on top of each other.
        options: laid over the options of its kind.
        overrides: Grafana's field overrides beside those that columns make.
        low, high: ends of the axis.
        log: whether the axis is logarithmic.
    """

    title: str
    description: str
    runbook: str
    kind: Kind
    queries: Sequence[Query]
    width: int
    height: int
    unit: str = "short"
    thresholds: Sequence[Threshold] = ((None, "green"),)
    columns: Mapping[str, Column] = field(default_factory=dict)
    only: str = ""
    stacked: bool = False
    options: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False


def coloured() -> list[Json]:
    """Give severities and the normal state their own colours wherever they are series."""
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in COLOURS.items()
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dashboard:
    """A dashboard.

    Attributes:
        uid: its address, and the name of its file.
        title, description: what it is for.
        rows: panels, side by side.
        variables: what can be chosen, as Grafana's JSON.
        annotations: marks in time, as Grafana's JSON.
        start: from when it shows, as Grafana says it.
    """

    uid: str
    title: str
    description: str
    rows: Sequence[Sequence[Panel]]
    variables: Sequence[Json] = ()
    annotations: Sequence[Json] = ()
    start: str = "now-15m"
