"""What is usual in a recording, and what each fault did to it: ``python -m benchmarks.etcd.effects FILE [--json]``.

Beside each fault stand medians of the 30 s before it and of its own time, over all members, and the extremes of its
time. All are raw values, no detector has a part in this: it is how a recording is checked without being looked at.
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

__all__ = ["effects", "ordinary", "print_effects", "print_ordinary"]

BEFORE_MS: Final = 30_000
STEP_MS: Final = 1_000
SLOW_MS: Final = 100.0
"""A latency_p99 that only a disturbance gives: a busy disk, or other work on the machine."""
MEDIANS: Final = ("proposals_committed", "latency_p50", "latency_p99")


def ordinary(path: Path) -> dict[str, dict[str, float]]:
    """Describe the rows labelled 0 of each split: how many, medians, and the share with a p99 above ``SLOW_MS``.

    Raises:
        RecordingError: the recording cannot be read, or has no labels.
    """
    columns = read_columns(path)
    if columns.split is None or columns.label is None:
        raise RecordingError(f"{path} has no split or no label: give a recording of python -m benchmarks.etcd")
    found: dict[str, dict[str, float]] = {}
    for name in np.unique(columns.split).tolist():
        part = columns.values[(columns.split == name) & (columns.label == 0)]
        values = dict(zip(columns.fields, part.T, strict=True))
        medians = {f"median_{field}": _median(values[field]) for field in MEDIANS}
        slow = round(float(np.mean(values["latency_p99"] > SLOW_MS)), 3)
        found[name] = {"rows": len(part), **medians, "share_slow": slow}
    return found


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


def print_ordinary(found: dict[str, dict[str, float]], console: Console) -> None:
    """Print what ``ordinary`` returned as a table."""
    table = Table("rows labelled 0", "count", "committed", "p50, ms", "p99, ms", f"share with p99 > {SLOW_MS:g} ms")
    for name, one in sorted(found.items(), reverse=True):
        table.add_row(name, *(f"{value:g}" for value in one.values()))
    console.print(table)


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
        usual, found = ordinary(options.file), effects(options.file)
    except (RecordingError, OSError) as error:
        print(f"effects: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"ordinary": usual, "faults": found}))
        return 0
    console = Console()
    print_ordinary(usual, console)
    print_effects(found, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
