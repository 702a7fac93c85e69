"""Panels with axes: lines, heat maps, bars."""

from collections.abc import Sequence
from datetime import UTC, datetime
from textwrap import shorten
from typing import Final

import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from benchmarks.dashboards.formats import coloured, shown
from benchmarks.dashboards.panels import Annotation, Drawn
from benchmarks.dashboards.sources import Frame, Json, Span
from benchmarks.dashboards.theme import CARD, EDGE, FAINT, HEAT, INK, PALETTE

__all__ = ["CHARTS", "styled"]


def styled(axes: Axes) -> None:
    """Give axes the colours of a card."""
    axes.set_facecolor(CARD)
    axes.grid(color=EDGE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=FAINT, labelsize=7, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _timed(axes: Axes, span: Span) -> None:
    axes.set_xlim(datetime.fromtimestamp(span.start, UTC), datetime.fromtimestamp(span.end, UTC))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=7))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S" if span.end - span.start < 900 else "%H:%M", tz=UTC))


def _series(frames: Sequence[Frame]) -> list[tuple[str, list[float], list[float]]]:
    """Return name, times and values of each line; a stream's fields are lines of their own."""
    found = []
    for frame in frames:
        if "value" in frame.fields:
            found.append((frame.name, frame.fields["time"], frame.fields["value"]))
            continue
        times = frame.fields.get("$time", [])
        found += [
            (name, times, values)
            for name, values in frame.fields.items()
            if name != "$time" and all(isinstance(value, float) for value in values)
        ]
    return found


def _fixed(panel: Json, name: str) -> str | None:
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == name:
            for one in override["properties"]:
                if one["id"] == "color":
                    return coloured(one["value"]["fixedColor"])
    return None


def _lines(axes: Axes, one: Drawn, marks: Sequence[Annotation], span: Span) -> None:
    defaults = one.panel["fieldConfig"]["defaults"]
    series = _series(one.frames)
    colours = [_fixed(one.panel, name) or PALETTE[place % len(PALETTE)] for place, (name, _, _) in enumerate(series)]
    for mark in marks if "$time" in {name for frame in one.frames for name in frame.fields} else ():
        ends = [datetime.fromtimestamp(at, UTC) for at in (mark.start, mark.end)]
        axes.axvspan(*ends, color="#e02f44", alpha=0.16, linewidth=0)
        axes.axvline(ends[0], color="#e02f44", linewidth=0.8, linestyle=":")
    if defaults["custom"]["stacking"]["mode"] == "normal":
        _stack(axes, series, colours)
    else:
        for (name, times, values), colour in zip(series, colours, strict=True):
            at = [datetime.fromtimestamp(time, UTC) for time in times]
            dashed = "--" if name == "threshold" else "-"
            axes.plot(at, values, color=colour, linewidth=1.3, linestyle=dashed, label=name)
            if len(series) <= 2 and dashed == "-":
                axes.fill_between(at, 0, values, color=colour, alpha=0.10, linewidth=0)
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None:
            axes.axhline(step["value"], color=coloured(step["color"]), linewidth=1, linestyle="--")
    _timed(axes, span)
    if defaults["custom"]["scaleDistribution"]["type"] == "log":
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.03)
    if defaults.get("min") is not None:
        axes.set_ylim(bottom=defaults["min"])
    if axes.get_ylim()[1] <= axes.get_ylim()[0] + 1e-9 or all(
        value == 0 for _, _, values in series for value in values
    ):
        axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, defaults["unit"])))
    _legend(axes, len(series))


def _stack(axes: Axes, series: Sequence[tuple[str, list[float], list[float]]], colours: Sequence[str]) -> None:
    times = sorted({time for _, at, _ in series for time in at})
    rows = [np.interp(times, at, values, left=0, right=0) for _, at, values in series]
    at = [datetime.fromtimestamp(time, UTC) for time in times]
    axes.stackplot(at, rows, colors=colours, alpha=0.75, labels=[name for name, _, _ in series])


def _legend(axes: Axes, count: int) -> None:
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    names = [shorten(name, 30, placeholder="…") for name in names]
    room = axes.get_figure().get_figwidth() * axes.get_position().width
    columns = max(1, min(count, int(room / (0.3 + 0.06 * max(map(len, names))))))
    most = 2 * columns
    axes.legend(
        handles[:most],
        names[:most],
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.1),
        ncols=columns,
        fontsize=6.5,
        frameon=False,
        labelcolor=INK,
        handlelength=1.1,
        columnspacing=1.2,
        borderaxespad=0.2,
        labelspacing=0.25,
    )


def _heat(axes: Axes, one: Drawn, marks: Sequence[Annotation], span: Span) -> None:  # noqa: ARG001 -- as the others
    frames = sorted(one.frames, key=lambda frame: float(frame.name))
    times = sorted({time for frame in frames for time in frame.fields["time"]})
    at = {time: place for place, time in enumerate(times)}
    table = np.zeros((len(frames), len(times)))
    for row, frame in enumerate(frames):
        for time, value in zip(frame.fields["time"], frame.fields["value"], strict=True):
            table[row, at[time]] = value
    cells = np.clip(np.diff(table, axis=0, prepend=0), 0, None)  # of cumulative buckets
    top = float(np.percentile(cells[cells > 0], 98)) ** 0.4 if (cells > 0).any() else 1.0
    edges = [datetime.fromtimestamp(time, UTC) for time in (*times, times[-1] + span.step)]
    axes.pcolormesh(
        edges, np.arange(len(frames) + 1), np.where(cells > 0, cells, np.nan) ** 0.4, cmap=HEAT, vmin=0, vmax=top
    )
    axes.grid(visible=False)
    every = max(1, len(frames) // 9)
    axes.set_yticks(np.arange(1, len(frames) + 1)[::every], [_edge(frame.name) for frame in frames][::every])
    _timed(axes, span)


def _edge(name: str) -> str:
    return "∞" if name == "+Inf" else f"{float(name):g}"


def _bars(axes: Axes, one: Drawn, marks: Sequence[Annotation], span: Span) -> None:  # noqa: ARG001 -- as the others
    fields = dict(one.frames[0].fields)
    label = next(name for name, values in fields.items() if isinstance(values[0], str))
    rows = fields.pop(label)
    left = np.zeros(len(rows))
    for place, (name, values) in enumerate(sorted(fields.items(), key=lambda pair: list(pair[0]))):
        numbers = np.array(values, float)
        axes.barh(rows, numbers, left=left, color=_fixed(one.panel, name) or PALETTE[place], label=name, height=0.55)
        left += numbers
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    _legend(axes, len(fields))


CHARTS: Final = {"timeseries": _lines, "heatmap": _heat, "barchart": _bars}
"""Who draws which type."""
