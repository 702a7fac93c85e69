"""Draws a dashboard from what its queries answered, on its own grid."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from benchmarks.dashboards.cells import CELLS
from benchmarks.dashboards.charts import CHARTS, styled
from benchmarks.dashboards.panels import Annotation, Drawn
from benchmarks.dashboards.sources import Json, Span
from benchmarks.dashboards.theme import BACK, CARD, EDGE, FAINT, INK
from benchmarks.small_png import save_small

__all__ = ["picture"]

COLUMN, ROW = 0.62, 0.36  # inches of a grid cell
GAP: Final = 0.07
TITLE: Final = 0.6
MARGINS: Final = {"timeseries": (0.55, 0.52), "heatmap": (0.6, 0.28), "barchart": (0.8, 0.5)}
"""Inches at the left of an axis, and below it."""


def picture(dashboard: Json, drawn: Sequence[Drawn], marks: Sequence[Annotation], span: Span, path: Path) -> None:
    """Draw one dashboard and write it as PNG."""
    mpl.rcParams.update({"font.family": "DejaVu Sans", "font.size": 8, "text.color": INK})
    height = max(one.panel["gridPos"]["y"] + one.panel["gridPos"]["h"] for one in drawn)
    size = (24 * COLUMN, height * ROW + 0.6)
    figure = Figure(figsize=size, facecolor=BACK, dpi=100)
    figure.text(0.008, 1 - 0.32 / size[1], dashboard["title"], fontsize=14, fontweight="bold", va="center")
    until = datetime.fromtimestamp(span.end, UTC)
    said = f"{(span.end - span.start) / 60:.0f} minutes until {until:%Y-%m-%d %H:%M:%S} UTC"
    figure.text(0.992, 1 - 0.32 / size[1], said, ha="right", va="center", color=FAINT)
    for one in drawn:
        _panel(figure, size, one, marks, span)
    save_small(figure, path, colours=128)


def _panel(figure: Figure, size: tuple[float, float], one: Drawn, marks: Sequence[Annotation], span: Span) -> None:
    place = one.panel["gridPos"]
    left, width = place["x"] * COLUMN + GAP, place["w"] * COLUMN - 2 * GAP
    top, height = place["y"] * ROW + 0.6 + GAP, place["h"] * ROW - 2 * GAP
    box = (left / size[0], 1 - (top + height) / size[1], width / size[0], height / size[1])
    frame = figure.add_axes(box)
    frame.set_axis_off()
    frame.set_xlim(0, width)
    frame.set_ylim(0, height)
    rounded = "round,pad=0,rounding_size=0.05"
    frame.add_patch(FancyBboxPatch((0, 0), width, height, boxstyle=rounded, facecolor=CARD, edgecolor=EDGE))
    frame.text(0.1, height - 0.16, one.title, fontsize=9, fontweight="bold", va="center")
    kind = one.panel["type"]
    if kind in MARGINS:
        low, bottom = MARGINS[kind]
        x, y, wide, high = left + low, top + 0.34, width - low - 0.12, height - 0.34 - bottom
        axes = figure.add_axes((x / size[0], 1 - (y + high) / size[1], wide / size[0], high / size[1]))
        styled(axes)
        CHARTS[kind](axes, one, marks, span)
    else:
        CELLS[kind](frame, one, width, height, span.end)
