"""What can be chosen on top of a dashboard: variables, filled from Redis."""

from typing import Final

from vigil.dashboards.grafana import REDIS, Json, command
from vigil.dashboards.scripts import ALL, DETECTORS, NAMES, NODE_NAMES

__all__ = ["CLUSTER", "DETECTOR", "HOME", "NODE", "PLACE", "REGION", "TIER", "of_node"]

PLACE: Final = ("${cluster}", "${region}", "${tier}")
"""The arguments of a script that looks at places."""


def _query(name: str, label: str, query: str, *, everything: bool = False, hide: int = 0) -> Json:
    made: Json = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": REDIS,
        "query": query,
        "definition": query,
        "refresh": 2,
        "sort": 1 if everything else 0,
        "hide": hide,
        "multi": False,
        "includeAll": everything,
        "options": [],
        "regex": "/^(?!.empty array.$).*/",  # what the data source says of nothing
        "current": {"text": "All", "value": "$__all", "selected": True} if everything else {},
    }
    return made | ({"allValue": ALL} if everything else {})


def of_node(key: str, field: str) -> str:
    """Ask for one field of a node's newest verdict."""
    return f'HGET "${{prefix}}{key}" "{field}"'


DETECTOR: Final = _query("detector", "Detector", command(DETECTORS))
CLUSTER: Final = _query("cluster", "Cluster", command(NAMES, "clusters"), everything=True)
REGION: Final = _query("region", "Region", command(NAMES, "regions"), everything=True)
TIER: Final = _query("tier", "Tier", command(NAMES, "tiers"), everything=True)
NODE: Final = _query("node", "Node", command(NODE_NAMES, *PLACE, "${detector}"))
HOME: Final = _query("home", "", of_node("verdict:${detector}:${node}", "cluster"), hide=2)
"""The cluster of the node that is shown."""
