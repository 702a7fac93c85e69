"""What reports have in common: figures drawn to files, and a node's scores over time. Needs matplotlib."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

PANELS: Final = 8  # nodes in a plot of scores
MS_PER_MINUTE: Final = 60_000.0
DPI: Final = 120
_LOWEST: Final = 1e-3  # score that is drawn

Draw: TypeAlias = Callable[[Any], Any]
"""Given matplotlib's class ``Figure``, makes one."""


class ReportError(RuntimeError):
    """The report cannot be made here; the message says what to install."""


def save_plots(plots: Sequence[tuple[str, Draw]], directory: Path, stem: str) -> list[Path]:
    """Draw plots to ``STEM-NAME.png``.

    Args:
        plots: name and drawing of each.
        directory: made when it is not there.
        stem: first part of the files' names.

    Raises:
        ReportError: matplotlib is not installed.
    """
    new = figure_class()
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for name, draw in plots:
        path = directory / f"{stem}-{name}.png"
        draw(new).savefig(path, dpi=DPI, metadata={"Software": None})
        files.append(path)
    return files


def score_panels(new: Any, names: Sequence[str], title: str, x_label: str) -> tuple[Any, list[Any]]:
    """Make a figure with one panel of scores a node, and return it with its axes."""
    figure = new(figsize=(11, 1.2 + 1.5 * len(names)), layout="tight")
    axes = list(figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0])
    for name, axis in zip(names, axes, strict=True):
        axis.set_yscale("log")
        axis.set_ylabel(name, fontsize=8)
    axes[-1].set_xlabel(x_label)
    axes[0].set_title(title)
    return figure, axes


def draw_scores(axis: Any, x: NDArray[np.float64], scores: NDArray[np.float64], threshold: float) -> None:
    """Draw one node's scores, float64 (n,), over ``x``, float64 (n,), with the threshold."""
    axis.plot(x, np.maximum(scores, _LOWEST), linewidth=0.7, color="tab:blue")
    axis.axhline(threshold, color="tab:red", linewidth=0.8, linestyle="--")


def figure_class() -> Any:
    """Import matplotlib's ``Figure``: drawn to files without pyplot, so that no window system is asked for.

    Raises:
        ReportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only a report needs it
    except ImportError as error:
        raise ReportError("a report needs matplotlib: pip install 'vigil-dwcp[train]'") from error
    return Figure
