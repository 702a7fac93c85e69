"""What is remembered of alerts: one ``Scope`` a cluster, plain data that a store can keep as JSON."""

from enum import StrEnum
from typing import Final

from msgspec import Struct, field

from schemas.outputs import Contribution, Severity

NEVER: Final = -1
"""An event time that was not yet."""


class Phase(StrEnum):
    """Where an alert is in its life; ``docs/alerts.md`` has the transitions."""

    QUIET = "quiet"
    PENDING = "pending"
    FIRING = "firing"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


OPEN: Final = frozenset({Phase.FIRING, Phase.ACKNOWLEDGED})


class Member(Struct):
    """What one member showed.

    Attributes:
        node_id: node id or link key.
        first_ms: event time of its first anomaly.
        peak: largest score by threshold.
        signs: anomalies by what they are a sign of.
        reached_ms: newest anomaly of at least each severity, "info" first; ``NEVER`` when there was none.
        departs: how far its own count of commits was from usual, see ``causes.count_departs``.
        contributions: of the peak.
    """

    node_id: str
    first_ms: int
    peak: float = 0.0
    signs: dict[str, int] = field(default_factory=dict)
    reached_ms: list[int] = field(default_factory=lambda: [NEVER, NEVER, NEVER])
    departs: float = 0.0
    contributions: tuple[Contribution, ...] = ()


class Evidence(Struct):
    """Anomalies that belong together.

    Attributes:
        started_ms, seen_ms: event time of the first, and the time at which the newest counted.
        cluster, region: as the first one says.
        anomalies: how many.
        detectors: that flagged, sorted.
        step_ms: longest step of what flagged: minutes of node metrics take longer to confirm than seconds of consensus.
        peak: largest score by threshold.
        members: by node id.
    """

    started_ms: int
    seen_ms: int
    cluster: str | None = None
    region: str | None = None
    anomalies: int = 0
    detectors: tuple[str, ...] = ()
    step_ms: int = 0
    peak: float = 0.0
    members: dict[str, Member] = field(default_factory=dict)


class Told(Struct):
    """What was last said of an alert.

    Attributes:
        severity: worst that was confirmed.
        fired_ms: when it fired, at its newest return.
        changes: said so far.
        returns: times that it fired again.
        sign, node_id: likely cause.
        signs: every likely cause that was said in its life.
        at_ms: when.
        looked_ms: when the likely cause was last looked at.
    """

    severity: Severity
    fired_ms: int
    changes: int = 0
    returns: int = 0
    sign: str = ""
    node_id: str = ""
    signs: tuple[str, ...] = ()
    at_ms: int = NEVER
    looked_ms: int = NEVER


class Scope(Struct):
    """A cluster, or a node without one, and its alert: at most one at a time.

    Attributes:
        name: ``cluster:NAME`` or ``node:ID``.
        now_ms: event time up to which all is decided.
        phase: of the alert.
        alert: what belongs to it; ``None`` while quiet or pending.
        told: what was said of it; ``None`` while quiet or pending.
        burst: anomalies that belong to no open alert, yet.
        newest: event time of the newest anomaly by ``detector node``: what is not newer is a repetition.
    """

    name: str
    now_ms: int = NEVER
    phase: Phase = Phase.QUIET
    alert: Evidence | None = None
    told: Told | None = None
    burst: Evidence | None = None
    newest: dict[str, int] = field(default_factory=dict)
