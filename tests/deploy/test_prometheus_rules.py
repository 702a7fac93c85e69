"""What Prometheus records and pages about, held against promtool and against the metrics that the services export."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from streams.alerting.metrics import AlertMetrics
from streams.gauges import StateCollector, StreamState, WorkerState
from streams.metrics import WorkerMetrics

ROOT = Path(__file__).resolve().parents[2]
DEPLOYED = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((DEPLOYED / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
PAGES = [rule for rule in RULES if "alert" in rule]

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is missing: install Debian's package prometheus"
)


def exported() -> set[str]:
    """Names of all series that a worker and an alert service can export, Prometheus' own ``up`` included."""
    registry = CollectorRegistry()
    WorkerMetrics(registry)
    AlertMetrics(registry)
    stream = StreamState(nodes=1, silent=0, store_bytes=1, step_seconds=1.0, observed_seconds=1.0, mismatch=False)
    state = WorkerState(
        lag={("topic", 0): 0},
        backlog_seconds=0.0,
        partitions=1,
        broker_up=True,
        redis_waiting=0,
        redis_up=True,
        streams={"consensus": stream},
    )
    registry.register(StateCollector(lambda: state))
    names = {"up"}
    for family in registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
    return names


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_promtool
def test_the_configuration_and_its_rules_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", DEPLOYED / "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", *sorted((DEPLOYED / "rules").glob("*.yml")))


@needs_promtool
def test_every_rule_fires_when_it_must_and_stays_silent_when_it_must_not() -> None:
    promtool("test", "rules", *sorted((DEPLOYED / "tests").glob("*.yml")))


def test_every_page_is_tested_to_fire_and_to_stay_silent() -> None:
    cases = [
        case
        for path in sorted((DEPLOYED / "tests").glob("*.yml"))
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test.get("alert_rule_test", ())
    ]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    names = {rule["alert"] for rule in PAGES}
    assert fires == names
    # A healthy fleet, with nothing firing at all, is a test of its own in both files.
    assert silent <= names


def test_rules_ask_for_metrics_that_are_exported_only() -> None:
    known = exported() | {rule["record"] for rule in RULES if "record" in rule}
    for rule in RULES:
        asked = set(re.findall(r"\b(?:[a-z_]+:)?(?:dwcp|vigil)_[a-z0-9_]+(?::[a-z0-9_]+)?", rule["expr"]))
        assert asked <= known, f"{rule.get('alert') or rule['record']} asks for {sorted(asked - known)}"


@pytest.mark.parametrize("rule", PAGES, ids=lambda rule: str(rule["alert"]))
def test_every_page_has_a_severity_one_sentence_and_a_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    summary = rule["annotations"]["summary"]
    assert summary.endswith("."), summary
    assert ". " not in re.sub(r"{{.*?}}", "", summary), f"more than one sentence: {summary}"
    base, _, page = rule["annotations"]["runbook_url"].partition("docs/runbooks/")
    assert base == "{{ $externalLabels.runbooks }}"
    assert re.fullmatch(r"vigil-[a-z-]+\.md", page)
    assert (ROOT / "docs" / "runbooks" / page).is_file(), f"docs/runbooks/{page} is missing"
