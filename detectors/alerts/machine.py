"""The state machine of one scope's alert: anomalies and event time in, changes out. Pure: no clock, no Kafka.

    quiet -> pending -> firing <-> acknowledged -> resolved -> quiet
               |          ^                           |
               v          +---------- again ----------+
             quiet

Deadlines fall at their own event time, wherever time is cut: to 20 s at once is the same as to 10 s and then to 20 s.
"""

from typing import Final

from detectors.alerts.causes import MEMBER_DOWN, are_related, diagnose, sign_of, stands_out
from detectors.alerts.evidence import confirm, join, take
from detectors.alerts.policy import SEVERITIES, Policy
from detectors.alerts.state import NEVER, OPEN, Evidence, Phase, Scope, Told
from detectors.alerts.summaries import runbook, summarise
from schemas.outputs import Alert, Anomaly, Severity, alert_fingerprint, alert_id

_MOST_DOUBLINGS: Final = 2
_SLOW_STEPS: Final = 3  # times in the policy are at least so many steps of what flags
_LOOK_MS: Final = 1_000  # between two looks at the likely cause


def advance(scope: Scope, policy: Policy, to_ms: int) -> list[Alert]:
    """Let event time pass to ``to_ms``; every anomaly before it has been applied."""
    changes: list[Alert] = []
    while (due := _deadline(scope, policy)) is not None and due < to_ms:
        scope.now_ms = max(scope.now_ms, due)
        if scope.phase in OPEN:
            scope.phase = Phase.RESOLVED
            changes.append(_change(scope))
        else:
            scope.phase, scope.alert, scope.told, scope.burst = Phase.QUIET, None, None, None
    scope.now_ms = max(scope.now_ms, to_ms)
    return changes


def apply(scope: Scope, policy: Policy, anomaly: Anomaly) -> list[Alert]:
    """Take in one anomaly.

    One that comes after its time was decided counts as of now; a repeated one does not count.
    """
    changes = advance(scope, policy, max(anomaly.ts_ms, scope.now_ms))
    if _is_repeated(scope, policy, anomaly):
        return changes
    evidence = _evidence_for(scope, policy, anomaly)
    member = take(evidence, anomaly, scope.now_ms, policy.members)
    level: Severity | None = None
    if member is not None and sign_of(anomaly) == MEMBER_DOWN:
        level = anomaly.severity  # a silence has lasted before it is told
    elif member is not None:
        level = confirm(member, anomaly, _at_least(policy.confirm_ms, evidence))
    if _opens(scope, policy, level) or _rises(scope, level) or _looks_different(scope, policy):
        changes.append(_change(scope))
    return changes


def acknowledge(scope: Scope) -> bool:
    """Say that a person has it: no more changes than a worse severity and the end. False when nothing is firing."""
    if scope.phase is not Phase.FIRING:
        return False
    scope.phase = Phase.ACKNOWLEDGED
    return True


def fingerprint(scope: Scope) -> str | None:
    """Name the scope's alert; ``None`` when it has none."""
    return None if scope.alert is None else alert_fingerprint(scope.name, scope.alert.started_ms)


def _deadline(scope: Scope, policy: Policy) -> int | None:
    waited = NEVER
    if scope.burst is not None:
        waited = scope.burst.seen_ms + _at_least(policy.confirm_ms, scope.burst)
    if scope.alert is None or scope.told is None:
        return None if scope.burst is None else waited
    if scope.phase is Phase.RESOLVED:
        remembered = policy.flapping_ms if scope.told.returns else policy.reopen_ms
        return max(scope.alert.seen_ms + _at_least(remembered, scope.alert), waited)
    hold = min(policy.hold_ms << min(scope.told.returns, _MOST_DOUBLINGS), policy.reopen_ms)
    return scope.alert.seen_ms + _at_least(hold, scope.alert)


def _at_least(milliseconds: int, evidence: Evidence) -> int:
    return max(milliseconds, _SLOW_STEPS * evidence.step_ms)


def _is_repeated(scope: Scope, policy: Policy, anomaly: Anomaly) -> bool:
    key = f"{anomaly.detector} {anomaly.node_id}"
    newest = scope.newest.get(key, NEVER)
    if anomaly.ts_ms <= newest:
        return True
    if newest != NEVER or len(scope.newest) < 2 * policy.members:
        scope.newest[key] = anomaly.ts_ms
    return False


def _evidence_for(scope: Scope, policy: Policy, anomaly: Anomaly) -> Evidence:
    """Return what an anomaly adds to: the open alert, or a burst that may become one."""
    if scope.phase in OPEN and scope.alert is not None:
        return scope.alert
    burst = scope.burst
    if burst is None or scope.now_ms - burst.seen_ms > _at_least(policy.confirm_ms, burst):
        burst = Evidence(anomaly.ts_ms, scope.now_ms, cluster=anomaly.cluster, region=anomaly.region)
        scope.burst = burst
    if scope.phase is Phase.QUIET:
        scope.phase = Phase.PENDING
    return burst


def _opens(scope: Scope, policy: Policy, level: Severity | None) -> bool:
    if scope.burst is None or level is None or SEVERITIES.index(level) < SEVERITIES.index(policy.open_at):
        return False
    burst, scope.burst = scope.burst, None
    sign, _ = diagnose(burst.members.values())
    if scope.alert is not None and scope.told is not None and any(are_related(said, sign) for said in scope.told.signs):
        join(scope.alert, burst)
        scope.told.returns += 1
        scope.told.fired_ms = scope.now_ms
        scope.told.severity = max(scope.told.severity, level, key=SEVERITIES.index)
    else:
        scope.alert, scope.told = burst, Told(level, scope.now_ms)
    scope.phase = Phase.FIRING
    return True


def _rises(scope: Scope, level: Severity | None) -> bool:
    """Whether it is worse than was told; that is told also when a person has it, and it fires again."""
    if scope.phase not in OPEN or scope.told is None or level is None:
        return False
    if SEVERITIES.index(level) <= SEVERITIES.index(scope.told.severity):
        return False
    scope.told.severity, scope.phase = level, Phase.FIRING
    return True


def _looks_different(scope: Scope, policy: Policy) -> bool:
    """Whether the likely cause is another than was told; the longer an alert is open, the more seldom it is asked."""
    told, alert = scope.told, scope.alert
    if scope.phase is not Phase.FIRING or told is None or alert is None:
        return False
    wait_ms = max(policy.explain_ms, told.at_ms - told.fired_ms)
    if scope.now_ms - told.at_ms < wait_ms or scope.now_ms - told.looked_ms < _LOOK_MS:
        return False
    told.looked_ms = scope.now_ms
    sign, origin = diagnose(alert.members.values())
    named = alert.members.get(told.node_id)
    return sign != told.sign or named is None or stands_out(sign, origin, named)


def _change(scope: Scope) -> Alert:
    alert, told = scope.alert, scope.told
    if alert is None or told is None:
        raise ValueError(f"{scope.name} is {scope.phase} and has no alert to tell of")
    sign, origin = diagnose(alert.members.values())
    is_over = scope.phase is Phase.RESOLVED
    name = alert_fingerprint(scope.name, alert.started_ms)
    change = Alert(
        id=alert_id(name, told.changes),
        fingerprint=name,
        status="resolved" if is_over else "firing",
        severity=told.severity,
        detectors=alert.detectors,
        node_id=origin.node_id,
        cluster=alert.cluster,
        region=alert.region,
        started_ms=alert.started_ms,
        ended_ms=alert.seen_ms if is_over else None,
        updated_ms=scope.now_ms,
        peak_score=round(alert.peak, 4),
        summary=summarise(alert, origin, sign, None if is_over else scope.now_ms, told.returns),
        contributions=origin.contributions,
        anomaly_count=alert.anomalies,
        runbook=runbook(sign),
        kind=sign,
    )
    told.changes += 1
    told.signs = tuple(sorted({*told.signs, sign}))
    told.sign, told.node_id, told.at_ms, told.looked_ms = sign, origin.node_id, scope.now_ms, scope.now_ms
    return change
