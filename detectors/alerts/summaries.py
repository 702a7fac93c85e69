"""The one sentence of an alert: where, what, how much against usual, for how long, and who else."""

from collections.abc import Mapping
from typing import Final

from detectors.alerts.state import Evidence, Member
from schemas.outputs import Contribution

RUNBOOKS: Final = "docs/runbooks"

_WORDS: Final[Mapping[str, str]] = {
    "member_down": "reports nothing any more",
    "quorum_loss": "quorum lost",
    "leader_election_storm": "leader elections again and again",
    "network_congestion": "network congestion",
    "queue_overflow": "more load than it takes",
    "byzantine_attack": "proposals that others do not accept",
    "peer_missing": "misses a peer",
    "leader_changed": "leader changed",
    "own_count": "commits unlike usual",
    "slow": "slow",
    "unusual": "unusual",
    "network_degradation": "network degraded",
    "disk_degradation": "disk degraded",
    "overload": "more load than it takes",
    "memory_leak": "memory leaks",
    "sudden_crash": "failed at once",
    "gray_failure": "serves badly, though health checks pass",
    "dependency_outage": "something it calls does not answer",
}
KINDS: Final = frozenset(_WORDS)
"""Signs that have a runbook of their own."""
_FIELDS: Final[Mapping[str, tuple[str, str]]] = {
    "latency_p50": ("commit latency p50", " ms"),
    "latency_p95": ("commit latency p95", " ms"),
    "latency_p99": ("commit latency p99", " ms"),
    "queue_depth": ("queue depth", ""),
    "proposals_pending": ("proposals pending", ""),
    "proposals_committed": ("proposals committed", " a step"),
    "leader_changes": ("leader changes", " a step"),
    "active_nodes": ("active nodes", ""),
}
_LONGEST: Final = 1_000
_MINUTE_S: Final = 120  # from here on minutes


def summarise(alert: Evidence, origin: Member, sign: str, now_ms: int | None, returns: int) -> str:
    """Word an alert, in at most 1,000 characters.

    Args:
        alert: its anomalies.
        origin: the member it is likely to come from.
        sign: what that member shows.
        now_ms: event time while it is open; ``None`` when it is over.
        returns: how often it came back.
    """
    named = alert.cluster is None or origin.node_id.startswith(alert.cluster)
    said = [f"{'' if named else f'{alert.cluster}, '}{origin.node_id}: {_WORDS.get(sign, sign.replace('_', ' '))}"]
    if value := _value(origin.contributions):
        said.append(f"at worst {value}" if now_ms is None else value)
    lasted = _duration((alert.seen_ms if now_ms is None else now_ms) - alert.started_ms)
    said.append(f"over after {lasted}" if now_ms is None else f"for {lasted}")
    sentence = f"{', '.join(said)}{_others(alert)}"
    if returns:
        sentence += f"; it comes and goes, {returns + 1} times so far"
    return sentence[:_LONGEST]


def runbook(sign: str) -> str:
    """Return where to read on about a sign."""
    return f"{RUNBOOKS}/{sign if sign in _WORDS else 'unusual'}.md"


def _value(contributions: tuple[Contribution, ...]) -> str:
    for each in contributions:
        if each.value is None:
            continue
        words, unit = _FIELDS.get(each.feature, (each.feature, ""))
        usual = each.usual
        if usual is None and each.expected_low is not None and each.expected_high is not None:
            usual = (each.expected_low + each.expected_high) / 2
        return f"{words} {_number(each.value)}{unit}" + ("" if usual is None else f", usually {_number(usual)}")
    return ""


def _others(alert: Evidence) -> str:
    others = len(alert.members) - 1
    if alert.cluster is None:
        return ""
    if not others:
        return "; peers unaffected"
    return f"; {others} peer{'s' if others > 1 else ''} affected"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.3g}"


def _duration(milliseconds: int) -> str:
    seconds = max(1, round(milliseconds / 1000))
    return f"{seconds} s" if seconds < _MINUTE_S else f"{round(seconds / 60)} min"
