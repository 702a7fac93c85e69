"""How each kind of panel looks: Grafana's options, field configuration and transformations."""

from collections.abc import Sequence
from typing import Any, Final

from vigil.dashboards.grafana import COLOURS, REDIS, Column, Json, Panel, Threshold

__all__ = ["field_config", "options", "transformations"]

TOOLTIP: Final[Json] = {"mode": "multi", "sort": "desc"}
LEGEND: Final[Json] = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
NEWEST: Final[Json] = {"calcs": ["lastNotNull"], "values": False, "fields": ""}


def options(panel: Panel) -> Json:
    """Return the options of a panel's kind, with its own on top."""
    kinds: dict[str, Json] = {
        "timeseries": {"legend": LEGEND, "tooltip": TOOLTIP},
        "stat": {
            "reduceOptions": {**NEWEST, "fields": "/.*/" if panel.columns else ""},
            "colorMode": "value",
            "graphMode": "none" if panel.columns else "area",
            "textMode": "auto",
            "justifyMode": "center",
            "orientation": "auto",
        },
        "heatmap": _heatmap(panel),
        "table": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": ""}},
        "barchart": {
            "orientation": "horizontal",
            "showValue": "auto",
            "stacking": "normal" if panel.stacked else "none",
            "legend": LEGEND,
            "tooltip": {"mode": "single", "sort": "none"},
            "xTickLabelRotation": 0,
        },
        "bargauge": {
            "displayMode": "gradient",
            "orientation": "horizontal",
            "reduceOptions": NEWEST,
            "valueMode": "color",
        },
    }
    return kinds[panel.kind] | panel.options


def _heatmap(panel: Panel) -> Json:
    return {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "YlOrRd",
            "scale": "exponential",
            "exponent": 0.4,
            "steps": 64,
            "fill": "dark-orange",
        },
        "rowsFrame": {"layout": "auto"},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": panel.unit},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
    }


def field_config(panel: Panel) -> Json:
    """Return units, colours and ends of the axis."""
    defaults: Json = {
        "unit": panel.unit,
        "thresholds": _thresholds(panel.thresholds),
        "color": {"mode": "palette-classic" if panel.kind in {"timeseries", "barchart"} else "thresholds"},
        "mappings": [],
        "custom": _custom(panel),
    }
    for name, value in (("min", panel.low), ("max", panel.high)):
        if value is not None:
            defaults[name] = value
    columns = [_override(name, column, panel.kind) for name, column in panel.columns.items()]
    return {"defaults": defaults, "overrides": [*columns, *panel.overrides]}


def _custom(panel: Panel) -> Json:
    if panel.kind == "timeseries":
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 40 if panel.stacked else 8,
            "showPoints": "never",
            "spanNulls": True,
            "lineInterpolation": "linear",
            "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if len(panel.thresholds) > 1 else "off"},
        }
    if panel.kind == "barchart":
        return {"fillOpacity": 80, "lineWidth": 0}
    return {"align": "auto", "inspect": False} if panel.kind == "table" else {}


def _thresholds(values: Sequence[Threshold]) -> Json:
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in values]}


def _override(name: str, column: Column, kind: str) -> Json:
    properties: list[Json] = [{"id": "displayName", "value": column.label}]
    if column.unit:
        properties.append({"id": "unit", "value": column.unit})
    if column.hidden:
        properties.append({"id": "custom.hidden", "value": True})
    if column.width and kind == "table":
        properties.append({"id": "custom.width", "value": column.width})
    if column.link:
        link = {"title": "open", "url": column.link, "targetBlank": "runbook" in column.link}
        properties.append({"id": "links", "value": [link]})
    if column.states:
        told = {word: {"color": colour, "index": place} for place, (word, colour) in enumerate(COLOURS.items())}
        properties.append({"id": "mappings", "value": [{"type": "value", "options": told}]})
    if column.thresholds:
        properties.append({"id": "thresholds", "value": _thresholds(column.thresholds)})
    if kind == "table" and (column.states or column.thresholds or column.most):
        cell = {"type": "gauge", "mode": "gradient"} if column.most else {"type": "color-background", "mode": "basic"}
        properties.append({"id": "custom.cellOptions", "value": cell})
    if column.most:
        properties += [{"id": "min", "value": 0}, {"id": "max", "value": column.most}]
    return {"matcher": {"id": "byName", "options": name}, "properties": properties}


def transformations(panel: Panel) -> list[Json]:
    """Return what makes rows and columns of what the data source gives."""
    found: list[Json] = []
    if panel.queries[0].source == REDIS and "query" in panel.queries[0].target:
        made = {"source": "Value", "format": "json", "replace": True, "keepTime": False}
        found.append({"id": "extractFields", "options": made})
    if panel.only:
        found.append({"id": "filterFieldsByName", "options": {"include": {"pattern": panel.only}}})
    if panel.columns:
        found.append(
            {"id": "filterFieldsByName", "options": {"include": {"names": list(panel.columns)}}},
        )
        order: dict[str, Any] = {name: place for place, name in enumerate(panel.columns)}
        found.append({"id": "organize", "options": {"indexByName": order, "excludeByName": {}, "renameByName": {}}})
    return found
