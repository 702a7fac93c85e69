"""Throw faults at workers and compare every verdict: ``python -m benchmarks.chaos --faults 60 --seed 1 [--json]``.

Three Kafka brokers (from ../shared/kafka, or one of yours with --kafka), a Redis and workers with stable names are
started; a simulated fleet's telemetry flows; faults drawn from the seed strike, several at a time. Then all is worked
off, and every anomaly, dead letter and entry in Redis is compared with an undisturbed run over the same log. Ends with
0 when nothing was lost, repeated or changed, else with 1. docs/operations/chaos.md says what each fault is.
"""

import argparse
import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.chaos.faults import Fault, plan
from benchmarks.chaos.storm import Storm
from benchmarks.chaos.verdicts import Comparison
from benchmarks.chaos.world import Setup, World
from benchmarks.waiting import LateError


def chaos(setup: Setup, count: int, console: Console) -> dict[str, Any]:
    """Run; returns what is printed as JSON."""
    began = time.monotonic()
    faults = plan(count, setup.seed, own=setup.kafka is None)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with World(setup) as world, Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("faults", total=count)

        def done(fault: Fault) -> None:
            progress.update(task, advance=1, description=str(fault.kind))

        storm = Storm(world, faults, done)
        storm.run()
        progress.update(task, description="catching up")
        caught_up = world.settle()
        statuses = world.workers.stop()
        progress.update(task, description="comparing")
        expected, found = world.check()
    return {
        "seed": setup.seed,
        "transactions": setup.transactions,
        "workers": setup.workers,
        "faults": {str(kind): number for kind, number in sorted(storm.counts.items())},
        "records": world.feed.records,
        "verdicts_expected": len(expected.anomalies),
        "lost": len(found.lost),
        "repeated": len(found.repeated),
        "changed": len(found.changed),
        "dead_letters_expected": len(expected.dead_letters),
        "dead_letters_lost": len(found.dead_letters_lost),
        "dead_letters_repeated": len(found.dead_letters_repeated),
        "redis_expected": len(expected.view),
        "redis_lost": len(found.redis_lost),
        "redis_changed": len(found.redis_changed),
        "takeover_seconds": storm.takeover_seconds,
        "session_seconds": setup.session_ms / 1000,
        "caught_up_seconds": round(caught_up, 1),
        "ended_by_themselves": dict(Counter(f"{name}: {status}" for name, status in world.workers.exits)),
        "ended_badly": {name: status for name, status in statuses.items() if status not in (0, -9)},
        "seconds": round(time.monotonic() - began, 1),
        "details": {name: getattr(found, name) for name in Comparison.__slots__},
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kafka", metavar="HOST:PORT", help="an Apache Kafka of yours; faults of brokers and network")
    parser.add_argument("--faults", type=int, default=60, help="how many (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="of telemetry and faults (default 1)")
    parser.add_argument("--workers", type=int, default=3, help="at the start (default 3)")
    parser.add_argument("--session-timeout", type=float, default=6.0, help="of the group, seconds (default 6)")
    parser.add_argument("--without-transactions", action="store_true", help="publish at least once: must show faults")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data and logs of brokers and workers there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    setup = Setup(
        kafka=options.kafka,
        workers=options.workers,
        session_ms=int(options.session_timeout * 1000),
        seed=options.seed,
        transactions=not options.without_transactions,
        keep=options.keep,
    )
    # SIGTERM ends the servers too: as an exception, it leaves through the world's block.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        found = chaos(setup, options.faults, Console(stderr=True))
    except LateError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found)) if options.json else _print(found)
    return 1 if any(found["details"].values()) else 0


def _print(found: dict[str, Any]) -> None:
    console = Console()
    table = Table("fault", "times", title=f"seed {found['seed']}, {found['workers']} workers")
    for kind, number in found["faults"].items():
        table.add_row(kind.replace("_", " "), str(number))
    console.print(table)
    for what in ("verdicts", "dead_letters", "redis"):
        start = "" if what == "verdicts" else f"{what}_"
        parts = [f"{name} {found[start + name]}" for name in ("lost", "repeated", "changed") if start + name in found]
        console.print(f"{what.replace('_', ' ')}: {found[f'{what}_expected']:,} expected, {', '.join(parts)}")
    console.print(f"takeover: {found['takeover_seconds']} s, session time-out {found['session_seconds']:g} s")
    for name, lines in found["details"].items():
        for line in lines:
            console.print(f"{name}: {line}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
