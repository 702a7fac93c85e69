"""How the cost of a record and the memory grow with the number of nodes: the whole worker, Kafka to Kafka and Redis."""

from typing import Any, Final

from benchmarks.speed.end_to_end import WorkerProcess, rate_between
from benchmarks.speed.servers import Servers
from benchmarks.speed.telemetry import Fleet, produce
from benchmarks.topics import own_topics

__all__ = ["FLEETS", "measure_fleet", "measure_growth"]

FLEETS: Final = (100, 10_000, 100_000)
WARM_STEPS: Final = 32  # until every window is complete
TIMED_RECORDS: Final = 600_000
MEGABYTE: Final = 1e6


def measure_growth(servers: Servers, *, quick: bool) -> dict[int, dict[str, Any]]:
    """Measure fleets of several sizes, see ``measure_fleet``."""
    timed = TIMED_RECORDS if quick else 2 * TIMED_RECORDS
    return {nodes: measure_fleet(servers, nodes, timed) for nodes in FLEETS}


def measure_fleet(servers: Servers, nodes: int, timed: int) -> dict[str, Any]:
    """Let a worker work off a backlog of a fleet, whose windows are complete when the clock starts.

    Args:
        servers: Kafka and Redis.
        nodes: in the fleet.
        timed: records to measure, at least.

    Returns:
        Rates of ``rate_between``; ``bytes_per_node`` of the windows, ``rss_mb`` of the worker at the end, ``stages`` in
        microseconds of wall time a record.
    """
    warm = WARM_STEPS * nodes
    steps = WARM_STEPS + max(1, -(-timed // nodes))
    with own_topics(servers.bootstrap) as kafka:
        count = produce(servers.bootstrap, kafka.topics["consensus"], Fleet(nodes).steps(0, steps))
        with WorkerProcess(servers, kafka) as worker:
            first, before = worker.wait_for(warm), worker.stages()
            last, after = worker.wait_for(count), worker.stages()
            held = worker.total("vigil_windows_held", stream="consensus")
            stored = worker.total("vigil_window_store_bytes", stream="consensus")
    records = last.records - first.records
    stages = {name: 1e6 * (after[name] - before[name]) / records for name in after}
    return {
        "nodes": nodes,
        **rate_between(first, last),
        "bytes_per_node": stored / held,
        "rss_mb": last.rss / MEGABYTE,
        "stages": stages,
    }
