"""Prometheus metrics of the alert service; each is documented in docs/operations/alerts.md."""

from collections import Counter as Tally
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from detectors.alerts import AlertPlane
from detectors.alerts.feedback import STEPS
from detectors.alerts.policy import SEVERITIES
from detectors.alerts.state import Phase
from detectors.alerts.summaries import KINDS
from schemas.controls import Feedback
from schemas.outputs import Alert, alert_id

__all__ = ["AlertMetrics"]

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
DELAY_SECONDS: Final = (1, 2, 3, 5, 8, 13, 20, 30, 60, 120, 300, 900)
LIFE_SECONDS: Final = (5, 15, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400, 86_400)
UNUSUAL: Final = "unusual"
OUTCOMES: Final = ("taken", "repeated", "unreadable", "overflow")


class AlertMetrics:
    """Counts what the alert service did. Labels are severities, kinds, phases and sinks: their number is bounded.

    Args:
        registry: where the metrics live.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.anomalies = Counter(
            "vigil_alerts_anomalies_total", "Anomalies read, by what became of them.", ("outcome",), registry=registry
        )
        self.changes = Counter(
            "vigil_alerts_changes_total", "Changes of alerts published.", ("status", "severity"), registry=registry
        )
        self.scopes = Gauge(
            "vigil_alerts_scopes", "Clusters, and nodes without one, by phase.", ("phase",), registry=registry
        )
        self.open = Gauge("vigil_alerts_open", "Open alerts by severity.", ("severity",), registry=registry)
        self.event_time = Gauge(
            "vigil_alerts_event_time_seconds", "Event time up to which all is decided, Unix epoch.", registry=registry
        )
        self.looks = Counter("vigil_alerts_clock_looks_total", "Looks at the clock.", registry=registry)
        self.write = Histogram(
            "vigil_alerts_write_seconds",
            "From a decision until its rows and alerts are in Kafka.",
            buckets=SECONDS,
            registry=registry,
        )
        self.deliveries = Counter(
            "vigil_alerts_deliveries_total", "Alerts told to a sink.", ("sink", "result"), registry=registry
        )
        self.waiting = Gauge(
            "vigil_alerts_waiting", "Alerts whose newest state a sink has not taken yet.", ("sink",), registry=registry
        )
        self.sink_up = Gauge("vigil_alerts_sink_up", "1 when a sink took the last.", ("sink",), registry=registry)
        self._define_quality(registry)
        self._counted = dict.fromkeys(OUTCOMES, 0)

    def _define_quality(self, registry: CollectorRegistry) -> None:
        """Define what tells whether alerts can be trusted."""
        self.opened = Counter("vigil_alerts_opened_total", "Alerts opened, by cause.", ("kind",), registry=registry)
        self.delay = Histogram(
            "vigil_alerts_open_delay_seconds",
            "Event time from an alert's first anomaly until it opened.",
            buckets=DELAY_SECONDS,
            registry=registry,
        )
        self.life = Histogram(
            "vigil_alerts_duration_seconds",
            "Event time from an alert's first anomaly to its end, of alerts that are over.",
            buckets=LIFE_SECONDS,
            registry=registry,
        )
        self.feedback = Gauge(
            "vigil_alerts_feedback",
            "Alerts that people called so, those before included.",
            ("verdict",),
            registry=registry,
        )
        for kind in sorted(KINDS | {UNUSUAL}):  # a counter that begins at 1 has no increase
            self.opened.labels(kind).inc(0)

    def count(self, totals: Mapping[str, int]) -> None:
        """Take over totals of anomalies by outcome."""
        for outcome, total in totals.items():
            self.anomalies.labels(outcome).inc(max(0, total - self._counted[outcome]))
            self._counted[outcome] = total

    def published(self, alerts: Iterable[Alert]) -> None:
        """Count changes."""
        for alert in alerts:
            self.changes.labels(alert.status, alert.severity).inc()
            if alert.id == alert_id(alert.fingerprint, 0):
                self.opened.labels(alert.kind if alert.kind in KINDS else UNUSUAL).inc()
                self.delay.observe((alert.updated_ms - alert.started_ms) / 1000)
            if alert.ended_ms is not None:
                self.life.observe((alert.ended_ms - alert.started_ms) / 1000)

    def told(self, feedback: Iterable[Feedback]) -> None:
        """Take over the newest feedback on each alert."""
        verdicts = Tally[str](one.verdict for one in feedback)
        for verdict in STEPS:
            self.feedback.labels(verdict).set(verdicts[verdict])

    def look(self, planes: Iterable[AlertPlane]) -> None:
        """Count scopes by phase, and open alerts by severity."""
        phases, severities = Tally[str](), Tally[str]()
        for plane in planes:
            for scope in plane.scopes():
                phases[scope.phase] += 1
                if scope.phase in {Phase.FIRING, Phase.ACKNOWLEDGED} and scope.told is not None:
                    severities[scope.told.severity] += 1
        for phase in Phase:
            self.scopes.labels(phase).set(phases[phase])
        for severity in SEVERITIES:
            self.open.labels(severity).set(severities[severity])
