"""Panels without axes: single values, tables, gauges."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from textwrap import shorten
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from benchmarks.dashboards.formats import coloured, shown
from benchmarks.dashboards.panels import Drawn
from benchmarks.dashboards.sources import Json
from benchmarks.dashboards.theme import EDGE, FAINT, INK

__all__ = ["CELLS"]

MOST_ROWS: Final = 40


def _properties(panel: Json, name: str) -> Json:
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"] == {"id": "byName", "options": name}:
            return {one["id"]: one["value"] for one in override["properties"]}
    return {}


def _stat(frame: Axes, one: Drawn, width: float, height: float, now_s: float) -> None:
    defaults, cells = one.panel["fieldConfig"]["defaults"], []
    for each in one.frames:
        if "value" in each.fields:
            cells.append((each.name, each.fields["value"], {}))
        else:
            cells += [(name, values, _properties(one.panel, name)) for name, values in each.fields.items()]
    alone = len(cells) == 1
    for place, (name, values, own) in enumerate(cells):
        value = next((one for one in reversed(values) if one == one), math.nan)  # noqa: PLR0124 -- NaN
        colour = coloured(_level(value, own.get("thresholds", defaults["thresholds"]), own.get("mappings")))
        text = shown(value, own.get("unit", defaults["unit"]), now_s)
        middle = (place + 0.5) * width / len(cells)
        if alone and len(values) > 2 and one.panel["options"]["graphMode"] == "area":
            _spark(frame, values, width, height, colour)
        fit = min(22.0, 95 * width / len(cells) / max(4, len(text)))
        frame.text(
            middle,
            height * (0.5 if alone else 0.52),
            text,
            ha="center",
            va="center",
            fontsize=fit,
            color=colour,
            fontweight="bold",
        )
        if not alone:
            frame.text(middle, 0.16, own.get("displayName", name), ha="center", va="center", fontsize=7.5, color=FAINT)


def _spark(frame: Axes, values: Sequence[float], width: float, height: float, colour: str) -> None:
    numbers = np.nan_to_num(np.array(values, float), posinf=0)
    top = numbers.max() or 1.0
    x = np.linspace(0.05, width - 0.05, len(numbers))
    frame.fill_between(x, 0.03, 0.03 + numbers / top * height * 0.28, color=colour, alpha=0.25, linewidth=0)


def _level(value: Any, thresholds: Json, mappings: Sequence[Json] | None) -> str:
    for mapping in mappings or ():
        if value in mapping["options"]:
            return str(mapping["options"][value]["color"])
    if not isinstance(value, int | float):
        return "text"
    reached = [step["color"] for step in thresholds["steps"] if step["value"] is None or value >= step["value"]]
    return str(reached[-1]) if reached else "text"


def _gauges(frame: Axes, one: Drawn, width: float, height: float, now_s: float) -> None:  # noqa: ARG001 -- as the others
    bars = [(each.name, each.fields["value"][-1]) for each in one.frames if each.fields["value"]][:14]
    top = max((value for _, value in bars), default=1.0) or 1.0
    room = (height - 0.4) / max(1, len(bars))
    for place, (name, value) in enumerate(bars):
        y = height - 0.38 - (place + 1) * room
        thick = min(0.2, room * 0.7)
        frame.text(1.62, y + room / 2, name, ha="right", va="center", fontsize=7)
        frame.add_patch(
            FancyBboxPatch(
                (1.7, y + (room - thick) / 2),
                max(0.02, (width - 2.4) * value / top),
                thick,
                boxstyle="round,pad=0,rounding_size=0.02",
                facecolor="#5794f2",
                edgecolor="none",
            )
        )
        frame.text(
            1.76 + (width - 2.4) * value / top, y + room / 2, shown(value, "short"), va="center", fontsize=7, color=INK
        )


def _table(frame: Axes, one: Drawn, width: float, height: float, now_s: float) -> None:
    fields = one.frames[0].fields if one.frames else {}
    own = {name: _properties(one.panel, name) for name in fields}
    names = [name for name in fields if not own[name].get("custom.hidden") and name != "$streamId"]
    if not names:
        frame.text(width / 2, height / 2, "nothing", ha="center", color=FAINT)
        return
    unit = one.panel["fieldConfig"]["defaults"]["unit"]
    texts = {
        name: [_cell(name, value, own[name].get("unit", unit), now_s) for value in fields[name][:MOST_ROWS]]
        for name in names
    }
    heads = {name: str(own[name].get("displayName", "time" if name == "$time" else name)) for name in names}
    need = {name: 1.5 + min(95, max([len(heads[name]) * 1.05, *map(len, texts[name])])) for name in names}
    scale = (width - 0.2) / sum(need.values())
    line, top = 0.2, height - 0.42
    rows = max(0, min(len(texts[names[0]]), int((top - 0.06) / line) - 1))
    x = 0.1
    for name in names:
        room = need[name] * scale
        fits = max(3, int((room - 0.04) / 0.0535))
        frame.text(
            x, top, shorten(heads[name], max(4, fits), placeholder="…"), va="center", fontsize=7, color="#6e9fff"
        )
        for row in range(rows):
            y = top - (row + 1) * line
            _marked(frame, one.panel, own[name], fields[name][row], (x, y, room, line))
            text = texts[name][row]
            frame.text(
                x, y, text if len(text) <= fits else text[: fits - 1] + "…", va="center", fontsize=6.8, color=INK
            )
        x += room
    for row in range(rows):
        y = top - (row + 0.5) * line
        frame.plot([0.08, width - 0.08], [y, y], color=EDGE, linewidth=0.5)


def _marked(frame: Axes, panel: Json, own: Json, value: Any, box: tuple[float, float, float, float]) -> None:
    """Colour a cell, or draw the bar in it."""
    x, y, room, line = box
    if "custom.cellOptions" not in own:
        return
    colour = coloured(
        _level(value, own.get("thresholds", panel["fieldConfig"]["defaults"]["thresholds"]), own.get("mappings"))
    )
    share = 1.0
    if own["custom.cellOptions"]["type"] == "gauge" and isinstance(value, int | float):
        share = float(np.clip(value / own["max"], 0.01, 1))
    frame.add_patch(
        FancyBboxPatch(
            (x - 0.03, y - line * 0.4),
            (room - 0.06) * share,
            line * 0.8,
            boxstyle="round,pad=0,rounding_size=0.02",
            facecolor=colour,
            edgecolor="none",
            alpha=0.55,
        )
    )


def _cell(name: str, value: Any, unit: str, now_s: float) -> str:
    if name == "$time":
        return f"{datetime.fromtimestamp(value, UTC):%H:%M:%S}"
    return shown(value, unit, now_s)


CELLS: Final = {"stat": _stat, "table": _table, "bargauge": _gauges}
"""Who draws which type."""
