"""No Docker engine is needed: what the compose file says is held against what the code knows."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from vigil.cli.app import create_app
from vigil.configuration import load_configuration

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"].startswith("vigil:")}


def test_the_compose_file_follows_the_compose_specification() -> None:
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            ROOT / "docker-compose.yml",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_starts_two_workers_producers_and_the_topics_job_before_them() -> None:
    commands = {name: service["command"] for name, service in OURS.items()}
    assert [name for name, command in commands.items() if command[0] == "worker"] == ["worker-1", "worker-2"]
    assert {command[1] for command in commands.values() if command[0] == "simulate"} == {"consensus", "node"}
    for name in OURS.keys() - {"topics"}:
        assert OURS[name]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_variable_is_a_setting_the_code_knows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {key: value for key, value in OURS[name]["environment"].items() if key.startswith("VIGIL_")}
    assert variables
    for key, value in variables.items():
        monkeypatch.setenv(key, value)

    settings = load_configuration().settings

    assert settings.kafka.bootstrap == "kafka:9092"
    assert settings.log.format == "json"


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_is_one_the_command_line_takes(name: str) -> None:
    words = list(OURS[name]["command"])
    command: Any = typer.main.get_command(create_app(words))
    context = command.context_class(command)
    while hasattr(command, "get_command"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{words[0]!r} is no command of {command.name}"
        command, words = found, words[1:]

    parsed = command.make_context(command.name, words, parent=context)

    assert not parsed.args, f"{command.name} does not take {parsed.args}"


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_every_service_is_pinned_limited_and_restarts_by_rule(name: str) -> None:
    service = COMPOSE["services"][name]
    tag = service["image"].partition(":")[2]
    assert re.match(r"v?\d", tag), f"{service['image']} is not pinned"
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["restart"] in {"unless-stopped", "no"}


def test_long_running_services_say_when_they_are_healthy_and_open_ports_on_this_machine_only() -> None:
    for name, service in COMPOSE["services"].items():
        assert "healthcheck" in service or name in {"topics", "consensus-producer", "node-producer"}, name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} opens {port} to the network"


def test_our_containers_run_without_privileges_on_a_read_only_file_system() -> None:
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert "USER 10001" in (ROOT / "Dockerfile").read_text().splitlines()


def test_prometheus_scrapes_the_ports_that_workers_and_the_alert_service_serve() -> None:
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = {
        job["job_name"]: [target for static in job["static_configs"] for target in static["targets"]] for job in scraped
    }
    settings = load_configuration().settings
    worker, alerts = settings.metrics.port, settings.alerts.port
    assert targets == {
        "vigil-worker": [f"worker-1:{worker}", f"worker-2:{worker}"],
        "vigil-alerts": [f"alerts:{alerts}"],
    }
    assert f":{worker}/healthz" in json.dumps(COMPOSE["services"]["worker-1"]["healthcheck"])
    assert f":{alerts}/healthz" in json.dumps(COMPOSE["services"]["alerts"]["healthcheck"])
