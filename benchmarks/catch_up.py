"""A long backlog worked off: ``python -m benchmarks.catch_up [--records N] [--nodes N] [--json]``.

A worker that was away for long finds millions of records. It must work them off at one rate to the end, and hold no
more memory at the end than once its windows were complete. Prints the rate and the memory of each tenth of the backlog.
"""

import argparse
import json
import statistics
import sys
from itertools import pairwise
from typing import Any, Final

from benchmarks.chaos.servers import LAUNCHER
from benchmarks.speed.end_to_end import Mark, WorkerProcess, rate_between
from benchmarks.speed.growth import MEGABYTE, WARM_STEPS
from benchmarks.speed.servers import Servers, serve
from benchmarks.speed.telemetry import Fleet, produce
from benchmarks.topics import own_topics

PARTS: Final = 10
STEADY: Final = 0.8
"""Rate of the slowest part by the median one, at least."""
FLAT: Final = 1.1
"""Memory at the end by that at the end of the first part, at most."""


def measure(servers: Servers, nodes: int, records: int) -> dict[str, Any]:
    """Let one worker work a backlog off.

    Args:
        servers: Kafka and Redis.
        nodes: in the fleet.
        records: of the backlog, once all windows are complete.

    Returns:
        ``parts``: ``records_per_second``, ``cpu_us_per_record`` and ``rss_mb`` (at its end) of each tenth;
        ``slowest_by_median`` of their rates, ``memory_growth`` from the end of the first part to the end.
    """
    warm = WARM_STEPS * nodes
    with own_topics(servers.bootstrap) as kafka:
        steps = Fleet(nodes).steps(0, WARM_STEPS + -(-records // nodes))
        count = produce(servers.bootstrap, kafka.topics["consensus"], steps)
        print(f"{count:,} records published", file=sys.stderr)
        with WorkerProcess(servers, kafka) as worker:
            marks = [worker.wait_for(warm)]
            marks += [worker.wait_for(warm + (count - warm) * part // PARTS) for part in range(1, PARTS + 1)]
    return {"nodes": nodes, "records": count, **_summed(marks)}


def _summed(marks: list[Mark]) -> dict[str, Any]:
    parts = []
    for first, last in pairwise(marks):
        rate = rate_between(first, last)
        parts.append({name: rate[name] for name in ("records_per_second", "cpu_us_per_record")})
        parts[-1]["rss_mb"] = last.rss / MEGABYTE
    rates = [part["records_per_second"] for part in parts]
    return {
        "parts": parts,
        "records_per_second": rate_between(marks[0], marks[-1])["records_per_second"],
        "slowest_by_median": min(rates) / statistics.median(rates),
        "memory_growth": parts[-1]["rss_mb"] / parts[0]["rss_mb"],
    }


def main() -> None:
    """Measure and print; exit status 1 when the rate is not steady or memory grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    with serve("apache" if LAUNCHER.is_file() else "embedded") as servers:
        found = measure(servers, options.nodes, options.records)
    if options.json:
        print(json.dumps(found))
    else:
        for place, part in enumerate(found["parts"], 1):
            shown = f"{part['records_per_second']:9,.0f} records/s  {part['cpu_us_per_record']:5.1f} us of CPU"
            print(f"part {place:2}: {shown}  {part['rss_mb']:6.0f} MB")
        shown = f"slowest part {found['slowest_by_median']:.2f} of the median"
        print(f"{found['records']:,} records: {shown}; memory {found['memory_growth']:.2f} times")
    sys.exit(found["slowest_by_median"] < STEADY or found["memory_growth"] > FLAT)


if __name__ == "__main__":
    main()
