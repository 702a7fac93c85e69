"""Grafana's dashboards, held against Grafana's own types, against the code, and against each other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as sdk

from vigil.dashboards import DASHBOARDS, rendered
from vigil.dashboards.__main__ import FOLDER, PREFIX, RUNBOOKS
from vigil.dashboards.grafana import command

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
FILES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
PANELS = [
    pytest.param(panel, id=f"{uid}: {panel['title']}")
    for uid, dashboard in FILES.items()
    for panel in dashboard["panels"]
]


def test_the_files_are_what_the_code_makes() -> None:
    made = {one.uid: rendered(one, prefix=PREFIX, runbooks=RUNBOOKS) for one in DASHBOARDS}
    assert made == FILES, "run python -m vigil.dashboards"


@pytest.mark.parametrize("uid", sorted(FILES))
def test_grafanas_own_types_know_everything_that_a_dashboard_says(uid: str) -> None:
    dashboard = FILES[uid]
    again = json.loads(json.dumps(sdk.Dashboard.from_json(dashboard), cls=JSONEncoder))
    for name in set(dashboard) - {"panels", "templating", "annotations"}:
        assert again[name] == dashboard[name], name
    assert [panel["gridPos"] for panel in again["panels"]] == [panel["gridPos"] for panel in dashboard["panels"]]
    for ours, theirs in zip(dashboard["panels"], again["panels"], strict=True):
        assert set(ours) <= set(theirs), f"{ours['title']}: {set(ours) - set(theirs)} is nothing that Grafana knows"


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_says_how_it_is_read_and_what_to_do(panel: dict[str, Any]) -> None:
    assert len(panel["description"]) > 40
    assert panel["description"].endswith(".")
    [link] = panel["links"]
    page = link["url"].removeprefix("${runbooks}")
    assert page.startswith("docs/runbooks/")
    assert (ROOT / page).is_file(), f"{page} is missing"


@pytest.mark.parametrize("dashboard", FILES.values(), ids=list(FILES))
def test_panels_do_not_overlap_and_fill_the_rows(dashboard: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for place in (panel["gridPos"],)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert {x for x, _ in cells} == set(range(24))


def test_a_variable_is_defined_before_it_is_used_and_used_where_it_is_defined() -> None:
    built_in = {"__rate_interval", "__range", "__data", "__url_time_range", "__value"}
    for uid, dashboard in FILES.items():
        known: set[str] = set(built_in)
        for variable in dashboard["templating"]["list"]:
            assert set(re.findall(r"\$\{?(\w+)", json.dumps(variable["query"]))) <= known, (uid, variable["name"])
            known.add(variable["name"])
        shown = [{**panel, "transformations": None} for panel in dashboard["panels"]]  # they name fields like $time
        text = json.dumps([shown, dashboard["annotations"]])
        used = set(re.findall(r"\$\{?([a-z_]+)", text))
        assert used <= known, f"{uid}: {used - known}"


def test_the_places_can_be_chosen_where_a_table_follows_them() -> None:
    for uid in ("vigil-fleet", "vigil-node", "vigil-reliability"):
        assert {"cluster", "region", "tier"} <= {one["name"] for one in FILES[uid]["templating"]["list"]}, uid


def test_a_script_that_the_data_source_would_read_wrongly_is_refused() -> None:
    for sign in '"\\$':
        with pytest.raises(ValueError, match="the data source would read it"):
            command(f"return {sign}")


def test_compose_gives_grafana_its_sources_dashboards_plugin_and_runbooks() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/datasources.yml").read_text())["datasources"]
    uids = {one["uid"]: one["type"] for one in sources}
    used = {
        (target["datasource"]["uid"], target["datasource"]["type"])
        for dashboard in FILES.values()
        for panel in dashboard["panels"]
        for target in panel["targets"]
    }
    assert used == set(uids.items())
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["volumes"])
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/dashboards.yml").read_text())["providers"]
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    home = COMPOSE["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/vigil-fleet.json"
    assert COMPOSE["environment"]["GF_INSTALL_PLUGINS"].startswith("redis-datasource ")
    assert mounts["./docs"] == f"/usr/share/grafana{RUNBOOKS}docs"
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert next(one for one in sources if one["uid"] == "prometheus")["jsonData"]["timeInterval"] == scrape
