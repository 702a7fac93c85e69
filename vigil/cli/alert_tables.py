"""How alerts and silences look in a terminal."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from schemas.controls import Silence
from schemas.outputs import Alert
from streams.alerting.controls import Controls
from vigil.cli.anomalies import STYLES, reason

__all__ = ["DescribedAlert", "alert_page", "alert_table", "described", "silence_table"]


class DescribedAlert(msgspec.Struct, frozen=True):
    """An alert with what people said about it.

    Attributes:
        alert: as published.
        acknowledged: who has it, why and since when; ``None`` when nobody has.
        silenced: the silence that holds now, with who and why; ``None`` when none does.
        feedback: what it was said to be worth.
        level: from what score by threshold its node opens alerts.
    """

    alert: Alert
    acknowledged: dict[str, Any] | None
    silenced: Silence | None
    feedback: str | None
    level: float


def described(alert: Alert, controls: Controls, now_ms: int) -> DescribedAlert:
    """Put together what is known of an alert at a time of the wall clock."""
    acks = [one for one in controls.acknowledgements() if one.fingerprint == alert.fingerprint]
    worth = [one.verdict for one in controls.feedback() if one.fingerprint == alert.fingerprint]
    return DescribedAlert(
        alert=alert,
        acknowledged={"by": acks[0].by, "comment": acks[0].comment, "at_ms": acks[0].at_ms} if acks else None,
        silenced=controls.silence_of(alert, now_ms),
        feedback=worth[0] if worth else None,
        level=controls.levels().get(alert.node_id, 1.0),
    )


def alert_table(rows: Sequence[DescribedAlert]) -> Table:
    """Lay out alerts, one a line."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("alert", "since (UTC)", "status", "severity"):
        table.add_column(column, no_wrap=True)
    table.add_column("summary", ratio=1)
    table.add_column("people", ratio=1)
    for row in rows:
        one = row.alert
        severity = Text(one.severity, STYLES.get(one.severity, ""))
        table.add_row(one.fingerprint[:8], _time(one.started_ms), one.status, severity, one.summary, _people(row))
    return table


def alert_page(row: DescribedAlert) -> Table:
    """Lay out one alert."""
    one = row.alert
    page = Table(box=None, show_header=False, pad_edge=False)
    page.add_column(style="bold", no_wrap=True)
    page.add_column()
    facts = {
        "alert": one.fingerprint,
        "summary": one.summary,
        "status": one.status,
        "severity": one.severity,
        "cluster": one.cluster or "",
        "likely origin": f"{one.node_id} ({one.kind or 'unknown'})",
        "began": _time(one.started_ms),
        "ended": "" if one.ended_ms is None else _time(one.ended_ms),
        "score": f"up to {one.peak_score:.3g} times the threshold, {one.anomaly_count} anomalies",
        "detectors": ", ".join(one.detectors),
        "values": reason(one.contributions),
        "runbook": one.runbook,
        "people": _people(row),
        "opens from": f"{row.level:g} times the threshold" if row.level != 1 else "",
    }
    for name, value in facts.items():
        if value:
            page.add_row(name, Text(value))
    return page


def silence_table(silences: Sequence[Silence]) -> Table:
    """Lay out silences, one a line."""
    table = Table("silence", "of", "from (UTC)", "until (UTC)", "by", "why", box=None, header_style="bold")
    for one in silences:
        given = {"cluster": one.cluster, "node": one.node_id, "kind": one.kind, "severity": one.severity}
        what = ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)
        why = f"{one.comment}{' (maintenance)' if one.maintenance else ''}"
        table.add_row(one.id[:8], Text(what), _time(one.starts_ms), _time(one.ends_ms), Text(one.by), Text(why.strip()))
    return table


def _people(row: DescribedAlert) -> str:
    said = []
    if row.acknowledged is not None:
        said.append(_with("acknowledged by {}", row.acknowledged["by"], row.acknowledged["comment"]))
    if row.silenced is not None:
        until = _time(row.silenced.ends_ms)
        said.append(_with(f"silenced until {until} by {{}}", row.silenced.by, row.silenced.comment))
    if row.feedback is not None:
        said.append(f"was {row.feedback}")
    return "; ".join(said)


def _with(form: str, by: str, comment: str) -> str:
    return form.replace("{}", by) + (f": {comment}" if comment else "")


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
