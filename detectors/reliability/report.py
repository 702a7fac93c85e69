"""Plots of one comparison of reliability models. Needs matplotlib (extra ``train``)."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from detectors.evaluation.plots import Draw, save_plots

LEADS: Final = np.arange(-20.0, 32.5, 2.5)  # minutes; longer ones belong to the outer bins


def write_plots(results: Sequence[Mapping[str, Any]], directory: Path, stem: str) -> list[Path]:
    """Draw lead times, calibration and incidents by kind of the first model, ours.

    Args:
        results: of ``compare``, ours first.
        directory: made when it is not there.
        stem: first part of the files' names.

    Returns:
        The files written.

    Raises:
        ReportError: matplotlib is not installed.
    """
    plots: list[tuple[str, Draw]] = [
        ("leads", partial(_leads, result=results[0])),
        ("calibration", partial(_calibration, results=results)),
        ("kinds", partial(_kinds, result=results[0])),
    ]
    return save_plots(plots, directory, stem)


def _leads(new: Any, result: Mapping[str, Any]) -> Any:
    """Draw how long before the reported start each caught incident was first flagged."""
    figure = new(figsize=(7, 3.5), layout="tight")
    axis = figure.subplots()
    kinds = sorted(result["leads"])
    leads = [np.clip(result["leads"][kind], LEADS[0], LEADS[-1]) for kind in kinds]
    axis.hist(leads, bins=LEADS, stacked=True, label=kinds)
    axis.legend(fontsize=7)
    axis.axvline(0.0, color="tab:red", linewidth=0.8, linestyle="--")
    axis.set_xlabel("minutes from the first alarm to the reported start (right of the line: a warning)")
    axis.set_ylabel("incidents")
    axis.set_title(f"{result['file']}: {result['incidents_caught']} of {result['incidents']} incidents caught")
    return figure


def _calibration(new: Any, results: Sequence[Mapping[str, Any]]) -> Any:
    """Draw how often rows of a probability belonged to an incident; points as large as they have rows."""
    figure = new(figsize=(5.5, 5), layout="tight")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    for result in results:
        if result["baseline"] or not result["reliability"]:
            continue
        said, seen, rows = (np.array(column) for column in zip(*result["reliability"], strict=True))
        axis.plot(said, seen, linewidth=1.0, label=result["model"])
        axis.scatter(said, seen, s=6.0 * np.log1p(rows))
    axis.set(xlabel="probability", ylabel="share of rows in an incident or 30 minutes before", title=results[0]["file"])
    axis.legend(fontsize=8)
    return figure


def _kinds(new: Any, result: Mapping[str, Any]) -> Any:
    """Draw caught and missed incidents of each kind."""
    kinds = sorted(result["caught_by_kind"])
    caught, every = (
        np.array(column) for column in zip(*(result["caught_by_kind"][kind] for kind in kinds), strict=True)
    )
    figure = new(figsize=(7, 0.8 + 0.4 * len(kinds)), layout="tight")
    axis = figure.subplots()
    axis.barh(kinds, caught, color="tab:blue", label="caught")
    axis.barh(kinds, every - caught, left=caught, color="tab:orange", label="missed")
    axis.set_xlabel("incidents in the test part")
    axis.legend(fontsize=8)
    return figure
