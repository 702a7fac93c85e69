"""Measure what exactly-once costs: ``python -m benchmarks.exactly_once --kafka HOST:PORT [--quick] [--json]``.

The same worker works the same backlog off with transactions and at least once (it publishes, then commits), a few turns
of each, in processes of their own; the medians are compared.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from statistics import median
from typing import Any, Final

from benchmarks.chaos.at_least_once import AtLeastOncePublisher
from benchmarks.recovery import produce_fleet, work_off
from benchmarks.topics import own_topics
from streams import KafkaConfig, StateConfig, Worker

WAYS: Final = ("exactly once", "at least once")


def apart(kafka: KafkaConfig, records: int, way: str) -> dict[str, Any]:
    """Work the backlog off in a process of its own."""
    arguments = {
        "kafka": {"bootstrap": kafka.bootstrap, "group_id": kafka.group_id, "topics": dict(kafka.topics)},
        "records": records,
        "way": way,
    }
    command = [sys.executable, "-m", "benchmarks.exactly_once", "--work-off", json.dumps(arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def measure(bootstrap: str, nodes: int, steps: int, turns: int) -> dict[str, Any]:
    """Run the comparison, the ways by turns so that a busy machine slows both."""
    rates: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with own_topics(bootstrap) as kafka:
        count = produce_fleet(kafka, nodes, steps)
        for turn in range(turns):
            for way in WAYS:
                group = replace(kafka, group_id=f"{kafka.group_id}-{way.split()[0]}-{turn}")
                rates[way].append(apart(group, count, way))
    by_clock = {way: [round(each["rate"]) for each in found] for way, found in rates.items()}
    by_cpu = {way: [round(each["rate_cpu"]) for each in found] for way, found in rates.items()}
    return {
        "nodes": nodes,
        "records": count,
        "records_per_second": by_clock,
        "records_per_cpu_second": by_cpu,
        "ratio": median(by_clock[WAYS[0]]) / median(by_clock[WAYS[1]]),
        "ratio_cpu": median(by_cpu[WAYS[0]]) / median(by_cpu[WAYS[1]]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kafka", default="127.0.0.1:9092")
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small fleet, one turn")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work-off", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work_off:
        given = json.loads(options.work_off)
        if given["way"] == WAYS[1]:
            Worker.publisher_class = AtLeastOncePublisher
        print(json.dumps(work_off(KafkaConfig(**given["kafka"]), given["records"], StateConfig())))
        return
    nodes, steps, turns = (500, 60, 1) if options.quick else (options.nodes, options.steps, options.turns)
    found = measure(options.kafka, nodes, steps, turns)
    if options.json:
        print(json.dumps(found))
        return
    for way in WAYS:
        rates, by_cpu = found["records_per_second"][way], found["records_per_cpu_second"][way]
        print(f"{way}: {rates} records/s, {by_cpu} by CPU time")
    print(f"exactly once / at least once: {found['ratio']:.1%}, by CPU time {found['ratio_cpu']:.1%}")


if __name__ == "__main__":
    main()
