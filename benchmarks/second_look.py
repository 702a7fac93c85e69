"""What bears a high score out, tried on recordings: ``python -m benchmarks.second_look FILE... [--json]``.

The detector is fitted on each file's train part. Then the false alarms that are asked for are shared out among the
three readings (``detectors.consensus.bursts``) in several ways, with the lasting one and without it, and each way is
counted on the test part: faults seen, flagged rows that are labelled normal, median delay. The score itself and what is
taken out as a burst stay as they are. ``--faults`` prints how near each fault came to each threshold.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from detectors.consensus.bursts import SHARES, STAYING, SUDDEN, SUSTAINED
from detectors.consensus.fit import FitSettings, cross_fitted, fit_consensus, tails_of
from detectors.evaluation.events import AFTER_MS, Rows, delays_of_faults, false_alarms
from detectors.evaluation.held_out import follow
from detectors.evaluation.run import Recording
from detectors.thresholds import TailFit
from vigil.evaluation import steps_of
from vigil.labelled import read_labelled
from vigil.training_data import normal_steps, training_data

Floats = NDArray[np.float64]
TRIED: Final = ((0.25, 0.75, 0.0), (0.25, 0.65, 0.1), SHARES, (0.25, 0.5, 0.25), (0.25, 0.25, 0.5), (0.1, 0.7, 0.2))
"""Shares of the sudden, the sustained and the lasting reading; without a share, a reading is not looked at."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A recording and what was read of it.

    Attributes:
        recording: with its faults.
        order: int64 (n,), the recording's row that each step is.
        scores: float64 (n,), not raised by the lasting reading; NaN without a verdict.
        readings: float64 (n, 3).
        normal: cross-fitted readings of the train part, see ``cross_fitted``.
        settings: of the fit.
    """

    recording: Recording
    order: NDArray[np.int64]
    scores: Floats
    readings: Floats
    normal: list[Floats]
    settings: FitSettings

    def flagged(self, tails: Sequence[TailFit | None]) -> NDArray[np.bool_]:
        """Return which steps are anomalies under these thresholds, bool (n,)."""
        levels = np.array([math.inf if tail is None else tail.threshold for tail in tails])
        levels[SUDDEN] = max(levels[SUDDEN], levels[SUSTAINED])
        passed = self.readings > levels
        high = (self.scores > levels[SUSTAINED]) | passed[:, STAYING]
        return np.asarray(high & passed.any(axis=1), dtype=np.bool_)

    def rows(self, flagged: NDArray[np.bool_]) -> Rows:
        """Return the test rows with these verdicts, each node's in time order."""
        recording, verdict = self.recording, np.zeros(len(self.recording.columns), dtype=np.bool_)
        verdict[self.order] = flagged
        columns = recording.columns
        return Rows(recording.nodes, columns.ts_ms, recording.label, verdict, columns.clusters).take(recording.test)


def followed(path: Path) -> Followed:
    """Fit on the train part of a recording, and read all of it."""
    recording, stream = read_labelled(path)
    settings = FitSettings(step_ms=recording.step_ms)
    normal = normal_steps(training_data(recording.columns, recording.train, recording.step_ms, stream))
    detector = fit_consensus(normal, settings)
    detector.lasting_threshold = math.inf
    steps, order = steps_of(recording)
    everything = type(normal)(normal.fields, steps.keys, steps.ts_ms, steps.rows, normal.used, normal.log)
    with threadpool_limits(limits=1, user_api="blas"):
        course = follow(detector, everything, np.zeros(len(steps), dtype=np.bool_), recording.step_ms)
    return Followed(recording, order, course.scores, course.readings, cross_fitted(normal, settings)[0], settings)


def tails(of: Followed, shares: Sequence[float]) -> list[TailFit | None]:
    """Fit the tails of the readings that have a share."""
    found = tails_of(of.normal, of.settings, [share or 1.0 for share in shares])
    return [tail if share else None for tail, share in zip(found, shares, strict=True)]


def counted(of: Followed, shares: Sequence[float]) -> dict[str, Any]:
    """Return what one way of sharing out gives on one recording."""
    rows = of.rows(of.flagged(tails(of, shares)))
    delays = delays_of_faults(rows, of.recording.faults)
    seen = [delay for delay in delays if delay is not None]
    false = false_alarms(rows, of.recording.step_ms)
    return {
        "file": of.recording.name,
        "shares": list(shares),
        "faults": len(delays),
        "seen": len(seen),
        "false_rows": false.rows,
        "of_rows": false.of_rows,
        "false_episodes": false.episodes,
        "median_delay_s": float(np.median(seen)) if seen else None,
    }


def reached(of: Followed) -> list[dict[str, Any]]:
    """Return, for each fault, the highest that each reading came to in it, as a multiple of its threshold."""
    levels = np.array([tail.threshold for tail in tails_of(of.normal, of.settings)])
    columns = of.recording.columns
    ts_ms, found = columns.ts_ms[of.order], []
    for fault in of.recording.faults:
        within = (ts_ms >= fault.start_ms) & (ts_ms <= fault.end_ms + AFTER_MS) & np.isfinite(of.scores)
        if within.any():
            highest = (of.readings[within] / levels).max(axis=0).round(2).tolist()
            found.append({"kind": fault.kind, "intensity": fault.intensity, "reached": highest})
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Try them all; returns the process's exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks.second_look", description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="labelled recordings with their faults")
    parser.add_argument("--faults", action="store_true", help="how near each fault came to each threshold")
    parser.add_argument("--json", action="store_true", help="a line of JSON a file and way")
    options = parser.parse_args(arguments)
    each = [followed(path) for path in options.files]
    results = [counted(of, shares) for of in each for shares in TRIED]
    if options.faults:
        results += [{"file": of.recording.name, **fault} for of in each for fault in reached(of)]
    if options.json:
        print("\n".join(msgspec.json.encode(result).decode() for result in results))
        return 0
    columns = list(dict.fromkeys(name for result in results for name in result))
    table = Table(*columns)
    for result in results:
        table.add_row(*(str(result.get(name, "")) for name in columns))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
