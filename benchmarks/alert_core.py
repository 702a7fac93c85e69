"""Measure the alert core, offline: ``python -m benchmarks.alert_core [RECORDING...] [--simulated] [--load] [--json]``.

Recordings are scored by the shipped detector and `silence`, and their alerts measured against ``NAME.faults.json``.
``--simulated``: 20 faults that flap for ten minutes, and 100 faults of one member in clusters of 50, and
20 clusters without a fault for an hour.
``--load``: anomalies a second, and storms of 100,000 anomalies at once with the memory they take.
"""

import argparse
import json
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.alert_trials import flapping, harmless, origins, storm
from detectors.alerts import AlertPlane
from detectors.catalogue import load_detectors
from detectors.evaluation.alerts import alert_figures, alerts_of
from schemas.codec import RecordCodec
from schemas.outputs import Alert
from vigil.labelled import read_faults
from vigil.recordings import open_recording
from vigil.score import Scoring
from vigil.scorers import stream_scorer
from vigil.settings import StreamSettings

SEEDS: Final = (42_001, 42_002, 42_005)
"""Of the flapping faults, the wide clusters and those without a fault; the rules were written with 41001 and 41002."""
_STORM: Final = 100_000
_STORM_CLUSTERS: Final = (1, 20, 2_000)


def recorded(path: Path) -> tuple[dict[str, Any], list[Alert]]:
    """Score a recording and measure its alerts. Returns the figures and the changes."""
    opened = open_recording(path)
    scorer = stream_scorer(opened.stream, StreamSettings(), load_detectors(opened.stream), step_ms=opened.step_ms)
    records = list(opened.records)
    anomalies = list(Scoring(scorer, RecordCodec(opened.stream), opened.stream.topic).run(records))
    changes = alerts_of(anomalies, AlertPlane())
    faults = read_faults(path)
    figures = alert_figures(changes, faults, records[-1][2] - records[0][2])
    return {**asdict(figures), "anomalies": len(anomalies), "changes": len(changes)}, changes


def load(anomalies: int = _STORM) -> dict[str, Any]:
    """Measure a storm of anomalies at one event time, spread over clusters; CPU time of this process."""
    found: dict[str, Any] = {}
    for clusters in _STORM_CLUSTERS:
        log = storm(anomalies, clusters)
        plane = AlertPlane()
        begin = time.process_time()
        changes = alerts_of(log, plane, every=2_000)
        spent = time.process_time() - begin
        tracemalloc.start()
        plane = AlertPlane()
        for anomaly in log:
            plane.observe(anomaly)
        plane.advance(max(anomaly.ts_ms for anomaly in log))
        held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found[f"{clusters} clusters"] = {
            "anomalies": len(log),
            "alerts": len({change.fingerprint for change in changes}),
            "anomalies_a_second": round(len(log) / spent),
            "peak_mib": round(peak / 2**20, 1),
            "held_mib": round(held / 2**20, 1),
        }
    return found


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path)
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--changes", action="store_true", help="print each change of an alert as a line of JSON first")
    parser.add_argument("--json", action="store_true", help="on one line")
    asked = parser.parse_args()
    result: dict[str, Any] = {}
    for path in asked.recordings:
        result[path.name], changes = recorded(path)
        if asked.changes:
            for change in changes:
                print(msgspec.json.encode(change).decode())
    if asked.simulated:
        result["flapping"] = flapping(20, SEEDS[0])
        result["origins"] = origins(100, SEEDS[1])
        result["harmless"] = harmless(20, SEEDS[2])
    if asked.load:
        result["load"] = load()
    print(json.dumps(result, indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
