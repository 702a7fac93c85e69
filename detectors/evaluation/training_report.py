"""A report of one fit as files: four plots and a page of figures. Needs matplotlib (extra ``train``)."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.consensus.bursts import STAYING, SUDDEN, SUSTAINED
from detectors.consensus.detector import ConsensusDetector
from detectors.evaluation.events import QUIET_STEPS
from detectors.evaluation.held_out import HELD_OUT, Course, held_out_text
from detectors.evaluation.plots import MS_PER_MINUTE, PANELS, Draw, draw_scores, save_plots, score_panels
from detectors.thresholds import MS_PER_DAY, episode_peaks

LEVELS: Final = 60  # at which exceedances are counted
NAMED: Final = 10  # features with a colour in the plot of baselines: those that move most
MOST_FEATURES: Final = 60  # in the plot of scales
Floats = NDArray[np.float64]


def write_training_report(
    detector: ConsensusDetector, tried: ConsensusDetector, course: Course, directory: Path
) -> list[Path]:
    """Write ``training.md`` and its plots.

    Args:
        detector: what was trained, written to its artefact already.
        tried: the detector whose course it is, fitted on the steps before the cut.
        course: how it went over all steps.
        directory: made when it is not there.

    Returns:
        The files written, the page first.

    Raises:
        ReportError: matplotlib is not installed.
    """
    plots: list[tuple[str, Draw]] = [
        ("exceedance", lambda new: _exceedance(new, tried, course)),
        ("scores", lambda new: _scores(new, tried, course)),
        ("baselines", lambda new: _baselines(new, tried, course)),
        ("scales", lambda new: _scales(new, tried, course)),
    ]
    files = save_plots(plots, directory, "training")
    page = directory / "training.md"
    page.write_text(_page(detector, files), encoding="utf-8")
    return [page, *files]


def exceedances(
    course: Course, values: Floats, chosen: NDArray[np.bool_], levels: Floats, step_ms: int
) -> NDArray[np.float64]:
    """Return how many episodes a node-day pass each level.

    Args:
        course: whose nodes they are.
        values: float64 (n,), scores or readings of its steps, NaN without a verdict.
        chosen: bool (n,), the steps to look at.
        levels: float64 (k,).
        step_ms: nominal milliseconds between a node's steps.

    Returns:
        float64 (k,).
    """
    rows = chosen & np.isfinite(values)
    order = np.flatnonzero(rows)[np.argsort(course.node[rows], kind="stable")]
    bounds = np.flatnonzero(np.diff(course.node[order])) + 1
    parts = np.split(values[order], bounds)
    counts = [sum(len(episode_peaks(part, float(level), QUIET_STEPS)) for part in parts) for level in levels]
    return np.asarray(counts, dtype=np.float64) / (max(len(order), 1) * step_ms / MS_PER_DAY)


def _tails(detector: ConsensusDetector) -> list[tuple[str, int, dict[str, Any]]]:
    """Return the readings that have a threshold: name, column and tail of each."""
    fit = detector.metadata.threshold.fit
    return [("sustained", SUSTAINED, fit), ("sudden", SUDDEN, fit["sudden"]), ("lasting", STAYING, fit["lasting"])]


def _exceedance(new: Any, tried: ConsensusDetector, course: Course) -> Any:
    """Draw how often each reading passes each level, what its tail says, and where threshold and asked rate cross."""
    step_ms = int(tried.metadata.training["step_ms"])
    tails = _tails(tried)
    figure = new(figsize=(16, 5), layout="tight")
    for axis, (name, column, tail) in zip(figure.subplots(1, len(tails), sharey=True), tails, strict=True):
        values = course.readings[:, column]
        highest = max(float(np.max(values, initial=1.0, where=np.isfinite(values))), 1.5 * tail["threshold"])
        levels = np.geomspace(min(1.0, tail["tail_start"]), highest, LEVELS)
        for chosen, label, colour in (
            (~course.later, "fitted on", "tab:blue"),
            (course.later, "held out", "tab:orange"),
        ):
            if chosen.any():
                rate = exceedances(course, values, chosen, levels, step_ms)
                axis.plot(levels[rate > 0], rate[rate > 0], color=colour, label=label, drawstyle="steps-post")
        beyond = levels[levels >= tail["tail_start"]]
        expected = tail["peaks"] / tail["node_days"] * (beyond / tail["tail_start"]) ** -tail["tail_index"]
        axis.plot(beyond, expected, color="black", linewidth=1.0, label=f"fitted tail, index {tail['tail_index']:.1f}")
        axis.axvline(tail["threshold"], color="tab:red", linestyle="--", linewidth=0.9, label="threshold")
        axis.axhline(tail["asked"], color="grey", linestyle=":", linewidth=0.9, label="asked of it")
        axis.set(
            xscale="log", yscale="log", xlabel=f"{name} reading", title=f"{name}: how often normal telemetry passes"
        )
        axis.legend(fontsize=8)
    figure.axes[0].set_ylabel("episodes above it, a node-day")
    return figure


def _scores(new: Any, tried: ConsensusDetector, course: Course) -> Any:
    """Draw nodes' scores over time with the threshold; what was held out is shaded."""
    order = np.argsort(-np.bincount(course.node[course.later], minlength=len(course.names)), kind="stable")
    nodes = np.sort(order[:PANELS]).tolist()
    figure, axes = score_panels(
        new,
        [course.names[node] for node in nodes],
        "score (blue), threshold (dashed), held out (shaded)",
        "minutes of the recording",
    )
    for node, axis in zip(nodes, axes, strict=True):
        rows = course.node == node
        draw_scores(axis, _minutes(course, course.ts_ms[rows]), course.scores[rows], tried.threshold)
        _shade(axis, course)
    return figure


def _baselines(new: Any, tried: ConsensusDetector, course: Course) -> Any:
    """Draw how far the baselines moved, feature by feature."""
    figure = new(figsize=(9, 4.5), layout="tight")
    axis = figure.subplots()
    names = _features(tried)
    for rank, place in enumerate(np.argsort(-np.abs(course.drift).max(axis=0, initial=0.0), kind="stable").tolist()):
        named: dict[str, Any] = {"label": names[place]} if rank < NAMED else {"color": "lightgrey", "zorder": 0}
        axis.plot(_minutes(course, course.moments_ms), course.drift[:, place], linewidth=1.0, **named)
    _shade(axis, course)
    axis.set(xlabel="minutes of the recording", ylabel="moved since the first verdict, scales")
    axis.set_title(f"baselines, median of {len(course.scales)} nodes")
    axis.legend(fontsize=7, ncols=2)
    return figure


def _scales(new: Any, tried: ConsensusDetector, course: Course) -> Any:
    """Draw the scale of each feature, and how far it strays on each node."""
    fleet = tried.model.rule.scale
    shown = np.argsort(-fleet, kind="stable")[:MOST_FEATURES][::-1]
    features = _features(tried)
    names = [features[place] + ("" if tried.model.log[place] else " (linear)") for place in shown.tolist()]
    figure = new(figsize=(8, 1.4 + 0.26 * len(shown)), layout="tight")
    axis = figure.subplots()
    places = np.arange(len(shown))
    for own in course.scales:
        moves = own[shown] > 0.0
        axis.plot(own[shown][moves], places[moves], ".", color="tab:blue", markersize=4, alpha=0.4)
    axis.plot(fleet[shown], places, "|", color="black", markersize=12, markeredgewidth=2)
    axis.set(xscale="log", xlabel="usual deviation from the baseline; of log(1 + value) unless linear")
    axis.set_yticks(places, names, fontsize=8)
    axis.set_title(f"scales (bars), deviations of {len(course.scales)} nodes (dots)")
    return figure


def _minutes(course: Course, ts_ms: NDArray[np.int64]) -> Floats:
    return np.asarray((ts_ms - course.ts_ms.min()) / MS_PER_MINUTE, dtype=np.float64)


def _shade(axis: Any, course: Course) -> None:
    if course.later.any():
        begin, end = _minutes(course, np.array([course.ts_ms[course.later].min(), course.ts_ms.max()])).tolist()
        axis.axvspan(begin, end, color="tab:orange", alpha=0.15, lw=0)


def _features(detector: ConsensusDetector) -> list[str]:
    return [detector.fields[int(column)] for column in detector.model.columns]


def _page(detector: ConsensusDetector, plots: list[Path]) -> str:
    metadata = detector.metadata
    training, libraries = metadata.training, metadata.versions
    facts = {
        "trained on": f"{training['steps']} steps of {training['nodes']} nodes, every {training['step_ms']} ms",
        "data": f"SHA-256 {training['data_sha256']}",
        "features": ", ".join(_features(detector)),
        "threshold": f"{detector.threshold:.4g}, for {training['false_alarms_per_node_day']:g} false alarms a node-day",
        "threshold's fit": metadata.threshold.method,
        **{f"{name} readings": _tail_text(tail) for name, _, tail in _tails(detector)},
        "warning, critical": " and ".join(f"above {level:.4g}" for level in detector.levels),
        "held out": held_out_text(metadata.metrics[HELD_OUT]),
        "libraries": ", ".join(f"{name} {version}" for name, version in libraries.items()),
    }
    lines = [
        f"# {detector.version}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in facts.items()),
        "",
        *(f"![{path.stem}]({path.name})" for path in plots),
    ]
    return "\n".join(lines) + "\n"


def _tail_text(tail: dict[str, Any]) -> str:
    return (
        f"above {tail['threshold']:.4g} for {tail['asked']:g} a node-day: tail index {tail['tail_index']:.3g} from "
        f"{tail['peaks']} peaks above {tail['tail_start']:.3g} in {tail['node_days']:.3g} node-days"
    )
