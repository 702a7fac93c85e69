"""What each fault of a recording did to the raw values: ``python -m benchmarks.etcd.effects FILE [--json]``.

Beside each fault stand medians of the 30 s before it and of its own time, over all members, and the extremes of its
time. No detector has a part in this: it is how a recording is checked without being looked at.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.etcd.recorder import faults_path
from features.recordings import Columns, RecordingError, read_columns

__all__ = ["effects", "print_effects"]

BEFORE_MS: Final = 30_000
STEP_MS: Final = 1_000
MEDIANS: Final = ("proposals_committed", "latency_p50", "latency_p99")


def effects(path: Path) -> list[dict[str, Any]]:
    """Measure every fault.

    Args:
        path: ``NAME.jsonl.gz`` with ``NAME.faults.json`` beside it.

    Raises:
        RecordingError: the recording cannot be read.
        OSError: there is no file of faults.
    """
    columns = read_columns(path)
    faults = json.loads(faults_path(path).read_text())
    return [_effect(columns, fault) for fault in faults]


def _effect(columns: Columns, fault: dict[str, Any]) -> dict[str, Any]:
    values = dict(zip(columns.fields, columns.values.T, strict=True))
    end = columns.ts_ms
    during = (end > fault["start_ms"]) & (end < fault["end_ms"] + STEP_MS)
    before = (end <= fault["start_ms"]) & (end > fault["start_ms"] - BEFORE_MS)
    steps = len(range(fault["start_ms"] // STEP_MS, -(-fault["end_ms"] // STEP_MS)))
    return {
        "kind": fault["kind"],
        "target": fault["target"],
        "intensity": fault["intensity"],
        "seconds": round((fault["end_ms"] - fault["start_ms"]) / 1_000, 1),
        "rows_missing": steps * len(np.unique(columns.node_ids)) - int(during.sum()),
        "medians": {name: [_median(values[name][part]) for part in (before, during)] for name in MEDIANS},
        "highest_p99": float(values["latency_p99"][during].max()),
        "highest_queue": int(values["queue_depth"][during].max()),
        "highest_pending": int(values["proposals_pending"][during].max()),
        "leader_changes": int(values["leader_changes"][during].sum()),
        "fewest_active": int(values["active_nodes"][during].min()),
    }


def print_effects(found: list[dict[str, Any]], console: Console) -> None:
    """Print what ``effects`` returned as a table."""
    heads = ("fault", "target", "intensity", "s", "rows missing", "committed", "p50, ms", "p99, ms")
    table = Table(*heads, "highest p99", "queue", "pending", "leader changes", "fewest active")
    for one in found:
        medians = [f"{before:g} > {during:g}" for before, during in one["medians"].values()]
        first = [str(one[name]) for name in ("kind", "target", "intensity", "seconds", "rows_missing")]
        last = ("highest_p99", "highest_queue", "highest_pending", "leader_changes", "fewest_active")
        table.add_row(*first, *medians, *(f"{one[name]:.0f}" for name in last))
    console.print(table)


def _median(values: NDArray[np.float64]) -> float:
    return round(float(np.median(values)), 1) if len(values) else float("nan")


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.etcd.effects", description=__doc__)
    parser.add_argument("file", type=Path, help="NAME.jsonl.gz, with NAME.faults.json beside it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    try:
        found = effects(options.file)
    except (RecordingError, OSError) as error:
        print(f"effects: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"faults": found})) if options.json else print_effects(found, Console(width=200))
    return 0


if __name__ == "__main__":
    sys.exit(main())
