"""Measure the window store: ``python -m benchmarks.windows [--quick] [--json]``.

For fleets of several sizes: steps appended a second with the index of their windows, the same with all windows copied
out, the same with late and repeated steps among them, the same with silences told, and bytes a node. Keys are fresh
strings in every batch, as a decoder gives them; times are of whole batches; the figure is the median of several passes
over every node.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features import WindowStore

FEATURES: Final = 12
WINDOW: Final = 30
START_MS: Final = 1_700_000_000_000
FLEETS: Final = (100, 2_000, 10_000, 100_000)

Batch = tuple[NDArray[np.int32], list[str], NDArray[np.int64], NDArray[np.float32]]


def batches(nodes: int, size: int, count: int, *, disorder: float, seed: int) -> Iterator[Batch]:
    """Yield batches of a fleet that reports in a fixed random order, a step a second and node.

    Args:
        nodes: in the fleet.
        size: records a batch.
        count: batches.
        disorder: share of records swapped with the same node's next one, and again the share repeated.
        seed: of order and values.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(nodes)
    rows = random.random((size, FEATURES), dtype=np.float32)
    position = np.arange(size * count)
    step = position // nodes
    node = order[position % nodes]
    moved = np.flatnonzero(random.random(len(position) - nodes) < disorder)
    step[moved], step[moved + nodes] = step[moved + nodes], step[moved]
    repeated = np.flatnonzero(random.random(len(position) - nodes) < disorder) + nodes
    step[repeated] = step[repeated - nodes]
    ts_ms = START_MS + 1000 * step + node % 500
    for begin in range(0, len(position), size):
        part = slice(begin, begin + size)
        keys = [f"node-{i:06d}" for i in node[part].tolist()]
        yield np.zeros(size, np.int32), keys, ts_ms[part], rows


def measure(
    nodes: int, size: int, passes: int, *, copy: bool = False, disorder: float = 0.0, silences: bool = False
) -> dict[str, float]:
    """Append until every window is complete, then measure ``passes`` equal parts; CPU time of this process."""
    store = WindowStore(FEATURES, window=WINDOW, capacity=nodes, silence_ms=6_000 if silences else 0)
    labels = [(f"cluster-{i % 100}", "eu") for i in range(size)] if silences else None
    warm = -(-(WINDOW + 6) * nodes // size)
    timed = max(4, -(-2 * nodes // size))
    seconds: list[float] = []
    spent = windows = 0.0
    log = batches(nodes, size, warm + passes * timed, disorder=disorder, seed=1)
    for i, batch in enumerate(log):
        begin = time.process_time()
        appended = store.append(*batch, labels=labels)
        if copy:
            appended.windows.tensor()
        spent = spent + time.process_time() - begin if i >= warm else 0.0
        windows += len(appended.windows) if i >= warm else 0
        if i >= warm and (i - warm + 1) % timed == 0:
            seconds.append(spent)
            spent = 0.0
    rate = timed * size / statistics.median(seconds)
    return {"steps_per_second": rate, "windows_share": windows / (passes * timed * size), "bytes": store.nbytes / nodes}


def measure_snapshots(nodes: int = 10_000) -> dict[str, int]:
    """Nodes saved and restored a second, one snapshot a node, as a changelog keyed by node has them."""
    store, other = (WindowStore(FEATURES, window=WINDOW, capacity=nodes, state_width=FEATURES) for _ in range(2))
    for batch in batches(nodes, nodes, WINDOW + 6, disorder=0.0, seed=1):
        store.append(*batch)
    begin = time.process_time()
    snapshots = store.snapshot_each(store.slots_of(0))
    saved = time.process_time()
    other.restore_each(snapshots)
    restored = time.process_time()
    return {
        "saved_per_second": round(nodes / (saved - begin)),
        "restored_per_second": round(nodes / (restored - saved)),
        "bytes_per_snapshot": len(snapshots[0]),
    }


def run(passes: int, size: int) -> dict[str, Any]:
    """Measure every fleet."""
    fleets: dict[str, Any] = {}
    for nodes in FLEETS:
        plain = measure(nodes, size, passes)
        fleets[str(nodes)] = {
            "steps_per_second": round(plain["steps_per_second"]),
            "steps_per_second_with_windows_copied": round(measure(nodes, size, passes, copy=True)["steps_per_second"]),
            "steps_per_second_with_2_percent_disorder": round(
                measure(nodes, size, passes, disorder=0.02)["steps_per_second"]
            ),
            "steps_per_second_with_silences": round(measure(nodes, size, passes, silences=True)["steps_per_second"]),
            "microseconds_per_step": round(1e6 / plain["steps_per_second"], 3),
            "bytes_per_node": round(plain["bytes"]),
        }
    times = [fleet["microseconds_per_step"] for fleet in fleets.values()]
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}
    return {
        "features": FEATURES,
        "window": WINDOW,
        "batch": size,
        "fleets": fleets,
        "growth": round(max(times) / times[0], 2),
        "snapshots": measure_snapshots(),
        "machine": machine,
    }


def table(result: dict[str, Any]) -> str:
    """Lay the result out for people."""
    columns = [
        "steps_per_second",
        *(f"steps_per_second_with_{what}" for what in ("windows_copied", "2_percent_disorder", "silences")),
    ]
    heads = ("nodes", "steps/s", "+ copied", "2 % disorder", "+ silences", "us/step", "bytes/node")
    lines = [" ".join(f"{head:>{width}}" for head, width in zip(heads, (8, 12, 12, 13, 12, 8, 11), strict=True))]
    for nodes, fleet in result["fleets"].items():
        rates = [f"{fleet[c]:>{w},}" for c, w in zip(columns, (12, 12, 13, 12), strict=True)]
        lines.append(" ".join([f"{nodes:>8}", *rates, f"{fleet['microseconds_per_step']:>8}"]))
        lines[-1] += f" {fleet['bytes_per_node']:>11,}"
    lines.append(f"CPU a step, largest fleet to smallest: {result['growth']}")
    snapshots = result["snapshots"]
    lines.append(
        f"snapshots of one node: {snapshots['saved_per_second']:,} saved/s, {snapshots['restored_per_second']:,} "
        f"restored/s, {snapshots['bytes_per_snapshot']:,} bytes each"
    )
    return "\n".join(lines)


def main() -> None:
    """Parse the arguments, measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.windows", description=__doc__)
    parser.add_argument("--batch", type=int, default=10_000, help="records a batch")
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    result = run(3 if arguments.quick else 9, arguments.batch)
    print(json.dumps(result) if arguments.json else table(result))


if __name__ == "__main__":
    main()
