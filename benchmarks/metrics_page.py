"""How large the metrics page of a worker is, and how long it takes, with a fleet in its windows.

    python -m benchmarks.metrics_page [--nodes 100000] [--steps 31] [--json]

The worker's own processor decodes and scores the fleet's records, its monitor counts them and serves the page over
HTTP; only Kafka is left out. Both streams have 64 partitions, and records of every kind that cannot be used are among
them. Status 1 when the page has more than 2,000 series or a scrape takes more than 100 ms of processor time.
"""

import argparse
import json
import logging
import random
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.speed.telemetry import START_MS, Fleet
from detectors.catalogue import load_detectors
from detectors.scoring import StreamScorer
from schemas.streams import CONSENSUS, NODE
from streams import Processor, Records, WorkerConfig
from streams.lifecycle import Assigned, Lifecycle, Opened
from streams.monitor import Monitor
from streams.statistics import SourceState
from vigil.malformed import KINDS, break_record

__all__ = ["measured"]

PARTITIONS: Final = 64
BATCH: Final = 20_000
SCRAPES: Final = 20
FULL: Final = 31
WHOLE_NODES: Final = 1_000
MOST_SERIES: Final = 2_000
MOST_SECONDS: Final = 0.1


def measured(nodes: int, steps: int) -> dict[str, Any]:
    """Fill a worker's windows, then scrape it.

    Args:
        nodes: of the fleet.
        steps: that each of them sends; the first thousand send a window's at least, so that there are verdicts.

    Returns:
        ``nodes`` with windows, ``windows_scored``, ``series``, ``bytes`` of the page, ``scrape_ms`` (by the clock:
        best, median, worst; ``cpu``: this process' time, server and client together, which others on the machine do not
        change).
    """
    streams = {stream.topic: StreamScorer(stream, load_detectors(stream)) for stream in (CONSENSUS, NODE)}
    processor, held = Processor(streams), [(topic, number) for topic in streams for number in range(PARTITIONS)]
    lifecycle = Lifecycle().after(Opened())[0].after(Assigned(held))[0]
    source = SourceState(broker_up=True, lag=dict.fromkeys(held, 12345), at=1.0)
    registry = CollectorRegistry()
    monitor = Monitor(
        WorkerConfig(http_port=0), registry, processor, lifecycle=lambda: lifecycle, source=lambda: source
    )
    for records in _records(nodes, steps):
        monitor.committed(processor.process([records]))
        monitor.metrics.ended("committed")
    server = monitor.server
    if server is None:
        raise RuntimeError("the monitor serves no page")
    server.start()
    try:
        return {
            "nodes": len(streams[CONSENSUS.topic].store),
            "windows_scored": int(_total(registry, "vigil_windows_scored")),
            **_scraped("http://{}:{}/metrics".format(*server.address)),
        }
    finally:
        server.close()


def _records(nodes: int, steps: int) -> Iterator[Records]:
    """Yield the fleet's records in batches, behind them one of each kind that cannot be used."""
    offsets = np.zeros(PARTITIONS, np.int64)
    fleet, rng, pending = Fleet(nodes), random.Random(1), []
    for step in range(max(steps, FULL)):
        for node in range(nodes if step < steps else min(nodes, WHOLE_NODES)):
            pending.append((fleet.keys[node], fleet.value(node, step, START_MS + 1000 * step), node % PARTITIONS))
            if len(pending) == BATCH:
                yield _columns(pending, offsets)
                pending = []
    key, value = fleet.keys[0], fleet.value(0, FULL, START_MS + 1000 * FULL)
    for kind in KINDS:
        broken = break_record(key, value, kind, rng)
        pending.append((broken.key, broken.value, 0))
    yield _columns(pending, offsets)


def _columns(pending: list[tuple[bytes | None, bytes | None, int]], offsets: Any) -> Records:
    keys, values, partitions = zip(*pending, strict=True)
    at = []
    for partition in partitions:
        at.append(offsets[partition])
        offsets[partition] += 1
    return Records(CONSENSUS.topic, np.array(partitions, np.int32), np.array(at, np.int64), list(keys), list(values))


def _scraped(url: str) -> dict[str, Any]:
    seconds, used = [], time.process_time()
    for _ in range(SCRAPES):
        began = time.perf_counter()
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own
            page = answer.read()
        seconds.append(time.perf_counter() - began)
    cpu = (time.process_time() - used) / SCRAPES
    told = {"best": min(seconds), "median": statistics.median(seconds), "worst": max(seconds), "cpu": cpu}
    times = {name: round(1000 * value, 1) for name, value in told.items()}
    series = sum(len(family.samples) for family in text_string_to_metric_families(page.decode()))
    return {"series": series, "bytes": len(page), "scrape_ms": times}


def _total(registry: CollectorRegistry, name: str) -> float:
    return sum(
        sample.value
        for family in registry.collect()
        if family.name == name
        for sample in family.samples
        if sample.name == f"{name}_total"
    )


def main() -> int:
    """Measure, and print one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=FULL, help="that each node sends; a window is 30")
    parser.add_argument("--json", action="store_true", help="on one line")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = measured(asked.nodes, asked.steps)
    print(json.dumps(found, indent=None if asked.json else 1))
    return int(found["series"] > MOST_SERIES or found["scrape_ms"]["cpu"] > 1000 * MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
