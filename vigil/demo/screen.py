"""How the demo looks: live while it runs, a table at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schemas.outputs import Anomaly
from vigil.cli.anomalies import anomaly_table, plain_anomaly
from vigil.demo.results import DemoReport, Found

__all__ = ["Moment", "final_table", "live_view"]

BAR_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Moment:
    """What is known at one moment.

    Attributes:
        phase: what is going on, in words.
        records: processed by the worker.
        total: that will be sent.
        per_second: records processed a second, now.
        nodes: that report.
        dead_letters: seen so far.
        anomalies: seen so far.
        newest: the newest anomalies, newest first.
        faults: those injected so far, with whether they were seen.
    """

    phase: str
    records: int
    total: int
    per_second: float
    nodes: int
    dead_letters: int
    anomalies: int
    newest: Sequence[Anomaly]
    faults: Sequence[Found]


def live_view(moment: Moment, rows: int) -> RenderableType:
    """Lay out a moment.

    Args:
        moment: what is known.
        rows: how many anomalies to show.
    """
    head = Table.grid(padding=(0, 2))
    head.add_row(
        Text(moment.phase, "bold"),
        ProgressBar(total=max(1, moment.total), completed=moment.records, width=BAR_WIDTH),
        f"{moment.records:,} of {moment.total:,} records",
        f"{moment.per_second:,.0f}/s",
    )
    counts = f"{moment.nodes} nodes   {moment.anomalies} anomalous windows   {moment.dead_letters} dead letters"
    # A node's newest only: a fault flags every step of every member, which would crowd out all others.
    by_node: dict[str, Anomaly] = {}
    for one in moment.newest:
        by_node.setdefault(one.node_id, one)
    table = anomaly_table([plain_anomaly(one, reasons=1) for one in list(by_node.values())[:rows]])
    shown = table if moment.newest else Text("nothing unusual yet", "dim")
    return Group(
        head,
        Text(counts, "dim"),
        Panel(shown, title="newest anomalies", title_align="left", border_style="dim"),
        Panel(_faults(moment.faults), title="injected faults", title_align="left", border_style="dim"),
    )


def _faults(faults: Sequence[Found]) -> RenderableType:
    if not faults:
        return Text("none yet: the worker learns what is usual", "dim")
    return Columns([_fault(one) for one in faults], padding=(0, 3))


def _fault(found: Found) -> Text:
    where = found.cluster if found.target in {"cluster", found.cluster} else found.target
    text = Text.assemble((f"{_clock(found.start_ms)} ", "dim"), f"{found.kind} ", (where, "cyan"), " ")
    if found.delay_s is None:
        return text.append("...", "yellow")
    return text.append(_delay(found.delay_s), "green")


def final_table(report: DemoReport) -> RenderableType:
    """Lay out the report."""
    names = list(report.streams)
    table = Table("", *names, title="What was injected, and what was found", title_justify="left", header_style="bold")
    streams = [report.streams[name] for name in names]
    table.add_row("faults injected", *(str(one.faults_injected) for one in streams))
    table.add_row("faults seen", *(_seen(one.faults_seen, one.faults_injected) for one in streams))
    table.add_row("delay, median (event time)", *(_delay_text(one.median_delay_s) for one in streams))
    table.add_row("false alarms per node-hour", *(f"{one.false_alarms_per_node_hour:.2f}" for one in streams))
    table.add_row("anomalous windows", *(f"{one.anomalies:,}" for one in streams))
    table.add_row("of those outside faults", *(f"{one.anomalies_outside:,}" for one in streams))
    table.add_row("node-hours watched", *(f"{one.node_hours:.1f}" for one in streams))
    plumbing = Table.grid(padding=(0, 2))
    plumbing.add_row("records", f"{report.records:,}", "in and out of Kafka, exactly once")
    plumbing.add_row("records/s", f"{report.records_per_second:,.0f}", "one worker catching up with the history")
    plumbing.add_row("dead letters", f"{report.dead_letters}", f"of {report.dead_letters_expected} broken records sent")
    plumbing.add_row("time", f"{report.seconds:.0f} s", "from start to this table")
    return Group(table, plumbing)


def _clock(ts_ms: int) -> str:
    return datetime.fromtimestamp(ts_ms / 1000, tz=UTC).strftime("%H:%M:%S")


def _delay(seconds: float) -> str:
    if seconds < 0:
        return f"foreseen {_span(-seconds)} ahead"
    return f"seen after {_span(seconds)}"


def _span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _delay_text(seconds: float | None) -> str:
    if seconds is None:
        return "not seen"
    return _span(seconds) if seconds >= 0 else f"{_span(-seconds)} ahead"


def _seen(seen: int, injected: int) -> str:
    return f"[green]{seen}[/green]" if seen == injected else f"[red]{seen}[/red]"
