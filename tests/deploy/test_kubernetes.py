"""No cluster is needed: manifests are held against Kubernetes' schemas and against what the code knows."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from vigil.configuration import load_configuration

BASE = Path(__file__).resolve().parents[2] / "deploy/kubernetes"
FILES = [path for path in sorted(BASE.glob("*.yaml")) if path.name != "kustomization.yaml"]
OBJECTS: list[dict[str, Any]] = [one for path in FILES for one in yaml.safe_load_all(path.read_text())]
CUSTOM = {"PodMonitor", "ScaledObject"}
PODS = {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] in {"StatefulSet", "Job"}}


def named(kind: str) -> dict[str, Any]:
    [found] = [one for one in OBJECTS if one["kind"] == kind]
    return found


def container(name: str) -> dict[str, Any]:
    [found] = PODS[name]["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("one", [one for one in OBJECTS if one["kind"] not in CUSTOM], ids=lambda one: one["kind"])
def test_objects_follow_the_schemas_of_kubernetes(one: dict[str, Any]) -> None:
    kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)


def test_the_base_has_every_file() -> None:
    base = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert sorted(base["resources"]) == [path.name for path in FILES]


@pytest.mark.parametrize("name", sorted(PODS))
def test_pods_run_without_privileges_on_a_read_only_file_system(name: str) -> None:
    pod = PODS[name]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    box = container(name)["securityContext"]
    assert (box["readOnlyRootFilesystem"], box["allowPrivilegeEscalation"]) == (True, False)
    assert box["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in container(name)["resources"]["limits"]


def test_every_variable_is_a_setting_and_ports_and_times_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in named("ConfigMap")["data"].items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv(container("vigil-worker")["env"][0]["name"], "vigil-worker-0")
    settings = load_configuration().settings
    assert settings.kafka.group_instance_id == "vigil-worker-0"
    assert container("vigil-worker")["ports"][0]["containerPort"] == settings.metrics.port
    assert container("vigil-alerts")["ports"][0]["containerPort"] == settings.alerts.port
    for name in ("vigil-worker", "vigil-alerts"):
        grace = PODS[name]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace > settings.worker.shutdown_s + 10
        assert container(name)["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container(name)["readinessProbe"]["httpGet"]["path"] == "/readyz"
    trigger = named("ScaledObject")["spec"]["triggers"][0]["metadata"]
    assert trigger["consumerGroup"] == settings.kafka.group_id


def test_what_refers_to_pods_finds_them() -> None:
    assert named("ScaledObject")["spec"]["scaleTargetRef"]["name"] in PODS
    assert named("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] in PODS
    [endpoint] = named("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert all(container(name)["ports"][0]["name"] == endpoint["port"] for name in ("vigil-worker", "vigil-alerts"))
