"""What a detector says of every row, and how good that is on parts of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.offline import Steps, open_store, score_steps
from detectors.reliability.detector import ReliabilityDetector
from detectors.reliability.examples import NodeRows, windows_of
from detectors.reliability.labels import Labels
from detectors.reliability.metrics import brier_score, evaluate, expected_calibration_error, reliability_curve
from schemas.streams import NODE

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What was said of n rows.

    Attributes:
        scores: float64 (n,), finite.
        flagged: bool (n,).
    """

    scores: Scores
    flagged: NDArray[np.bool_]

    @classmethod
    def of(cls, scores: Scores, flagged: NDArray[np.bool_]) -> "Verdicts":
        """Take scores that are NaN where there is no verdict (a window not yet complete).

        Who says nothing of a row has missed it, so such rows count: they get the lowest score of all.
        """
        least = float(np.nanmin(scores)) if np.isfinite(scores).any() else 0.0
        return cls(np.where(np.isnan(scores), least, scores), flagged)


def judge(detector: ReliabilityDetector, rows: NodeRows) -> Verdicts:
    """Let a detector judge every row, in time order, on the worker's own path."""
    steps = Steps(np.asarray(rows.node_ids).tolist(), rows.ts_ms, rows.values, rows.step_ms)
    store = open_store(
        detector, len(rows.fields), rows.step_ms, gap_steps=NODE.gap_steps, resume_steps=NODE.resume_steps
    )
    found = score_steps(detector, steps, store=store)
    return Verdicts.of(found.scores, found.flagged)


def measure_outlook(
    detector: ReliabilityDetector, rows: NodeRows, labels: Labels, chosen: NDArray[np.bool_]
) -> dict[str, int]:
    """Return how much is told of chosen rows beside the score, and how much of it is right.

    Args:
        detector: any of this kind.
        rows: in time order.
        labels: theirs.
        chosen: bool (n,), flagged rows.

    Returns:
        ``rows_in_incidents`` among the chosen, ``kinds_told`` of those and ``kinds_right``; of all chosen rows
        ``bands_told``, ``bands_right`` (an incident was reported within the band) and ``bands_ahead`` (one was reported
        within 30 minutes).
    """
    starts = np.array([one.start_ms for one in labels.incidents])
    counts = dict.fromkeys(_OUTLOOK, 0)
    for places, windows, before in windows_of(rows, detector.plan, detector.window):
        index = np.flatnonzero(chosen[places])
        some, known, at = windows.take(index), before[index], places[index]
        incident = labels.incident[at]
        for place, (kind, _) in zip(incident.tolist(), detector.classify(some, known), strict=True):
            counts["rows_in_incidents"] += place >= 0
            counts["kinds_told"] += place >= 0 and kind is not None
            counts["kinds_right"] += place >= 0 and kind == labels.incidents[place].kind
        minutes = np.where(incident >= 0, (starts[incident] - rows.ts_ms[at]) / 60_000.0, -np.inf)
        for left, band in zip(minutes.tolist(), detector.expected_in(some, known), strict=True):
            counts["bands_told"] += band is not None
            counts["bands_right"] += band is not None and band[0] <= left <= band[1]
            counts["bands_ahead"] += band is not None and left > 0.0
    return counts


_OUTLOOK = ("rows_in_incidents", "kinds_told", "kinds_right", "bands_told", "bands_right", "bands_ahead")


def measure_parts(
    rows: NodeRows, labels: Labels, verdicts: Verdicts, parts: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, Any]]:
    """Return the figures of parts of the rows as plain values; what cannot be told (no incident there) is left out.

    Args:
        rows: in time order.
        labels: theirs.
        verdicts: on them; scores are probabilities.
        parts: bool (n,) each, by name.
    """
    nodes, measured = np.asarray(rows.node_ids), {}
    for name, mask in parts.items():
        some, scores = labels.take(mask), verdicts.scores[mask]
        found = evaluate(scores, verdicts.flagged[mask], some, nodes[mask], rows.ts_ms[mask], rows.step_ms)
        figures = asdict(found) | {
            "expected_calibration_error": expected_calibration_error(some.positive, scores),
            "brier_score": brier_score(some.positive, scores) if mask.any() else float("nan"),
            "reliability": reliability_curve(some.positive, scores),
            "caught_by_kind": {kind: list(counts) for kind, counts in found.caught_by_kind.items()},
            "leads": {kind: [round(lead, 1) for lead in leads] for kind, leads in found.leads.items()},
        }
        measured[name] = {key: value for key, value in figures.items() if value == value}  # noqa: PLR0124 - no NaN
    return measured
