"""Alertmanager, by its API of version 2: https://prometheus.io/docs/alerting/latest/clients/ says how it is told.

Labels say which alert it is, annotations what changes. An open alert has an end in the future, which every re-send
moves on: if nobody tells it any more, Alertmanager ends it. When severity, likely cause or origin change, so do the
labels; the alert with the old ones is ended in the same call. Under which labels an earlier process told of an alert,
Alertmanager is asked, by the fingerprint in its annotations.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
import structlog

from schemas.outputs import Alert, Contribution, alert_id
from streams.alerting.alertmanager_silences import mirrored, silence_body, utc
from streams.alerting.config import SinksConfig
from streams.alerting.controls import Controls
from streams.alerting.sinks import SinkRefusedError, call

__all__ = ["Alertmanager", "annotations_of", "labels_of", "links_of"]

log = structlog.get_logger("vigil.alerts")

MOST: Final = 64
OURS: Final = "filter=" + quote('job="vigil"')


def labels_of(alert: Alert) -> dict[str, str]:
    """Make the labels of an alert; ``alertname`` is its likely cause in Alertmanager's spelling."""
    kind = alert.kind or "unusual"
    labels = {
        "alertname": "".join(part.capitalize() for part in kind.split("_")),
        "severity": alert.severity,
        "node": alert.node_id,
        "kind": kind,
        "job": "vigil",
    }
    more = {"cluster": alert.cluster, "region": alert.region}
    return labels | {name: value for name, value in more.items() if value is not None}


def annotations_of(alert: Alert, config: SinksConfig) -> dict[str, str]:
    """Make the annotations: ``summary``, ``description``, ``runbook_url``, ``dashboard_url``, ``fingerprint``."""
    found = [_contribution(one) for one in alert.contributions if one.value is not None]
    seen = (
        f"Score up to {alert.peak_score:.3g} times the threshold, {alert.anomaly_count} anomalies by "
        f"{', '.join(alert.detectors)} since {utc(alert.started_ms)}."
    )
    description = [alert.summary, seen, *([f"Values: {'; '.join(found)}."] if found else [])]
    return {
        "summary": alert.summary,
        "description": "\n".join(description),
        "fingerprint": alert.fingerprint,
        **links_of(alert, config),
    }


def links_of(alert: Alert, config: SinksConfig) -> dict[str, str]:
    """Make the links: ``runbook_url`` (a path when no base is configured), and ``dashboard_url`` where configured."""
    links = {"runbook_url": f"{config.runbooks}{alert.runbook}"}
    if config.dashboard:
        given = {
            "cluster": quote(alert.cluster or "", safe=""),
            "node": quote(alert.node_id, safe=""),
            "from_ms": str(alert.started_ms - 300_000),
            "to_ms": str(alert.updated_ms + 300_000),
        }
        link = config.dashboard
        for name, value in given.items():
            link = link.replace(f"{{{name}}}", value)
        links["dashboard_url"] = link
    return links


class Alertmanager:
    """One Alertmanager; every one of a pair is told everything.

    Args:
        url: base address.
        config: links and times.
    """

    most: Final = MOST
    wants_all: Final = True

    def __init__(self, url: str, config: SinksConfig) -> None:
        self._url = f"{url.rstrip('/')}/api/v2"
        self._config = config
        self.name = f"alertmanager {urlsplit(url).netloc}"
        self.resend_s = config.resend_s
        # It is told of silenced alerts where it has the silence too: then it shows them, and notifies nobody.
        self.takes_silenced = config.mirror_silences
        self._labels: dict[str, list[dict[str, str]]] = {}

    async def tell(self, session: aiohttp.ClientSession, alerts: Sequence[Alert]) -> None:
        """Post them, and the end of those whose labels changed."""
        await self._learn(session, alerts)
        now_ms = time.time_ns() // 1_000_000
        await call(session, f"{self._url}/alerts", msgspec.json.encode(self.body(alerts, now_ms)))
        for alert in alerts:
            if alert.status == "firing":
                self._labels[alert.fingerprint] = [labels_of(alert)]
            else:
                self._labels.pop(alert.fingerprint, None)

    def forget(self) -> None:
        """Drop the labels of alerts: Alertmanager is asked for them again."""
        self._labels.clear()

    async def _learn(self, session: aiohttp.ClientSession, alerts: Sequence[Alert]) -> None:
        """Ask for the labels of alerts that this process has not told of, and that are not new."""
        strangers = {
            alert.fingerprint
            for alert in alerts
            if alert.fingerprint not in self._labels and alert.id != alert_id(alert.fingerprint, 0)
        }
        if not strangers:
            return
        listed = await call(session, f"{self._url}/alerts?{OURS}", method="GET")
        try:
            for one in json.loads(listed):
                name = str(one["annotations"].get("fingerprint", ""))
                if name in strangers:
                    self._labels.setdefault(name, []).append(dict(one["labels"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # what has old labels ends by itself
            log.warning("Alertmanager's alerts cannot be read", sink=self.name, error=repr(error))

    async def tell_controls(self, session: aiohttp.ClientSession, controls: Controls) -> None:
        """Make its silences those of vigil, where that is wanted; its own stay as they are."""
        if not self._config.mirror_silences:
            return
        now_ms = time.time_ns() // 1_000_000
        listed = await call(session, f"{self._url}/silences", method="GET")
        try:
            known = mirrored(json.loads(listed))
        except (ValueError, KeyError, TypeError) as error:
            raise SinkRefusedError(f"its silences cannot be read: {error!r}") from error
        for silence in controls.silences():
            there = known.get(silence.id)
            if silence.ends_ms <= now_ms:
                if there is not None:
                    await call(session, f"{self._url}/silence/{there.id}", method="DELETE")
            elif there is None or there.ends_ms != silence.ends_ms:
                body = silence_body(silence, None if there is None else there.id)
                await call(session, f"{self._url}/silences", msgspec.json.encode(body))

    def body(self, alerts: Sequence[Alert], now_ms: int) -> list[dict[str, Any]]:
        """Return what is posted at a time of the wall clock, Unix epoch in milliseconds."""
        bodies = []
        for alert in alerts:
            labels = labels_of(alert)
            outdated = [one for one in self._labels.get(alert.fingerprint, ()) if one != labels]
            bodies += [self._one(alert, one, now_ms, is_open=False) for one in outdated]
            bodies.append(self._one(alert, labels, now_ms, is_open=alert.status == "firing"))
        return bodies

    def _one(self, alert: Alert, labels: Mapping[str, str], now_ms: int, *, is_open: bool) -> dict[str, Any]:
        annotations = annotations_of(alert, self._config)
        ends_ms = now_ms + round(self._config.expire_s * 1000) if is_open else now_ms
        return {
            "labels": labels,
            "annotations": annotations,
            "startsAt": utc(min(alert.started_ms, now_ms)),
            "endsAt": utc(ends_ms),
            "generatorURL": annotations.get("dashboard_url", ""),
        }


def _contribution(one: Contribution) -> str:
    usual = one.usual
    if usual is None and one.expected_low is not None and one.expected_high is not None:
        usual = (one.expected_low + one.expected_high) / 2
    return f"{one.feature} {one.value:.3g}" + ("" if usual is None else f" (usually {usual:.3g})")
