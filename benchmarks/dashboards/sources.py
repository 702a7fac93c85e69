"""Asks what a panel asks, as Grafana and its data source for Redis do, and gives back what they would draw."""

import json
import math
import re
import shlex
from dataclasses import dataclass, field
from typing import Any, Final

from redis import Redis

from benchmarks.alert_servers import PrometheusServer

__all__ = ["Frame", "Sources", "Span", "is_empty", "substituted"]

Json = dict[str, Any]
EMPTY_ARRAY: Final = "(empty array)"
STEPS_SHOWN: Final = 200  # points of a line


@dataclass(frozen=True, slots=True)
class Span:
    """The time shown, Unix epoch in seconds, and Prometheus' scrape interval in seconds."""

    start: float
    end: float
    scrape_s: float

    @property
    def step(self) -> float:
        """Seconds between two points of a line."""
        return max(self.scrape_s, round((self.end - self.start) / STEPS_SHOWN))

    def builtins(self) -> dict[str, str]:
        """Return the variables that Grafana itself gives a query."""
        rate = max(self.step + self.scrape_s, 4 * self.scrape_s)
        return {
            "__rate_interval": f"{math.ceil(rate)}s",
            "__interval": f"{math.ceil(self.step)}s",
            "__range": f"{math.ceil(self.end - self.start)}s",
        }


@dataclass(slots=True)
class Frame:
    """Columns of equal length.

    Attributes:
        name: legend.
        fields: values by name; of a series ``time`` and ``value``.
        labels: of a series.
    """

    name: str
    fields: dict[str, list[Any]]
    labels: Json = field(default_factory=dict)


def substituted(text: str, variables: dict[str, str]) -> str:
    """Put variables in, as Grafana does: ``$name`` and ``${name}``; unknown ones stay."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: variables.get(found[1] or found[2], found[0]), text)


def is_empty(frames: list[Frame]) -> bool:
    """Whether there is nothing to draw: no value that is a number or a text."""
    values = [value for frame in frames for name, column in frame.fields.items() if name != "time" for value in column]
    return not any(value not in {None, "", EMPTY_ARRAY} and value == value for value in values)  # noqa: PLR0124 -- NaN


@dataclass(frozen=True, slots=True)
class Sources:
    """The two data sources.

    Attributes:
        prometheus: a server.
        redis: a client that decodes.
    """

    prometheus: PrometheusServer
    redis: Redis

    def ask(self, target: Json, variables: dict[str, str], span: Span) -> list[Frame]:
        """Ask one target of a panel.

        Raises:
            ValueError: Prometheus refuses the query.
            RedisError: Redis refuses it.
        """
        known = {**span.builtins(), **variables}
        if target["datasource"]["type"] == "prometheus":
            return self._prometheus(target, known, span)
        if "query" in target:
            return [self.custom(substituted(target["query"], known))]
        return [self._stream(target, known, span)]

    def custom(self, query: str) -> Frame:
        """Run a command as the data source does: split as a shell does; an array is one column of texts."""
        answer = self.redis.execute_command(*shlex.split(query))
        if isinstance(answer, list):
            return Frame("", {"Value": [str(one) for one in answer] or [EMPTY_ARRAY]})
        return Frame("", {"Value": [] if answer is None else [_number(str(answer))]})

    def _prometheus(self, target: Json, variables: dict[str, str], span: Span) -> list[Frame]:
        expr = substituted(target["expr"], variables)
        if target["instant"]:
            found = self.prometheus.ask("query", query=expr, time=span.end)["result"]
            series = [(one["metric"], [one["value"]]) for one in found]
        else:
            found = self.prometheus.ask("query_range", query=expr, start=span.start, end=span.end, step=span.step)[
                "result"
            ]
            series = [(one["metric"], one["values"]) for one in found]
        if target["format"] == "table":
            return [_table([{**labels, "Value": float(points[0][1])} for labels, points in series])] if series else []
        return [
            Frame(
                _legend(target["legendFormat"], labels),
                {"time": [float(at) for at, _ in points], "value": [float(value) for _, value in points]},
                labels,
            )
            for labels, points in series
        ]

    def _stream(self, target: Json, variables: dict[str, str], span: Span) -> Frame:
        """Read entries of a stream: those of the time shown, unless the target says from where to where."""
        key = substituted(target["keyName"], variables)
        first, last = (
            target.get("start") or f"{int(span.start * 1000)}-0",
            target.get("end") or f"{int(span.end * 1000)}-0",
        )
        if target["command"] == "xrevrange":
            entries = self.redis.xrevrange(key, last, first, count=target.get("count"))
        else:
            entries = self.redis.xrange(key, first, last, count=target.get("count"))
        rows = [
            {
                "$streamId": name,
                "$time": int(str(name).partition("-")[0]) / 1000,
                **{k: _number(v) for k, v in told.items()},
            }
            for name, told in entries
        ]
        return _table(rows)


def _table(rows: list[Json]) -> Frame:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Frame("", {name: [row.get(name) for row in rows] for name in names})


def _legend(pattern: str, labels: Json) -> str:
    if pattern == "__auto":
        return ", ".join(f"{name}={value}" for name, value in labels.items() if name != "__name__") or "value"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: str(labels.get(found[1], "")), pattern)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def extracted(frame: Frame) -> Frame:
    """Make columns of a column of JSON texts, as Grafana's ``extractFields`` does."""
    return _table([json.loads(text) for text in frame.fields.get("Value", []) if text != EMPTY_ARRAY])
