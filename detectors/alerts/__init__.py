"""Anomalies in, alerts out: a pure state machine that knows no Kafka, no Redis and no clock."""

from detectors.alerts.plane import AlertPlane
from detectors.alerts.policy import Policy

__all__ = ["AlertPlane", "Policy"]
