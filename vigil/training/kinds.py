"""Measure how well anomalies are named: ``python -m vigil.training.kinds [RECORDING...] [--json]``.

Simulated faults of every kind, members that die and false alarms included, run through the shipped consensus detector;
all anomalies of a fault weigh one together. With recordings: what the anomalies of each of their faults were called.
``--fit`` prints the table of confidences, from other seeds than the figures are measured on. Half a minute on one core.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from detectors.artefacts import shipped
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.kinds import KINDS, decided, name_kinds
from detectors.evaluation.events import AFTER_MS
from detectors.offline import Steps, advanced_windows
from detectors.protocol import Detector
from features.recordings import read_columns
from schemas.streams import CONSENSUS
from vigil.labelled import read_faults
from vigil.simulator import FAULT_KINDS, ConsensusFleet, FaultPlan, simulate_consensus

FIT_SEEDS: Final = (101, 102)  # the rules were written with these, too
SEEDS: Final = (201, 202, 203)
CLUSTERS: Final = 24
STEPS: Final = 4_500
QUIET_STEPS: Final = 600  # before the first fault
FAULTS_AN_HOUR: Final = 25.0  # of one cluster
INTENSITY: Final = (0.2, 1.0)
START_MS: Final = 1_760_000_000_000
EDGES: Final = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)  # margins; the bins around ``kinds.MARGINS``
PRIOR: Final = 2.0  # faults, one of them named rightly, that each bin starts with
UNKNOWN: Final = "unknown"
NO_FAULT: Final = "no fault"
LEVELS: Final = (0.5, 0.7, 0.9, 1.0)  # confidences; bins that are compared with what came true
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Named:
    """Flagged windows of labelled telemetry and what they were called.

    Attributes:
        step: int64 (n,), place of the newest step.
        strength: float64 (n, classes), how well each class fits.
        name: text (n,), "unknown" where none was given.
        confidence: float64 (n,), 0 where no name was given.
    """

    step: NDArray[np.int64]
    strength: Floats
    name: NDArray[np.str_]
    confidence: Floats

    def take(self, chosen: NDArray[np.bool_]) -> "Named":
        """Return the chosen windows."""
        return Named(self.step[chosen], self.strength[chosen], self.name[chosen], self.confidence[chosen])


@dataclass(frozen=True, slots=True)
class Sample:
    """Anomalies of simulated faults and false alarms; those of the recovery after a fault are left out.

    Attributes:
        named: what they were called.
        kind: text (n,), the truth, "no fault" for a false alarm.
        fault: int64 (n,), which fault; the false alarms of one node count as one.
        intensity: float64 (n,), 0 for a false alarm.
        age: float64 (n,), seconds since the fault began.
    """

    named: Named
    kind: NDArray[np.str_]
    fault: NDArray[np.int64]
    intensity: Floats
    age: Floats

    @property
    def weight(self) -> Floats:
        """What each anomaly counts, float64 (n,): those of one fault sum to 1."""
        _, place, count = np.unique(self.fault, return_inverse=True, return_counts=True)
        return np.asarray(1.0 / count[place], dtype=np.float64)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the name is the truth, bool (n,)."""
        return np.asarray(self.named.name == self.kind, dtype=np.bool_)


def name_steps(detector: ConsensusDetector, steps: Steps) -> Named:
    """Score telemetry as the worker does and name what is flagged."""
    parts: list[tuple[NDArray[np.int64], Floats]] = []
    for start, windows, before in advanced_windows(cast("Detector", detector), steps):
        flagged = np.flatnonzero(detector.score(windows, before) > detector.threshold)
        if before is None or not len(flagged):
            continue
        strength = detector.kind_strengths(windows.take(flagged), before[flagged])
        if strength is not None:
            parts.append((start + windows.records[flagged], strength))
    step = np.concatenate([part[0] for part in parts]) if parts else np.empty(0, np.int64)
    strength = np.concatenate([part[1] for part in parts]) if parts else np.empty((0, len(KINDS)))
    given = name_kinds(strength)
    name = np.array([kind or UNKNOWN for kind, _ in given], dtype=np.str_)
    return Named(step, strength, name, np.array([confidence or 0.0 for _, confidence in given]))


def sample(detector: ConsensusDetector, seed: int, clusters: int = CLUSTERS, steps: int = STEPS) -> Sample:
    """Simulate one fleet with faults of every kind and name its anomalies."""
    fleet = ConsensusFleet(clusters)
    span = (START_MS + 1_000 * QUIET_STEPS, START_MS + 1_000 * steps)
    plan = FaultPlan.at_rate(fleet.layout, span, FAULTS_AN_HOUR, seed, intensity=INTENSITY)
    run = simulate_consensus(fleet, steps, seed, START_MS, plan)
    named = name_steps(detector, Steps(run.node_ids(), run.ts_ms, run.matrix(), fleet.step_ms))
    named = named.take(~run.aftermath[named.step])
    truth = run.truth[named.step]
    kind = np.array([*(fault.kind for fault in run.faults), NO_FAULT])[truth]
    began = np.array([*(fault.start_ms for fault in run.faults), 0])[truth]
    return Sample(
        named,
        kind,
        np.where(truth >= 0, truth, -1 - run.node[named.step]).astype(np.int64),
        np.array([*(fault.intensity for fault in run.faults), 0.0])[truth],
        (run.ts_ms[named.step] - began) / 1_000.0,
    )


def fit_confidence(samples: Sequence[Sample]) -> dict[str, tuple[float, ...]]:
    """Return by class how often it was right at each of ``kinds.MARGINS``: never falling with the margin.

    A bin starts with ``PRIOR`` faults of which half are named rightly, so that few faults make no one certain; a bin is
    no surer than the next higher one.
    """
    best, margin = decided(np.concatenate([each.named.strength for each in samples]))
    truth = np.concatenate([each.kind for each in samples])
    weight = np.concatenate([each.weight for each in samples])
    table: dict[str, tuple[float, ...]] = {}
    for place, kind in enumerate(KINDS):
        shares = []
        for low, high in pairwise(EDGES):
            chosen = (best == place) & (margin > low) & (margin <= high)
            hits = float(weight[chosen & (truth == kind)].sum())
            shares.append((hits + PRIOR / 2.0) / (float(weight[chosen].sum()) + PRIOR))
        rising = np.minimum.accumulate(np.array(shares)[::-1])[::-1]
        table[kind] = tuple(round(float(share), 3) for share in rising)
    return table


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the figures over simulated faults, all shares of faults."""
    kind, name, confidence, weight, right, intensity = (
        np.concatenate(column)
        for column in zip(
            *((s.kind, s.named.name, s.named.confidence, s.weight, s.right, s.intensity) for s in samples), strict=True
        )
    )
    given, of_class = name != UNKNOWN, np.isin(kind, KINDS)

    def share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float | None:
        total = float(weight[whole].sum())
        return round(float(weight[part & whole].sum()) / total, 4) if total else None

    columns = (*KINDS, UNKNOWN)
    strong = [(low, high, (intensity >= low) & (intensity < high)) for low, high in ((0.2, 0.5), (0.5, 1.01))]
    return {
        "anomalies": len(kind),
        "faults": sum(len(np.unique(each.fault[each.fault >= 0])) for each in samples),
        "precision": share(right, given),
        "named": share(given, of_class),
        "confusion": {row: {at: share(name == at, kind == row) for at in columns} for row in (*FAULT_KINDS, NO_FAULT)},
        "by_intensity": [
            {"from": low, "named": share(given, of_class & part), "precision": share(right, given & part)}
            for low, high, part in strong
        ],
        "confidence": [
            {
                "from": low,
                "share_of_names": share(part := given & (confidence >= low) & (confidence <= high), given),
                "said": round(float(np.average(confidence[part], weights=weight[part])), 4) if part.any() else None,
                "came_true": share(right, part),
            }
            for low, high in _bins()
        ],
        "first_name": _first_names(samples),
    }


def _bins() -> Iterator[tuple[float, float]]:
    for low, high in pairwise(LEVELS):
        yield low, high - (1e-9 if high < LEVELS[-1] else 0.0)


def _first_names(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what the first named anomaly of each fault of a class says, and when it comes."""
    ages: list[float] = []
    rights: list[bool] = []
    faults = 0
    for each in samples:
        mine = np.isin(each.kind, KINDS)
        faults += len(np.unique(each.fault[mine]))
        given = np.flatnonzero(mine & (each.named.name != UNKNOWN))
        given = given[np.argsort(each.age[given], kind="stable")]
        _, first = np.unique(each.fault[given], return_index=True)
        ages += each.age[given[first]].tolist()
        rights += each.right[given[first]].tolist()
    return {
        "faults_ever_named": round(len(ages) / max(faults, 1), 4),
        "right": round(float(np.mean(rights)), 4) if rights else None,
        "median_s": round(float(np.median(ages)), 2) if ages else None,
    }


def recorded(detector: ConsensusDetector, path: Path) -> list[dict[str, Any]]:
    """Return what the anomalies of each fault of a consensus recording were called; ``NAME.faults.json`` beside it."""
    columns = read_columns(path, None, stream=CONSENSUS)
    order = np.argsort(columns.ts_ms, kind="stable")
    ts_ms = columns.ts_ms[order]
    rows = columns.values[order].astype(np.float32)
    named = name_steps(detector, Steps(columns.node_ids[order].tolist(), ts_ms, rows, CONSENSUS.step_ms))
    at = ts_ms[named.step]
    found = []
    for fault in read_faults(path):
        mine = np.flatnonzero((at >= fault.start_ms) & (at <= fault.end_ms + AFTER_MS))
        given = mine[named.name[mine] != UNKNOWN]
        first = given[:1]
        found.append(
            {
                "fault": fault.kind,
                "intensity": fault.intensity,
                "anomalies": len(mine),
                "names": dict(sorted(Counter(named.name[mine].tolist()).items())),
                "first_name": str(named.name[first[0]]) if len(first) else None,
                "first_name_s": round(float(at[first[0]] - fault.start_ms) / 1_000.0, 2) if len(first) else None,
                "first_name_confidence": float(named.confidence[first[0]]) if len(first) else None,
            }
        )
    return found


def report(console: Console, measured: dict[str, Any], recordings: dict[str, list[dict[str, Any]]]) -> None:
    """Print the figures."""
    table = Table(title=f"{measured['faults']} simulated faults, seeds {', '.join(map(str, SEEDS))}: named as")
    for column in ("fault", *KINDS, UNKNOWN):
        table.add_column(column)
    for row, cells in measured["confusion"].items():
        table.add_row(row, *("-" if cell is None else f"{cell:.1%}" for cell in cells.values()))
    console.print(table)
    for key in ("precision", "named", "by_intensity", "confidence", "first_name"):
        console.print(key, measured[key])
    for file, faults in recordings.items():
        console.print(file)
        for fault in faults:
            console.print("  ", fault)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m vigil.training.kinds", description=__doc__)
    parser.add_argument("recordings", nargs="*", type=Path, help="consensus recordings with their faults beside them")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--fit", action="store_true", help="print the table of confidences instead")
    parser.add_argument("--artefact", type=Path, default=shipped("consensus"), help="the shipped one by default")
    options = parser.parse_args(arguments)
    detector, console = ConsensusDetector.load(options.artefact), Console()
    if options.fit:
        for kind, row in fit_confidence([sample(detector, seed) for seed in FIT_SEEDS]).items():
            console.print(f'"{kind}": {row},', highlight=False)
        return
    measured = figures([sample(detector, seed) for seed in SEEDS])
    recordings = {path.name: recorded(detector, path) for path in options.recordings}
    if options.json:
        text = msgspec.json.encode({"simulated": measured, "recordings": recordings}).decode()
        console.print(text, soft_wrap=True, markup=False, highlight=False)
    else:
        report(console, measured, recordings)


if __name__ == "__main__":
    main()
