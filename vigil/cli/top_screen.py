"""How `vigil top` looks, in as much room as there is."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.fleet import SEVERITIES, SILENCE, Fleet, NodeState, WorkerCounters
from vigil.cli.alert_tables import DescribedAlert
from vigil.cli.anomalies import STYLES, reason

__all__ = ["fleet_screen"]

MEDIUM, BROAD = 90, 130  # columns from which more is shown
REASONS: Final = 2
LEAST_NODES: Final = 3
STALE_MS: Final = 15_000
HEAD_LINES: Final = 4
Column = tuple[str, str]


def fleet_screen(
    fleet: Fleet, alerts: Sequence[DescribedAlert], *, width: int, height: int | None, away: str = ""
) -> RenderableType:
    """Lay out a look at the fleet.

    Args:
        fleet: what Redis says.
        alerts: open ones, the oldest first.
        width: columns there are; narrow screens show fewer facts.
        height: lines there are; ``None`` for as many as it takes.
        away: why Redis does not answer; what is shown is old then.
    """
    parts: list[RenderableType] = [*_head(fleet, alerts)]
    if away:
        parts.append(Text(away, "bold red", overflow="fold"))
    alert_rows, node_rows = list(alerts), list(fleet.worst)
    if height is not None:
        left = height - HEAD_LINES - len(fleet.workers) - 6 - bool(away)
        alert_rows = alert_rows[: max(1, left - LEAST_NODES)]
        node_rows = node_rows[: max(LEAST_NODES, left - len(alert_rows))]
    parts += [Text(), _nodes(node_rows, width), Text()]
    if alert_rows:
        parts += [_alerts(alert_rows, width), Text()]
    parts.append(_workers(fleet.workers, fleet.read_ms))
    return Group(*parts)


def _head(fleet: Fleet, alerts: Sequence[DescribedAlert]) -> list[Text]:
    nodes = max(fleet.nodes.values(), default=0)
    health = Text.assemble((f"{nodes:,} nodes", "bold"))
    for severity in SEVERITIES:
        count = fleet.active.get(severity, 0)
        health.append(f"   {count:,} {severity}", STYLES[severity] if count else "dim")
    health.append(f"   {fleet.silent:,} silent", "bold red" if fleet.silent else "dim")
    health.append(f"   {len(alerts):,} open alert{'' if len(alerts) == 1 else 's'}", "bold" if alerts else "dim")
    rate = sum(_rate(one, fleet.read_ms) for one in fleet.workers)
    lag, letters = (sum(getattr(one, name) for one in fleet.workers) for name in ("lag", "dead_letters"))
    newest = f"newest step {_time(fleet.newest_ms)}" if fleet.newest_ms else "no verdict yet"
    words = (
        f"{rate:,.0f} records/s   lag {lag:,}   {letters:,} dead letters   {newest}   now {_time(fleet.read_ms)} UTC"
    )
    return [health, Text(words, "dim")]


def _nodes(nodes: Sequence[NodeState], width: int) -> RenderableType:
    if not nodes:
        return Text("no node has a verdict: is a worker running, and does telemetry come?", "yellow")
    table = _table()
    table.add_column("worst nodes", no_wrap=True, overflow="ellipsis", max_width=max(12, width // 4))
    table.add_column("", no_wrap=True)
    table.add_column("score", no_wrap=True, justify="right")
    more = _more(width)
    for title in more:
        table.add_column(title, no_wrap=True, overflow="ellipsis", max_width=max(10, width // 8))
    table.add_column("what is wrong", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in nodes:
        facts = {
            "cluster": one.cluster,
            "region": one.region,
            "detector": one.detector,
            "anomaly": one.anomaly.id[:8] if one.anomaly is not None and one.severity else "",
        }
        style = STYLES.get(one.severity, "")
        cells = [Text(facts[name]) for name in more]
        table.add_row(Text(one.node), Text(one.severity, style), f"{one.ratio:.1f} x", *cells, _wrong(one))
    return table


def _more(width: int) -> tuple[str, ...]:
    if width >= BROAD:
        return "cluster", "region", "detector", "anomaly"
    return ("cluster", "anomaly") if width >= MEDIUM else ()


def _wrong(one: NodeState) -> Text:
    anomaly = one.anomaly
    if not one.severity:
        return Text("" if anomaly is None else f"normal; was {anomaly.severity} at {_time(anomaly.ts_ms)}", "dim")
    if one.detector == SILENCE:
        return Text(f"reports nothing, said at {_time(one.ts_ms)}")
    if anomaly is None:
        return Text("")
    kind = f"{anomaly.kind.replace('_', ' ')}: " if anomaly.kind else ""
    return Text(kind + reason(anomaly.contributions[:REASONS]))


def _alerts(alerts: Sequence[DescribedAlert], width: int) -> Table:
    table = _table()
    table.add_column("open alerts", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("since", no_wrap=True)
    table.add_column("summary", no_wrap=True, overflow="ellipsis", ratio=1)
    if width >= MEDIUM:
        table.add_column("people", no_wrap=True)
    for row in alerts:
        one = row.alert
        people = [Text(_people(row))] if width >= MEDIUM else []
        severity = Text(one.severity, STYLES.get(one.severity, ""))
        table.add_row(one.fingerprint[:8], severity, _time(one.started_ms), Text(one.summary), *people)
    return table


def _people(row: DescribedAlert) -> str:
    said = [f"ack {row.acknowledged['by']}"] if row.acknowledged is not None else []
    return ", ".join([*said, *(["silenced"] if row.silenced is not None else [])])


def _workers(workers: Sequence[WorkerCounters], now_ms: int) -> RenderableType:
    if not workers:
        return Text("no worker has written here", "yellow")
    table = _table()
    table.add_column("workers", no_wrap=True, overflow="ellipsis", ratio=1)
    for title in ("records/s", "lag", "nodes", "partitions", "wrote"):
        table.add_column(title, no_wrap=True, justify="right")
    for one in workers:
        age_ms = max(0, now_ms - one.updated_ms)
        table.add_row(
            Text(one.name),
            f"{_rate(one, now_ms):,.0f}",
            f"{one.lag:,}",
            f"{one.nodes:,}",
            str(one.partitions),
            Text(f"{age_ms / 1000:,.0f} s ago", "yellow" if age_ms > STALE_MS else ""),
        )
    return table


def _rate(one: WorkerCounters, now_ms: int) -> float:
    """Return records a second; a worker that wrote nothing for long had none to work on."""
    return one.records_per_second if now_ms - one.updated_ms <= STALE_MS else 0.0


def _table() -> Table:
    return Table(box=None, header_style="bold", pad_edge=False, expand=True)


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%H:%M:%S")
