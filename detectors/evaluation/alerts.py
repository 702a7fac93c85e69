"""Alerts against known faults: how many were opened, what they covered, how soon they fired and resolved."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from detectors.alerts import AlertPlane
from detectors.evaluation.events import AFTER_MS, Fault
from schemas.outputs import Alert, Anomaly
from schemas.quantities import END_OF_TIME_MS

DISORDER_MS: Final = 2_000
"""How far event time is held back, so that anomalies of other nodes arrive before their time passes."""
RECOVERY_MS: Final = 15_000
"""After a fault, a cluster recovers; an alert that begins then belongs to the fault."""
_END_MS: Final = 3_600_000  # event time that passes after the last anomaly: every alert ends
_MS_PER_HOUR: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class AlertFigures:
    """What the alerts of a recording amount to.

    Attributes:
        alerts_opened: different alerts that fired.
        faults: injected.
        faults_covered: faults during which an alert fired, for the first time or again.
        alerts_unrelated: alerts during which there was no fault and no recovery.
        alerts_a_fault: alerts that belong to faults, by faults covered; ``None`` when none was.
        unrelated_an_hour: by the length of the recording.
        median_fire_delay_s: from the start of a covered fault until its alert was told.
        median_resolve_delay_s: from the end of a covered fault until its alert was told to be over.
    """

    alerts_opened: int
    faults: int
    faults_covered: int
    alerts_unrelated: int
    alerts_a_fault: float | None
    unrelated_an_hour: float
    median_fire_delay_s: float | None
    median_resolve_delay_s: float | None


@dataclass(frozen=True, slots=True)
class _Firing:
    """From one time that an alert fired until it was resolved, if it was; event time in milliseconds."""

    fingerprint: str
    cluster: str
    started_ms: int
    fired_ms: int
    ended_ms: int
    resolved_ms: int | None


def alerts_of(anomalies: Iterable[Anomaly], plane: AlertPlane, *, every: int = 100) -> list[Alert]:
    """Run anomalies in their order through a plane, to the end of every alert.

    Args:
        anomalies: in the order of their records.
        plane: without alerts.
        every: anomalies between two steps of event time; makes no difference to what comes out.
    """
    changes: list[Alert] = []
    newest = 0
    for place, anomaly in enumerate(anomalies):
        if place % every == 0 and newest:
            changes += plane.advance(newest - DISORDER_MS)
        plane.observe(anomaly)
        newest = max(newest, anomaly.ts_ms)
    return changes + plane.advance(newest + _END_MS)


def alert_figures(changes: Sequence[Alert], faults: Sequence[Fault], span_ms: int) -> AlertFigures:
    """Measure alerts against the faults of a recording.

    Args:
        changes: as ``AlertPlane.advance`` returned them; one that is not resolved lasts to the end.
        faults: the truth; those without a cluster are of the only one.
        span_ms: length of the recording, event time.
    """
    firings = _firings(changes)
    related = {firing.fingerprint for firing in firings for fault in faults if _belongs(firing, fault)}
    opened = {firing.fingerprint for firing in firings}
    fire: list[int] = []
    resolve: list[int] = []
    for fault in faults:
        told = [firing for firing in firings if _tells_of(firing, fault)]
        if told:
            fire.append(told[0].fired_ms + DISORDER_MS - fault.start_ms)
            if told[-1].resolved_ms is not None:
                resolve.append(told[-1].resolved_ms + DISORDER_MS - fault.end_ms)
    unrelated = len(opened - related)
    return AlertFigures(
        alerts_opened=len(opened),
        faults=len(faults),
        faults_covered=len(fire),
        alerts_unrelated=unrelated,
        alerts_a_fault=len(related) / len(fire) if fire else None,
        unrelated_an_hour=unrelated / (span_ms / _MS_PER_HOUR),
        median_fire_delay_s=median(fire) / 1000 if fire else None,
        median_resolve_delay_s=median(resolve) / 1000 if resolve else None,
    )


def _firings(changes: Sequence[Alert]) -> list[_Firing]:
    fired: dict[str, int] = {}
    firings: list[_Firing] = []
    for change in changes:
        if change.status == "firing":
            fired.setdefault(change.fingerprint, change.updated_ms)
        elif change.ended_ms is not None:
            at = fired.pop(change.fingerprint)
            ends = (change.ended_ms, change.updated_ms)
            firings.append(_Firing(change.fingerprint, change.cluster or "", change.started_ms, at, *ends))
    newest = {change.fingerprint: change for change in changes}
    firings += [
        _Firing(name, newest[name].cluster or "", newest[name].started_ms, at, END_OF_TIME_MS, None)
        for name, at in fired.items()
    ]
    return sorted(firings, key=lambda firing: firing.fired_ms)


def _is_of(firing: _Firing, fault: Fault) -> bool:
    return fault.cluster in {"", firing.cluster}


def _belongs(firing: _Firing, fault: Fault) -> bool:
    overlaps = firing.started_ms <= fault.end_ms + RECOVERY_MS and firing.ended_ms >= fault.start_ms
    return _is_of(firing, fault) and overlaps


def _tells_of(firing: _Firing, fault: Fault) -> bool:
    return _is_of(firing, fault) and fault.start_ms <= firing.fired_ms <= fault.end_ms + AFTER_MS
