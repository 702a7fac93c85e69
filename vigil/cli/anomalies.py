"""How anomalies look in a terminal, in `vigil score` and in the demo."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from schemas.outputs import Anomaly, Contribution

__all__ = ["PlainAnomaly", "anomaly_table", "plain_anomaly", "reason"]

STYLES = {"info": "cyan", "warning": "yellow", "critical": "bold red"}
REASONS = 2  # contributions named in a line


class PlainAnomaly(NamedTuple):
    """One row of the table."""

    time: str
    node: str
    severity: str
    score: str
    detector: str
    reason: str


def plain_anomaly(anomaly: Anomaly, reasons: int = REASONS) -> PlainAnomaly:
    """Word an anomaly for a person, with its first ``reasons`` contributions."""
    return PlainAnomaly(
        time=datetime.fromtimestamp(anomaly.ts_ms / 1000, tz=UTC).strftime("%H:%M:%S"),
        node=anomaly.node_id,
        severity=anomaly.severity,
        score=f"{anomaly.score / anomaly.threshold:.1f} x" if anomaly.threshold > 0 else f"{anomaly.score:.3g}",
        detector=anomaly.detector,
        reason=_expected(anomaly) + reason(anomaly.contributions[:reasons]),
    )


def _expected(anomaly: Anomaly) -> str:
    if anomaly.expected_in_minutes is None:
        return ""
    low, high = anomaly.expected_in_minutes
    return f"expected in {low:.0f} to {high:.0f} min: "


def reason(contributions: Sequence[Contribution]) -> str:
    """Say which values made the score: ``latency_p99 88 (usually 5.1 to 9.7)``."""
    return ", ".join(_one(each) for each in contributions) or "no single feature stands out"


def anomaly_table(rows: Sequence[PlainAnomaly]) -> Table:
    """Lay out anomalies; the score is shown as a multiple of the threshold."""
    table = Table(box=None, header_style="bold", pad_edge=False, expand=False)
    for column in ("time (UTC)", "node", "severity", "score", "detector"):
        table.add_column(column, no_wrap=True, justify="right" if column == "score" else "left")
    table.add_column("why", ratio=1)
    for row in rows:
        severity = Text(row.severity, STYLES.get(row.severity, ""))
        table.add_row(row.time, row.node, severity, row.score, row.detector, row.reason)
    return table


def _one(each: Contribution) -> str:
    if each.value is None:
        return f"{each.feature} ({each.share:.0%})"
    usual = ""
    if each.expected_low is not None and each.expected_high is not None:
        low, high = f"{each.expected_low:.3g}", f"{each.expected_high:.3g}"
        # A band narrower than a hundredth is one value to a person: "usually 7", not "usually 6.97 to 7.03".
        narrow = each.expected_high - each.expected_low <= 0.01 * max(1.0, abs(each.expected_high))
        usual = (
            f" (usually {(each.expected_low + each.expected_high) / 2:.3g})"
            if narrow
            else f" (usually {low} to {high})"
        )
    return f"{each.feature} {each.value:.3g}{usual}"
