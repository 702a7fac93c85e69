"""Two workers beside one: ``python -m benchmarks.two_workers [--nodes N] [--records N] [--json]``.

The same backlog is worked off by one worker, and by two of one group that share its partitions; what a record costs
must be the same: workers share nothing but Kafka and Redis. Measured from when all are at work to the end.
"""

import argparse
import json
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

from benchmarks.chaos.servers import LAUNCHER
from benchmarks.speed.end_to_end import Mark, WorkerProcess, rate_between
from benchmarks.speed.growth import WARM_STEPS
from benchmarks.speed.servers import Servers, serve
from benchmarks.speed.telemetry import Fleet, produce
from benchmarks.topics import own_topics
from benchmarks.waiting import wait_until
from streams import KafkaConfig

SETTLED: Final = 20_000  # records that each worker has done before anything is measured
PATIENCE_SECONDS: Final = 900.0


def measure(servers: Servers, nodes: int, records: int) -> dict[str, Any]:
    """Measure one worker and then two on the same records.

    Returns:
        ``one`` and ``two`` of ``rate_between``, and ``ratio`` of the CPU that a record costs two workers to one's.
    """
    steps = WARM_STEPS + -(-records // nodes)
    with own_topics(servers.bootstrap) as kafka:
        count = produce(servers.bootstrap, kafka.topics["consensus"], Fleet(nodes).steps(0, steps))
        found: dict[str, Any] = {
            name: work_off(servers, replace(kafka, group_id=f"{kafka.group_id}-{name}"), workers, nodes, count)
            for name, workers in (("one", 1), ("two", 2))
        }
    return {**found, "ratio": found["two"]["cpu_us_per_record"] / found["one"]["cpu_us_per_record"]}


def work_off(servers: Servers, kafka: KafkaConfig, workers: int, nodes: int, count: int) -> dict[str, float]:
    """Let workers of one group work a backlog off together; rates from when all of them are at it."""
    with ExitStack() as stack:
        each = [stack.enter_context(WorkerProcess(servers, kafka)) for _ in range(workers)]
        wait_until(lambda: _at_it(each, WARM_STEPS * nodes), "all workers at work", timeout=PATIENCE_SECONDS)
        first = _together([one.mark() for one in each])
        wait_until(lambda: sum(one.mark().records for one in each) >= count, "the end", timeout=PATIENCE_SECONDS)
        return rate_between(first, _together([one.mark() for one in each]))


def _at_it(workers: list[WorkerProcess], warm: int) -> bool:
    done = [one.mark().records for one in workers]
    return min(done) >= SETTLED and sum(done) >= warm


def _together(marks: list[Mark]) -> Mark:
    return Mark(
        clock=max(one.clock for one in marks),
        cpu=sum(one.cpu for one in marks),
        records=sum(one.records for one in marks),
        rss=sum(one.rss for one in marks),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    with serve("apache" if LAUNCHER.is_file() else "embedded") as servers:
        found = measure(servers, options.nodes, options.records)
    if options.json:
        print(json.dumps(found))
        return
    for name in ("one", "two"):
        one = found[name]
        print(f"{name}: {one['cpu_us_per_record']:.2f} us of CPU a record, {one['records_per_second']:,.0f} records/s")
    print(f"two / one: {found['ratio']:.2f}")


if __name__ == "__main__":
    main()
