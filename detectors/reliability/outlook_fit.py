"""Fit what is told beside the probability: the kind of incident, and whether and when it is still to come."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.crossfit import CrossFit
from detectors.reliability.examples import Examples, NodeRows
from detectors.reliability.growing import OUTLOOK_RECIPE, grow, grow_classes
from detectors.reliability.labels import Labels
from detectors.reliability.outlook import KINDS_FILE, PHASE_FILE, softmax
from detectors.reliability.trees import Trees

MOST_ROWS: Final = 12_000
"""Rows that kind and phase are learnt from at most; more say little that is new."""
LEAST_CONFIDENCE: Final = 0.5
LEAST_OF_A_KIND: Final = 3
"""Incidents before the test part that a kind needs to be told."""
RIGHT: Final = 0.8
"""Share of the flagged rows said to announce an incident that must really do so."""
LEAST_ROWS: Final = 50
BAND: Final = (0.1, 0.9)


@dataclass(frozen=True, slots=True)
class Outlook:
    """Trees and parameters of kind and phase, ``None`` where the evidence does not carry them."""

    kinds: tuple[Trees, dict[str, Any]] | None
    phase: tuple[Trees, dict[str, Any]] | None

    def files(self) -> dict[str, bytes]:
        """Return the files of the artefact."""
        parts = {KINDS_FILE: self.kinds, PHASE_FILE: self.phase}
        return {name: bytes(part[0].save_raw("json")) for name, part in parts.items() if part is not None}

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the artefact."""
        parts = {"kinds": self.kinds, "phase": self.phase}
        return {name: part[1] for name, part in parts.items() if part is not None}


def fit_outlook(
    examples: Examples, labels: Labels, rows: NodeRows, crossfit: CrossFit, flagged: NDArray[np.bool_]
) -> Outlook:
    """Learn kind and phase from positive rows, and what may be told of them from rows flagged by other folds.

    Args:
        examples: training rows.
        labels: of all rows.
        rows: in time order.
        crossfit: folds and features.
        flagged: bool (n,), rows that the folds flag.
    """
    positive = np.flatnonzero(labels.positive[examples.rows])
    if len(positive) > MOST_ROWS:
        positive = np.sort(np.random.default_rng(0).choice(positive, MOST_ROWS, replace=False))
    few = Examples(examples.features[positive], examples.rows[positive])
    return Outlook(_kinds(few, labels, crossfit, flagged), _phase(few, labels, rows, crossfit, flagged))


def _kinds(
    examples: Examples, labels: Labels, crossfit: CrossFit, flagged: NDArray[np.bool_]
) -> tuple[Trees, dict[str, Any]] | None:
    kind_of = np.array([one.kind for one in labels.incidents])
    seen = np.unique(labels.incident[examples.rows])
    counts = {kind: int((kind_of[seen] == kind).sum()) for kind in np.unique(kind_of[seen]).tolist()}
    names = tuple(sorted(kind for kind, count in counts.items() if count >= LEAST_OF_A_KIND))
    if len(names) < 2:
        return None
    codes = np.array([names.index(kind) if kind in names else -1 for kind in kind_of.tolist()])
    of_row = codes[labels.incident[examples.rows]]
    fold = crossfit.fold[examples.rows]

    def trees(part: NDArray[np.bool_]) -> Trees:
        return grow_classes(examples.features[part], of_row[part], len(names), OUTLOOK_RECIPE)

    models = [trees((of_row >= 0) & (fold != number)) for number in sorted(set(fold.tolist()))]
    chosen = flagged & labels.positive & (codes[labels.incident] >= 0)
    if not chosen.any():
        return None
    places, margin = crossfit.outlooks(models, chosen)
    temperature = _temperature(margin, codes[labels.incident[places]])
    settings = {"names": list(names), "temperature": temperature, "least": LEAST_CONFIDENCE}
    return trees(of_row >= 0), settings


def _temperature(margin: NDArray[np.float64], right: NDArray[np.int64]) -> float:
    """Return the divisor of the margins under which the right classes are likeliest."""
    ladder = np.geomspace(0.5, 8.0, 60)
    at = np.arange(len(right))
    losses = [-np.log(np.maximum(softmax(margin / each)[at, right], 1e-12)).mean() for each in ladder]
    return float(ladder[int(np.argmin(losses))])


def _phase(
    examples: Examples, labels: Labels, rows: NodeRows, crossfit: CrossFit, flagged: NDArray[np.bool_]
) -> tuple[Trees, dict[str, Any]] | None:
    starts = np.array([one.start_ms for one in labels.incidents])
    fold = crossfit.fold[examples.rows]
    ahead = rows.ts_ms[examples.rows] < starts[labels.incident[examples.rows]]

    def trees(part: NDArray[np.bool_]) -> Trees:
        return grow(examples.features[part], ahead[part], np.ones(int(part.sum())), OUTLOOK_RECIPE)

    models = [trees(fold != number) for number in sorted(set(fold.tolist()))]
    if not flagged.any():
        return None
    places, margin = crossfit.outlooks(models, flagged)
    minutes = np.where(labels.positive[places], (starts[labels.incident[places]] - rows.ts_ms[places]) / 60_000.0, -1.0)
    order = np.argsort(-margin, kind="stable")
    right = np.cumsum(minutes[order] > 0.0) / np.arange(1, len(order) + 1)
    good = np.flatnonzero((right >= RIGHT) & (np.arange(1, len(order) + 1) >= LEAST_ROWS))
    if not len(good):
        return None
    told = order[: good[-1] + 1]
    low, high = np.quantile(minutes[told][minutes[told] > 0.0], BAND)
    settings = {"least": float(margin[told[-1]]), "band": [round(float(low), 1), round(float(high), 1)]}
    return trees(np.ones(len(fold), np.bool_)), settings
