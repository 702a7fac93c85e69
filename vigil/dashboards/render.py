"""How a dashboard becomes Grafana's JSON."""

from typing import Final

from vigil.dashboards import looks
from vigil.dashboards.grafana import RUNBOOKS, Dashboard, Json, Panel

__all__ = ["constant", "rendered"]

WIDTH: Final = 24
SCHEMA: Final = 39


def rendered(dashboard: Dashboard, *, prefix: str, runbooks: str) -> Json:
    """Make Grafana's JSON.

    Args:
        dashboard: which.
        prefix: of the keys in Redis (``redis.key_prefix``).
        runbooks: put in front of ``docs/runbooks/...`` to make links.
    """
    panels: list[Json] = []
    top = 0
    for row in dashboard.rows:
        left = 0
        for panel in row:
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            panels.append({"id": len(panels) + 1, "gridPos": place, **_panel(panel)})
            left += panel.width
        if left != WIDTH:
            raise ValueError(f"{dashboard.uid}: {[one.title for one in row]} are {left} of {WIDTH} columns wide")
        top += max(panel.height for panel in row)
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["vigil"],
        "timezone": "utc",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": SCHEMA,
        "version": 1,
        "refresh": "10s",
        "time": {"from": dashboard.start, "to": "now"},
        "links": [_to_others()],
        "annotations": {"list": list(dashboard.annotations)},
        "templating": {"list": [constant("prefix", prefix), constant("runbooks", runbooks), *dashboard.variables]},
        "panels": panels,
    }


def constant(name: str, value: str) -> Json:
    """Make a variable that nobody chooses."""
    chosen = {"text": value, "value": value, "selected": True}
    return {"name": name, "type": "constant", "hide": 2, "query": value, "current": chosen, "skipUrlSync": True}


def _to_others() -> Json:
    words = {
        "title": "vigil",
        "type": "dashboards",
        "tags": ["vigil"],
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }
    return {**words, "asDropdown": False, "targetBlank": False, "includeVars": True, "keepTime": True}


def _panel(panel: Panel) -> Json:
    source = panel.queries[0].source
    targets = [
        {"refId": chr(ord("A") + place), "datasource": query.source, **query.target}
        for place, query in enumerate(panel.queries)
    ]
    link = {"title": "Runbook", "type": "link", "url": f"{RUNBOOKS}{panel.runbook}.md", "targetBlank": True}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "links": [
            {
                **link,
                "icon": "doc",
                "tooltip": "what to do",
                "tags": [],
                "asDropdown": False,
                "includeVars": False,
                "keepTime": False,
            }
        ],
        "targets": targets,
        "transformations": looks.transformations(panel),
        "fieldConfig": looks.field_config(panel),
        "options": looks.options(panel),
    }
