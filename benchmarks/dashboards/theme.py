"""Colours of the pictures: Grafana's dark theme, nearly."""

from typing import Final

from matplotlib.colors import LinearSegmentedColormap

__all__ = ["BACK", "CARD", "EDGE", "FAINT", "HEAT", "INK", "PALETTE"]

BACK, CARD, EDGE, INK, FAINT = "#111217", "#181b1f", "#2c3036", "#d5d8dd", "#8e96a3"
PALETTE: Final = (
    *("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42"),
    *("#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300"),
)
HEAT: Final = LinearSegmentedColormap.from_list("heat", ["#181b1f", "#5a2a12", "#b7470d", "#ff9830", "#fff0c0"])
