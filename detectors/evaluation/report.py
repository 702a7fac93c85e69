"""A report of one evaluation as files: four plots and a page of figures. Needs matplotlib (extra ``train``)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.events import rate_text
from detectors.evaluation.metrics import precision_recall_curve
from detectors.evaluation.plots import MS_PER_MINUTE, PANELS, Draw, draw_scores, save_plots, score_panels
from detectors.evaluation.run import Recording, Scored, event_delays, flagged_rows, ranked
from detectors.evaluation.vus import runs
from schemas.outputs import Contribution

CURVES: Final = 4  # models in the precision-recall plot: the detector, and the best baselines
TOP_FEATURES: Final = 12


def write_report(
    recording: Recording,
    scored: Sequence[Scored],
    results: Sequence[Mapping[str, Any]],
    explained: Sequence[Sequence[Contribution]],
    directory: Path,
) -> list[Path]:
    """Write ``STEM.md`` and its plots.

    Args:
        recording: what was measured on.
        scored: the detector's scores, then the baselines'.
        results: their figures in the same order.
        explained: contributions to the detector's alarms in the test part.
        directory: made when it is not there.

    Returns:
        The files written, the page first.

    Raises:
        ReportError: matplotlib is not installed.
    """
    stem = f"{recording.name.split('.')[0]}-{scored[0].model}"
    plots: list[tuple[str, Draw]] = [
        ("scores", lambda new: _scores(new, recording, scored[0])),
        ("delays", lambda new: _delays(new, recording, scored[0])),
        ("precision-recall", lambda new: _precision_recall(new, recording, scored, results)),
        ("contributions", lambda new: _contributions(new, explained)),
    ]
    files = save_plots(plots, directory, stem)
    page = directory / f"{stem}.md"
    page.write_text(_page(recording, results, files), encoding="utf-8")
    return [page, *files]


def _scores(new: Any, recording: Recording, scored: Scored) -> Any:
    """Draw each node's score over time, with the threshold, and faults shaded."""
    columns, nodes = recording.columns, np.unique(recording.nodes[recording.test]).tolist()[:PANELS]
    origin = int(columns.ts_ms[recording.test].min())
    parts = [recording.test & (recording.nodes == node) for node in nodes]
    figure, axes = score_panels(
        new,
        [str(columns.node_ids[rows][0]) for rows in parts],
        f"{recording.name}: score of {scored.model} (blue), threshold (dashed), faults (shaded)",
        "minutes of the test part",
    )
    for rows, axis in zip(parts, axes, strict=True):
        minutes = (columns.ts_ms[rows] - origin) / MS_PER_MINUTE
        draw_scores(axis, minutes, scored.scores[rows], float(scored.thresholds[rows][0]))
        for start, end in _shaded(recording, rows):
            span = ((start - origin) / MS_PER_MINUTE, (end - origin) / MS_PER_MINUTE)
            axis.axvspan(*span, color="tab:orange", alpha=0.25, lw=0)
    return figure


def _shaded(recording: Recording, rows: NDArray[np.bool_]) -> list[tuple[int, int]]:
    times = recording.columns.ts_ms[rows]
    if recording.faults:
        cluster = str(recording.columns.clusters[rows][0])
        mine = [fault for fault in recording.faults if fault.cluster in {"", cluster}]
        return [(fault.start_ms, fault.end_ms) for fault in mine if fault.end_ms >= times.min()]
    starts, ends = runs(recording.label[rows] == 1)
    return [(int(times[a]), int(times[b]) + recording.step_ms) for a, b in zip(starts, ends, strict=True)]


def _delays(new: Any, recording: Recording, scored: Scored) -> Any:
    """Draw how long after its start each event was first flagged."""
    delays = event_delays(recording, flagged_rows(scored))
    seen = [delay for delay in delays if delay is not None]
    figure = new(figsize=(7, 3.5), layout="tight")
    axis = figure.subplots()
    axis.hist(seen, bins=20, color="tab:blue")
    axis.set_xlabel("seconds from the start of the event to its first alarm")
    axis.set_ylabel("events")
    axis.set_title(f"{recording.name}: {len(seen)} of {len(delays)} events seen by {scored.model}")
    return figure


def _precision_recall(
    new: Any, recording: Recording, scored: Sequence[Scored], results: Sequence[Mapping[str, Any]]
) -> Any:
    """Draw precision against recall of the detector and the best baselines, over the rows of all nodes."""
    rows = recording.test & (recording.label >= 0)
    positive = recording.label[rows] == 1
    best = sorted(range(1, len(scored)), key=lambda place: -_number(results[place]["average_precision"]))
    figure = new(figsize=(6, 4.5), layout="tight")
    axis = figure.subplots()
    for place in [0, *best[: CURVES - 1]]:
        each = scored[place]
        # Thresholds of one model may differ between nodes; in units of the threshold their scores are comparable.
        precision, recall = precision_recall_curve(positive, ranked(each.scores / each.thresholds)[rows])
        axis.plot(recall, precision, label=each.model, linewidth=1.8 if place == 0 else 1.0)
    axis.axhline(float(np.mean(positive)), color="grey", linewidth=0.8, linestyle=":", label="random")
    axis.set(xlabel="recall of rows", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=recording.name)
    axis.legend(fontsize=8, loc="lower left")
    return figure


def _contributions(new: Any, explained: Sequence[Sequence[Contribution]]) -> Any:
    """Draw the mean share of each feature in the alarms of the test part."""
    shares: dict[str, float] = defaultdict(float)
    for reasons in explained:
        for reason in reasons:
            shares[reason.feature] += reason.share / len(explained)
    top = sorted(shares.items(), key=lambda item: item[1])[-TOP_FEATURES:]
    figure = new(figsize=(7, 1.2 + 0.28 * max(len(top), 1)), layout="tight")
    axis = figure.subplots()
    axis.barh([name for name, _ in top], [value for _, value in top], color="tab:blue")
    axis.set_xlabel(f"mean share in {len(explained)} alarms")
    axis.set_title("what the alarms rest on")
    return figure


_PAGE_COLUMNS: Final = (
    ("AP", "average_precision", ".3f"),
    ("VUS-PR", "vus_pr", ".3f"),
    ("ROC AUC", "roc_auc", ".3f"),
    ("F1", "f1", ".3f"),
    ("detection accuracy", "detection_accuracy", ".3f"),
    ("events seen", "events_seen", "d"),
    ("median delay, s", "median_delay_s", ".2f"),
    ("p90", "p90_delay_s", ".2f"),
    ("false alarms a node-day", "false_alarms_per_node_day", ".2f"),
    ("false rows", "false_positive_rows", "d"),
)


def _page(recording: Recording, results: Sequence[Mapping[str, Any]], plots: Sequence[Path]) -> str:
    first = results[0]
    achieved = f"; {rate_text(first)}." if first.get("interval_95") and first["label_0_rows"] else "."
    made = "Fitted on the train part" if first["fit"] else f"Artefact {first['model_version']}"
    lines = [
        f"# {first['model']} on {recording.name}",
        "",
        f"{made}; {first['events']} events and {first['label_0_rows']} normal rows in the test part{achieved}",
        "",
        "| model | " + " | ".join(title for title, _, _ in _PAGE_COLUMNS) + " |",
        "|---|" + "---|" * len(_PAGE_COLUMNS),
        *(
            f"| {result['model']} | " + " | ".join(_text(result[key], form) for _, key, form in _PAGE_COLUMNS) + " |"
            for result in results
        ),
        "",
        *(f"![{path.stem}]({path.name})" for path in plots),
    ]
    return "\n".join(lines) + "\n"


def _text(value: float, form: str) -> str:
    return format(value, form) if isfinite(value) else "-"


def _number(value: float) -> float:
    return value if isfinite(value) else -1.0
