"""Every expression of every recording and alerting rule, asked of a real Prometheus."""

import re
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.alert_servers import PrometheusServer

__all__ = ["RuleAnswer", "asked_rules"]

_SELECTOR: Final = re.compile(
    r"(?<![\w:\"'])((?:[a-z_]+:)?(?:dwcp|vigil)_[a-z0-9_]+(?::[a-z0-9_]+)?|up)\b(?:\{[^}]*\})?"
)


@dataclass(frozen=True, slots=True)
class RuleAnswer:
    """What a rule finds.

    Attributes:
        name: of the rule.
        recording: whether it records: then its expression has to have a value. One that pages has one when it pages,
            so there each metric that it looks at has to.
        health: "ok", or what Prometheus says of its evaluation.
        empty: what has no data and should have.
        firing: whether it pages now.
    """

    name: str
    recording: bool
    health: str
    empty: tuple[str, ...]
    firing: bool


def asked_rules(prometheus: PrometheusServer) -> list[RuleAnswer]:
    """Ask every rule that Prometheus has loaded."""
    groups = prometheus.ask("rules")["groups"]
    return [_asked(prometheus, rule) for group in groups for rule in group["rules"]]


def _asked(prometheus: PrometheusServer, rule: dict[str, Any]) -> RuleAnswer:
    recording = rule["type"] == "recording"
    wanted = [rule["query"]] if recording else sorted({found.group(1) for found in _SELECTOR.finditer(rule["query"])})
    empty = tuple(one for one in wanted if not prometheus.ask("query", query=one)["result"])
    health = rule["health"] if rule["health"] == "ok" else rule.get("lastError", rule["health"])
    return RuleAnswer(rule["name"], recording, health, empty, rule.get("state") == "firing")
