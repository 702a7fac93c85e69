"""Tables of evaluations for people, and the same as plain values for programs."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

from rich.table import Table

from detectors.evaluation.events import rate_text

__all__ = ["fault_free_table", "figure_table", "generator_table", "plain_results", "reliability_table"]


class _Column(NamedTuple):
    """A figure in a table: title, key, format, and whether the largest (1) or smallest (-1) is best; 0 for neither."""

    title: str
    key: str
    form: str
    best: int


FIGURES: Final = (
    _Column("AP", "average_precision", ".3f", 1),
    _Column("VUS-PR", "vus_pr", ".3f", 1),
    _Column("ROC AUC", "roc_auc", ".3f", 1),
    _Column("precision", "precision", ".3f", 1),
    _Column("recall", "recall", ".3f", 1),
    _Column("F1", "f1", ".3f", 1),
    _Column("detection acc.", "detection_accuracy", ".3f", 1),
    _Column("events seen", "events_seen", "d", 1),
    _Column("delay s", "median_delay_s", ".2f", 0),
    _Column("p90", "p90_delay_s", ".2f", 0),
    _Column("false alarms/node-day", "false_alarms_per_node_day", ".2f", -1),
    _Column("false rows", "false_positive_rows", "d", -1),
)
RELIABILITY: Final = (
    _Column("AP", "average_precision", ".3f", 1),
    _Column("AP, unseen nodes", "average_precision_unseen", ".3f", 1),
    _Column("incidents caught", "incidents_caught", "d", 1),
    _Column("false positive rate", "false_positive_rate", ".4f", -1),
    _Column("false episodes/node-day", "false_episodes_per_node_day", ".2f", -1),
    _Column("lead min", "median_lead_minutes", ".1f", 1),
    _Column("calibration error", "expected_calibration_error", ".4f", -1),
)
GENERATOR: Final = (
    _Column("detection acc.", "detection_accuracy", ".2%", 1),
    _Column("precision", "precision", ".2%", 1),
    _Column("recall", "recall", ".2%", 1),
    _Column("false positives", "false_positive_rate", ".2%", -1),
    _Column("one bad step at 1 %, at the window's end", "one_bad_step_at_1_percent", ".2%", 1),
    _Column("... at any step", "one_bad_step_in_stream_at_1_percent", ".2%", 0),
)


def figure_table(title: str, results: Sequence[dict[str, Any]]) -> Table:
    """Make the table of one recording: our detector first, then the baselines; the best of each column is bold."""
    ours = results[0]
    caption = f"{ours['events']} events, {ours['label_0_rows']} normal test rows"
    if ours.get("interval_95") and ours["label_0_rows"]:
        caption += f"; {ours['model']}: {rate_text(ours)}"
    if ours.get("silence", {}).get("told"):
        caption += f"\n{_silence_text(ours['silence'])}"
    return _table(title, FIGURES, results, caption)


def _silence_text(silence: dict[str, Any]) -> str:
    seen = {kind: each for kind, each in silence["by_kind"].items() if each["seen"]}
    kinds = ", ".join(f"{each['seen']} of {each['faults']} {kind}" for kind, each in seen.items())
    delay = "" if silence["median_delay_s"] is None else f", {silence['median_delay_s']:.2f} s after their start"
    false = "" if silence["false"] is None else f"; {silence['false']} false"
    return f"besides, {silence['told']} silences told: {kinds or 'no fault'}{delay}{false}"


def reliability_table(title: str, results: Sequence[dict[str, Any]]) -> Table:
    """Make the table of the reliability models of one recording."""
    incidents = results[0]["incidents"] if results else 0
    return _table(title, RELIABILITY, results, f"{incidents} incidents in the test part")


def generator_table(results: Sequence[dict[str, Any]]) -> Table:
    """Make the table of the reference generator."""
    return _table("reference generator", GENERATOR, results, "the last rules are one line each")


def fault_free_table(result: dict[str, Any]) -> Table:
    """Make the table of false alarms in a simulated fleet without a fault."""
    first, seen = result["first_hour"], result["first_verdict_after_steps"]
    most = result["most_false_alarms_of_a_node"]
    caption = (
        f"{result['nodes']} new nodes for {result['days']:g} days; {result['nodes_without_false_alarm']} nodes without "
        f"a false alarm, at most {most} of one node; first verdict after {seen['least']}"
        f"{'' if seen['least'] == seen['most'] else '-' + str(seen['most'])} steps"
    )
    asked = result["asked_false_alarms_per_node_day"]
    if asked is not None:
        caption = f"asked for {asked:g} a node-day; {caption}"
    table = Table(title=f"{result['model_version']} without a fault", caption=caption)
    table.add_column("", no_wrap=True)
    for title in ("false alarms", "node-days", "a node-day", "times what was asked", "times the usual"):
        table.add_column(title, justify="right")
    table.add_row("all", *_rate_cells(result), style="bold")
    for name, rate in result["by_severity"].items():
        table.add_row(name, *_rate_cells(rate), style="dim")
    for rate in result["by_period"]:
        table.add_row(f"{rate['period']} {rate['number']}", *_rate_cells(rate))
    table.add_row("first hour of each node", *_rate_cells(first))
    return table


def plain_results(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return results with ``None`` for figures that are not defined, as JSON has no NaN."""
    return [
        {key: None if isinstance(value, float) and not isfinite(value) else value for key, value in result.items()}
        for result in results
    ]


def _rate_cells(rate: dict[str, Any]) -> list[str]:
    """Return the cells of a line of ``fault_free_table``."""
    forms = (
        ("false_alarms", "d"),
        ("node_days", ".2f"),
        ("false_alarms_per_node_day", ".2f"),
        ("times_asked", ".2f"),
        ("times_usual", ".2f"),
    )
    return [format(rate[key], form) if _is_known(rate.get(key)) else "-" for key, form in forms]


def _table(title: str, columns: Sequence[_Column], results: Sequence[dict[str, Any]], caption: str) -> Table:
    table = Table(title=title, caption=caption)
    table.add_column("model", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right")
    best = {column.key: _best(column, results) for column in columns if column.best}
    for result in results:
        style = "dim" if result["baseline"] else ""
        cells = [_cell(column, result.get(column.key), best.get(column.key)) for column in columns]
        table.add_row(result["model"], *cells, style=style)
    return table


def _best(column: _Column, results: Sequence[dict[str, Any]]) -> float | None:
    known = [result[column.key] for result in results if _is_known(result.get(column.key))]
    if not known:
        return None
    return float(max(known) if column.best > 0 else min(known))


def _is_known(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _cell(column: _Column, value: Any, best: float | None) -> str:
    if not _is_known(value):
        return "-"
    text = format(value, column.form)
    return f"[bold]{text}[/bold]" if best is not None and value == best else text
