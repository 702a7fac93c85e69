"""Measure a detector and the baselines on one labelled recording.

What is measured are the test rows: those of split "test", or all that are not "train", or all of a file without splits.
Rows labelled null do not count. Rows without a verdict (a window not yet complete) get the lowest score.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.evaluation.baselines import Table, baselines, threshold
from detectors.evaluation.events import Fault, Rows, delays_of_faults, delays_of_runs, false_alarms
from detectors.evaluation.metrics import at_threshold, average_precision, mean, rate_interval, roc_auc, share
from detectors.evaluation.vus import vus_pr
from features.recordings import Columns

Floats = NDArray[np.float64]
PER_ROW: Final = ("precision", "recall", "f1", "detection_accuracy", "false_positive_rate")


class EvaluationError(ValueError):
    """The recording cannot be measured on: no labels, or no test rows."""


@dataclass(frozen=True)
class Recording:
    """A labelled recording, sorted by node and then by time.

    Attributes:
        name: of the file.
        columns: its rows.
        nodes: int64 (n,), a number a node.
        used: places in ``columns.fields`` of the columns that are measured; codes do not belong.
        log: whether they are taken on a log1p scale.
        step_ms: nominal time between two rows of a node.
        pooled: whether rows of all nodes are measured as one set, because they tell of one cluster's faults. Otherwise
            each node has labels of its own; figures are then means over the nodes, and baselines are fitted a node.
        faults: of the clusters; empty when they are not known.
    """

    name: str
    columns: Columns
    nodes: NDArray[np.int64]
    used: tuple[int, ...]
    log: bool
    step_ms: int
    pooled: bool
    faults: tuple[Fault, ...] = ()

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """Rows without a gap, bool (n,): only those can be scored."""
        return np.asarray(np.isfinite(self.columns.values).all(axis=1), dtype=np.bool_)

    @cached_property
    def label(self) -> NDArray[np.int8]:
        """Labels, int8 (n,)."""
        if self.columns.label is None:
            raise EvaluationError(f"{self.name} has no column label: nothing to measure against")
        return self.columns.label

    @cached_property
    def test(self) -> NDArray[np.bool_]:
        """Rows to measure on, bool (n,)."""
        split = self.columns.split
        if split is None:
            return np.ones(len(self.columns), dtype=np.bool_)
        return np.asarray(split == "test" if (split == "test").any() else split != "train", dtype=np.bool_)

    @cached_property
    def train(self) -> NDArray[np.bool_]:
        """Rows to fit on, bool (n,): of split "train", not labelled anomalous, without a gap."""
        split = self.columns.split
        inside = np.zeros(len(self.columns), dtype=np.bool_) if split is None else split == "train"
        return np.asarray(inside & (self.label != 1) & self.finite, dtype=np.bool_)

    def groups(self) -> Iterator[NDArray[np.bool_]]:
        """Yield the sets of rows that figures are made of, bool (n,): all at once, or a node at a time."""
        if self.pooled:
            yield np.ones(len(self.columns), dtype=np.bool_)
            return
        for node in np.unique(self.nodes).tolist():
            yield self.nodes == node


@dataclass(frozen=True, slots=True)
class Scored:
    """What one model said of a recording.

    Attributes:
        model: its name.
        scores: float64 (n,), NaN without a verdict.
        thresholds: float64 (n,), that of each row.
        about: further entries of its result.
        flagged: bool (n,), which rows are anomalous; those whose score is above their threshold when ``None``.
    """

    model: str
    scores: Floats
    thresholds: Floats
    about: Mapping[str, Any]
    flagged: NDArray[np.bool_] | None = None


def sort_recording(columns: Columns) -> tuple[Columns, NDArray[np.int64]]:
    """Return the rows by node and then by time, and the number of each row's node, int64 (n,)."""
    nodes = np.unique(columns.node_ids, return_inverse=True)[1]
    order = np.lexsort((columns.ts_ms, nodes))
    return (
        Columns(
            fields=columns.fields,
            node_ids=columns.node_ids[order],
            ts_ms=columns.ts_ms[order],
            values=columns.values[order],
            split=None if columns.split is None else columns.split[order],
            label=None if columns.label is None else columns.label[order],
            clusters=columns.clusters[order],
        ),
        nodes[order].astype(np.int64),
    )


def score_baselines(recording: Recording, on_model: Callable[[str], None] | None = None) -> Iterator[Scored]:
    """Fit and score every baseline; none when the recording has no training rows.

    Args:
        recording: whose train part they are fitted on.
        on_model: called with the name of the baseline that comes next.
    """
    if not recording.train.any():
        return
    values = recording.columns.values[:, list(recording.used)]
    fields = tuple(recording.columns.fields[place] for place in recording.used)
    if recording.log:
        values = np.log1p(np.maximum(values, 0.0))
    about = {"baseline": True, "fit": True}
    for name, scorer in baselines(fields):
        if on_model is not None:
            on_model(name)
        scores, thresholds = np.full(len(values), np.nan), np.full(len(values), np.nan)
        for group in recording.groups():
            rows = group & recording.finite
            train = recording.train[rows]
            if np.count_nonzero(train) < 2:
                continue
            found = scorer(Table(fields, values[rows], train, recording.nodes[rows]))
            scores[rows], thresholds[rows] = found, threshold(found, train)
        yield Scored(name, scores, thresholds, about)


def measure(recording: Recording, scored: Scored) -> dict[str, Any]:
    """Return one entry of the results: the figures of one model on one recording's test rows.

    Raises:
        EvaluationError: the recording has no labels or no labelled test rows.
    """
    counted = recording.test & (recording.label >= 0)
    if not counted.any():
        raise EvaluationError(f"{recording.name} has no labelled test rows: nothing to measure")
    scores = ranked(scored.scores)
    flagged = flagged_rows(scored)
    figures: dict[str, list[float]] = {"average_precision": [], "roc_auc": [], **{name: [] for name in PER_ROW}}
    for group in recording.groups():
        rows = group & counted
        positive = recording.label[rows] == 1
        figures["average_precision"].append(average_precision(positive, scores[rows]))
        figures["roc_auc"].append(roc_auc(positive, scores[rows]))
        found = at_threshold(positive, flagged[rows])
        for name in PER_ROW:
            figures[name].append(getattr(found, name))
    result = {name: mean(values) for name, values in figures.items()}
    return {
        "model": scored.model,
        "file": recording.name,
        **scored.about,
        "average_precision": result.pop("average_precision"),
        "vus_pr": _vus(recording, counted, scores),
        **result,
        **_in_time(recording, flagged, scored.about.get("asked_false_alarms_per_node_day")),
        "share_without_verdict": share(int(np.sum(np.isnan(scored.scores[counted]))), int(np.sum(counted))),
        "threshold": mean(np.unique(scored.thresholds[recording.test]).tolist()),
    }


def ranked(scores: Floats) -> Floats:
    """Return scores with those that are missing below all others, float64 (n,)."""
    known = scores[np.isfinite(scores)]
    return np.where(np.isfinite(scores), scores, known.min(initial=0.0) - 1.0)


def flagged_rows(scored: Scored) -> NDArray[np.bool_]:
    """Return which rows are anomalous, bool (n,); none without a verdict."""
    if scored.flagged is not None:
        return scored.flagged
    return np.asarray(np.greater(scored.scores, scored.thresholds), dtype=np.bool_)


def event_delays(recording: Recording, flagged: NDArray[np.bool_]) -> list[float | None]:
    """Return the delay of each event of the test part, seconds; ``None`` where it was not seen."""
    rows = _rows(recording, flagged)
    return delays_of_faults(rows, recording.faults) if recording.faults else delays_of_runs(rows)


def _vus(recording: Recording, counted: NDArray[np.bool_], scores: Floats) -> float:
    """Return the mean over nodes, pooled or not: a range of rows is one node's."""
    series = [counted & (recording.nodes == node) for node in np.unique(recording.nodes[counted]).tolist()]
    return mean([vus_pr(recording.label[rows] == 1, scores[rows]) for rows in series])


def _rows(recording: Recording, flagged: NDArray[np.bool_]) -> Rows:
    columns = recording.columns
    return Rows(recording.nodes, columns.ts_ms, recording.label, flagged, columns.clusters).take(recording.test)


def _in_time(recording: Recording, flagged: NDArray[np.bool_], asked: float | None) -> dict[str, Any]:
    delays = event_delays(recording, flagged)
    seen = [delay for delay in delays if delay is not None]
    alarms = false_alarms(_rows(recording, flagged), recording.step_ms)
    rate = alarms.episodes / alarms.node_days if alarms.node_days else float("nan")
    found = {
        "events": len(delays),
        "events_seen": len(seen),
        "median_delay_s": float(np.median(seen)) if seen else float("nan"),
        "p90_delay_s": float(np.quantile(seen, 0.9)) if seen else float("nan"),
        "false_alarms_per_node_day": rate,
        "false_alarms": alarms.episodes,
        "node_days": alarms.node_days,
        "false_positive_rows": alarms.rows,
        "label_0_rows": alarms.of_rows,
    }
    if asked is None:
        return found
    return {**found, "times_asked": rate / asked, "interval_95": list(rate_interval(alarms.episodes, alarms.node_days))}
