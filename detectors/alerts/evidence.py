"""Adds anomalies to evidence, and tells what an earlier step confirms."""

from typing import Final

from detectors.alerts.causes import count_departs, sign_of
from detectors.alerts.policy import SEVERITIES
from detectors.alerts.state import NEVER, Evidence, Member
from schemas.outputs import Anomaly, Severity
from schemas.quantities import MAX_MAGNITUDE

_WINDOW_STEPS: Final = 29  # from the oldest step of a window of 30 to its newest


def ratio(anomaly: Anomaly) -> float:
    """Return the score by its threshold; 1 where the threshold is 0, and never less than 0."""
    if anomaly.threshold <= 0:
        return 1.0
    return min(max(anomaly.score / anomaly.threshold, 0.0), float(MAX_MAGNITUDE))


def take(evidence: Evidence, anomaly: Anomaly, at_ms: int, most_members: int) -> Member | None:
    """Add an anomaly that counts as of ``at_ms``.

    Returns:
        The member it is of; ``None`` when there are ``most_members`` others, and it is only counted.
    """
    evidence.anomalies += 1
    evidence.seen_ms = max(evidence.seen_ms, at_ms)
    evidence.step_ms = max(evidence.step_ms, (anomaly.window_end_ms - anomaly.window_start_ms) // _WINDOW_STEPS)
    evidence.peak = max(evidence.peak, ratio(anomaly))
    if anomaly.detector not in evidence.detectors:
        evidence.detectors = tuple(sorted((*evidence.detectors, anomaly.detector)))
    member = evidence.members.get(anomaly.node_id)
    if member is None:
        if len(evidence.members) >= most_members:
            return None
        member = evidence.members[anomaly.node_id] = Member(anomaly.node_id, anomaly.ts_ms)
    sign = sign_of(anomaly)
    member.signs[sign] = member.signs.get(sign, 0) + 1
    member.departs = max(member.departs, count_departs(anomaly))
    if ratio(anomaly) > member.peak:
        member.peak, member.contributions = ratio(anomaly), anomaly.contributions
    return member


def confirm(member: Member, anomaly: Anomaly, within_ms: int) -> Severity | None:
    """Mark the step, and return the worst severity that a step of the member shortly before reached as well."""
    worst: Severity | None = None
    for level in range(SEVERITIES.index(anomaly.severity) + 1):
        before = member.reached_ms[level]
        if before != NEVER and 0 < anomaly.ts_ms - before <= within_ms:
            worst = SEVERITIES[level]
        member.reached_ms[level] = max(before, anomaly.ts_ms)
    return worst


def join(alert: Evidence, burst: Evidence) -> None:
    """Add a burst to the alert it belongs to; the members are the burst's: what is, not what was."""
    alert.seen_ms = burst.seen_ms
    alert.anomalies += burst.anomalies
    alert.detectors = tuple(sorted({*alert.detectors, *burst.detectors}))
    alert.step_ms = max(alert.step_ms, burst.step_ms)
    alert.peak = max(alert.peak, burst.peak)
    alert.members = burst.members
