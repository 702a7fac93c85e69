"""What an alert service says of itself."""

import json
import urllib.error
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from vigil.demo.stage import WorkerProcess


def sample(service: WorkerProcess, name: str, **labels: str) -> float:
    """One of its metrics; 0 when it has none of this name and these labels."""
    with urllib.request.urlopen(f"{service.url}/metrics", timeout=60) as answer:  # noqa: S310 - our own
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            if one.name == name and labels.items() <= one.labels.items():
                return float(one.value)
    return 0.0


def ready(service: WorkerProcess) -> dict[str, Any]:
    """What its `/readyz` says, whatever the status."""
    try:
        with urllib.request.urlopen(f"{service.url}/readyz", timeout=60) as answer:  # noqa: S310 - our own
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return dict(json.load(error))
