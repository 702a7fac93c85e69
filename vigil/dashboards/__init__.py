"""Grafana's dashboards as code: ``python -m vigil.dashboards`` writes them to deploy/grafana/dashboards."""

from vigil.dashboards.fleet import FLEET
from vigil.dashboards.grafana import Dashboard
from vigil.dashboards.node import NODE
from vigil.dashboards.pipeline import PIPELINE
from vigil.dashboards.quality import QUALITY
from vigil.dashboards.reliability import RELIABILITY
from vigil.dashboards.render import rendered

__all__ = ["DASHBOARDS", "Dashboard", "rendered"]

DASHBOARDS = (FLEET, NODE, RELIABILITY, PIPELINE, QUALITY)
"""All of them, in the order of their use."""
