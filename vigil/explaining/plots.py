"""An explanation as a picture. Needs matplotlib."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.evaluation.plots import DPI, figure_class
from vigil.explaining.figures import Explanation, FieldFigures, Numbers, SilenceFigures, WindowFigures

__all__ = ["draw_explanation", "picture_class"]

INCHES: Final = (11.0, 1.9)  # width of the picture, and height of a panel
HEAD_INCHES: Final = 1.1
USUAL, UNUSUAL, BAND = "tab:blue", "tab:red", "0.88"


def picture_class() -> Any:
    """Return what pictures are made with. Raises ``ReportError`` where matplotlib is not installed."""
    return figure_class()


def draw_explanation(explained: Explanation, path: Path, *, fields: int) -> None:
    """Draw the scores and the fields that made them over the window, or the node's rhythm and its silence.

    Args:
        explained: with a window or a silence.
        path: the file, made anew; PNG.
        fields: how many fields to draw.

    Raises:
        ReportError: matplotlib is not installed.
        OSError: the file cannot be written.
        ValueError: there is nothing to draw: no window, no silence.
    """
    window, silence = explained.window, explained.silence
    if window is None and silence is None:
        raise ValueError("nothing to draw: the telemetry was not replayed")
    shown = [] if window is None else window.fields[:fields]
    panels = 1 + len(shown)
    figure = picture_class()(figsize=(INCHES[0], HEAD_INCHES + INCHES[1] * panels), layout="constrained")
    axes = list(figure.subplots(panels, 1, sharex=True, squeeze=False)[:, 0])
    one = explained.anomaly
    at = datetime.fromtimestamp(one.ts_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
    figure.suptitle(
        f"{one.node_id}  {at} UTC  {one.severity}{f', {one.kind}' if one.kind else ''}  ({one.detector}, {one.id[:8]})",
        fontsize=11,
    )
    if window is not None:
        _draw_scores(axes[0], explained, window)
        for axis, field in zip(axes[1:], shown, strict=True):
            _draw_field(axis, field, window)
        axes[-1].set_xlabel("seconds from the window's newest step")
    elif silence is not None:
        _draw_silence(axes[0], silence)
    figure.savefig(path, dpi=DPI, format="png", metadata={"Software": None})


def _seconds(window: WindowFigures) -> list[float]:
    return [(at - window.ts_ms[-1]) / 1000 for at in window.ts_ms]


def _draw_scores(axis: Any, explained: Explanation, window: WindowFigures) -> None:
    scores = _floats(window.scores)
    axis.plot(_seconds(window), scores, color=USUAL, linewidth=1.0, marker=".", markersize=4)
    flagged = [bool(each) for each in window.flagged]
    _mark(axis, window, scores, flagged)
    if explained.replay.threshold is not None:
        axis.axhline(explained.replay.threshold, color=UNUSUAL, linewidth=0.9, linestyle="--", label="threshold")
    known = scores[np.isfinite(scores)]
    if len(known) and known.min() > 0 and known.max() > 30 * known.min():
        axis.set_yscale("log")
    axis.set_ylabel("score", fontsize=9)
    axis.set_title(f"by {explained.replay.model_version}; red dots are anomalies", fontsize=8, loc="left")


def _draw_field(axis: Any, field: FieldFigures, window: WindowFigures) -> None:
    x, values = _seconds(window), np.array(field.values)
    low, high = _floats(field.expected_low), _floats(field.expected_high)
    if np.isfinite(low).any():
        axis.fill_between(x, low, high, color=BAND, label="expected")
        axis.plot(x, _floats(field.usual), color="0.6", linewidth=0.8, linestyle=":")
    axis.plot(x, values, color=USUAL, linewidth=1.0, marker=".", markersize=4)
    _mark(axis, window, values, ((values < low) | (values > high)).tolist())
    axis.set_ylabel(field.name, fontsize=9)
    said = f"{field.share:.0%} of the score" + (f", {field.direction}" if field.direction else "")
    axis.set_title(said if field.share > 0 else "made none of the score", fontsize=8, loc="left")


def _draw_silence(axis: Any, silence: SilenceFigures) -> None:
    gaps = [(after - before) / 1000 for before, after in pairwise(silence.steps_ms)]
    x = [(at - silence.last_ms) / 1000 for at in silence.steps_ms[1:]]
    axis.plot(x, gaps, color=USUAL, linewidth=1.0, marker=".", markersize=4)
    until = silence.reached_ms if silence.back_ms is None else silence.back_ms
    lasted = (max(until, silence.told_ms) - silence.last_ms) / 1000
    axis.plot([0.0, lasted], [0.0, lasted], color=UNUSUAL, linewidth=1.4)
    axis.plot([lasted], [lasted], color=UNUSUAL, marker="o" if silence.back_ms is None else "s")
    axis.axhline(silence.limit_s, color=UNUSUAL, linewidth=0.9, linestyle="--")
    axis.set_xlabel("seconds from the node's last step")
    axis.set_ylabel("seconds without a step", fontsize=9)
    end = "not back" if silence.back_ms is None else "back"
    axis.set_title(f"limit {silence.limit_s:g} s; {end} after {lasted:.3g} s", fontsize=8, loc="left")


def _mark(axis: Any, window: WindowFigures, values: Any, chosen: Sequence[bool]) -> None:
    x = [at for at, each in zip(_seconds(window), chosen, strict=True) if each]
    axis.plot(x, [value for value, each in zip(values, chosen, strict=True) if each], "o", color=UNUSUAL, markersize=5)


def _floats(values: Numbers) -> Any:
    return np.array([np.nan if each is None else each for each in values], dtype=np.float64)
