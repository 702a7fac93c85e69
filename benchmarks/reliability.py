"""Measure the reliability detector: ``python -m benchmarks.reliability [--quick] [--json]``.

Simulated nodes through windows, baseline, features and trees: one record at a time, in batches of 1,024, and in batches
of 1,024 on the worker's path with decoding and the reasons of every anomaly. The shipped artefact, one core.
"""

import argparse
import json
import os
import platform
import time
from typing import Any, Final

import numpy as np

from detectors.artefacts import shipped
from detectors.offline import advance_states, open_store
from detectors.reliability.detector import ReliabilityDetector
from detectors.scoring import StreamScorer
from schemas.codec import RecordCodec
from schemas.streams import NODE
from vigil.simulator import NodeFleet, simulate_nodes

BATCH: Final = 1_024
NODES: Final = 512
START_MS: Final = 1_760_000_000_000


def measure_features(steps: int, singles: int) -> dict[str, float]:
    """Wall time of single records, CPU time of batches, through windows, features and trees."""
    detector = ReliabilityDetector.load(shipped("reliability"))
    fleet = simulate_nodes(NodeFleet(NODES), steps, 5, START_MS)
    keys, ts_ms, rows = fleet.node_ids(), fleet.ts_ms, fleet.matrix()
    store = open_store(detector, len(NODE.features), NODE.step_ms)

    def score(part: slice) -> int:
        windows = store.append(np.zeros(len(ts_ms[part]), np.int32), keys[part], ts_ms[part], rows[part]).windows
        detector.score(windows, advance_states(detector, store, windows))
        return len(windows)

    end = len(keys) - singles
    begin = warm = 0
    while begin < end:
        if begin >= 31 * NODES and not warm:
            warm, started = begin, time.process_time()
        score(slice(begin, min(begin + BATCH, end)))
        begin += BATCH
    spent, times = time.process_time() - started, []
    for place in range(end, len(keys)):
        at = time.perf_counter()
        score(slice(place, place + 1))
        times.append(time.perf_counter() - at)
    return {
        "records_per_second_batches": round((end - warm) / spent),
        "one_record_median_ms": round(1e3 * float(np.median(times)), 3),
        "one_record_p99_ms": round(1e3 * float(np.quantile(times, 0.99)), 3),
    }


def measure_path(steps: int) -> dict[str, float]:
    """CPU time of the worker's path: decoding, windows, scores and the reasons of anomalies."""
    scorer = StreamScorer(NODE, [ReliabilityDetector.load(shipped("reliability"))])
    records = list(simulate_nodes(NodeFleet(NODES), steps, 6, START_MS).records())
    codec, spent, done, anomalies = RecordCodec(NODE), 0.0, 0, 0
    for begin in range(0, len(records), BATCH):
        part = records[begin : begin + BATCH]
        at = time.process_time()
        decoded = codec.decode([one.key for one in part], [one.value for one in part])
        count = len(decoded.keys)
        offsets = np.arange(begin, begin + count, dtype=np.int64)
        found = scorer.process(decoded, topic=NODE.topic, partitions=np.zeros(count, np.int32), offsets=offsets)
        if begin >= 31 * NODES:
            spent, done, anomalies = spent + time.process_time() - at, done + count, anomalies + len(found.anomalies)
    return {"records_per_second_path": round(done / spent), "anomalies_share": round(anomalies / done, 5)}


def run(*, quick: bool) -> dict[str, Any]:
    """Measure everything."""
    steps = 60 if quick else 200
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}
    return {
        "batch": BATCH,
        "nodes": NODES,
        **measure_features(steps, 200 if quick else 2_000),
        **measure_path(steps),
        "machine": machine,
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    chosen = parser.parse_args()
    result = run(quick=chosen.quick)
    print(json.dumps(result) if chosen.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
