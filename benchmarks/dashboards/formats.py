"""Values as Grafana would write them, in short."""

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["coloured", "shown"]

NOTHING: Final = "-"
_COLOURS: Final = {
    "green": "#73bf69",
    "yellow": "#fade2a",
    "orange": "#ff9830",
    "red": "#f2495c",
    "blue": "#5794f2",
    "text": "#d5d8dd",
}
_SCALES: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def coloured(name: str) -> str:
    """Return the colour of Grafana's name."""
    return _COLOURS.get(name, name)


def shown(value: Any, unit: str, now_s: float | None = None) -> str:
    """Write a value with its unit; ages are those of ``now_s``, Unix epoch in seconds."""
    if isinstance(value, str):
        return value or NOTHING
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    if unit == "dateTimeFromNow":
        age = (time.time() if now_s is None else now_s) - value / 1000
        return f"{_seconds(float(round(max(0.0, age))))} ago"
    return _WRITERS.get(unit, _scaled)(float(value))


def _scaled(value: float) -> str:
    for scale, letter in _SCALES:
        if abs(value) >= scale:
            return f"{value / scale:.3g} {letter}"
    return f"{value:.3g}"


def _seconds(value: float) -> str:
    if value == 0:
        return "0 s"
    if abs(value) < 1:
        return f"{1000 * value:.3g} ms"
    for scale, letter in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {letter}"
    return f"{value:.3g} s"


_WRITERS: Final[dict[str, Callable[[float], str]]] = {
    "dateTimeAsIso": lambda value: f"{datetime.fromtimestamp(value / 1000, UTC):%H:%M:%S}",
    "percentunit": lambda value: f"{100 * value:.3g} %",
    "s": _seconds,
    "ms": lambda value: _seconds(value / 1000),
    "wps": lambda value: f"{_scaled(value)}/s",
    "cps": lambda value: f"{_scaled(value)}/s",
}
