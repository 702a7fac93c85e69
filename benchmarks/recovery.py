"""Measure what keeping windows costs and gives: ``python -m benchmarks.recovery --kafka HOST:PORT [--quick] [--json]``.

A simulated fleet's telemetry goes into topics made for this run (deleted at its end). Workers with the shipped
consensus detector, one at a time, each in a process of its own, work it off without and with state: records a second,
a few turns of each, the best is compared. Then one comes back: how long until it has committed the next record, and how
much of that it read state and replayed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Thread
from typing import Any, Final

import msgspec

from benchmarks.speed.telemetry import produce
from benchmarks.topics import PARTITIONS, own_topics
from detectors.catalogue import load_detectors
from detectors.scoring import StreamScorer
from schemas.streams import CONSENSUS
from schemas.topics import partition_of
from streams import KafkaConfig, StateConfig, Worker, WorkerConfig
from vigil.simulator.consensus import ConsensusFleet, simulate_consensus

START_MS: Final = 1_750_000_000_000
MEMBERS: Final = 5
PATIENCE_SECONDS: Final = 600.0


def telemetry(nodes: int, steps: int, stretch: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield key, value and partition of each record of a fleet without faults, in event-time order."""
    fleet = ConsensusFleet(clusters=nodes // MEMBERS, members=MEMBERS)
    start_ms = START_MS + stretch * 1000
    for record in simulate_consensus(fleet, steps, 1, start_ms, stretch=stretch).records():
        cluster = record.key.decode().rpartition("-")[0]
        yield record.key, record.value, partition_of(cluster, "", PARTITIONS)


def produce_fleet(kafka: KafkaConfig, nodes: int, steps: int, stretch: int = 0) -> int:
    """Send telemetry; returns the number of records."""
    return produce(kafka.bootstrap, kafka.topics["consensus"], telemetry(nodes, steps, stretch))


def work_off(kafka: KafkaConfig, records: int, state: StateConfig) -> dict[str, Any]:
    """Run a worker until it has committed this many records.

    Returns:
        ``rate``, records a second from the first commit to the last, and ``rate_cpu``, by this process's CPU time;
        ``first``, seconds from the assignment of partitions to the first commit, and of those ``restore`` and
        ``replay``; ``nodes`` that came back; ``stages``, seconds.
    """
    scorer = StreamScorer(CONSENSUS, load_detectors(CONSENSUS))
    worker = Worker([scorer], WorkerConfig(http_port=None, state=state), kafka)
    thread = Thread(target=worker.run)
    thread.start()
    monitor, deadline = worker.monitor, time.monotonic() + PATIENCE_SECONDS
    marks: dict[str, tuple[float, int]] = {}
    used = 0.0
    while monitor.records < records and thread.is_alive() and time.monotonic() < deadline:
        now = time.monotonic()
        if worker.lifecycle.held:
            marks.setdefault("assigned", (now, 0))
        if monitor.records and "first" not in marks:
            marks["first"] = (now, monitor.records)
            used = time.process_time()
        time.sleep(0.002)
    ended, count, cpu = time.monotonic(), monitor.records, time.process_time()
    worker.stop()
    thread.join()
    assigned, (first, before) = marks.get("assigned", (ended, 0))[0], marks.get("first", (ended, count))

    def total(name: str, **labels: str) -> float:
        return worker.registry.get_sample_value(name, labels) or 0.0

    return {
        "records": count,
        "rate": (count - before) / (ended - first) if ended > first else 0.0,
        "rate_cpu": (count - before) / (cpu - used),
        "first": first - assigned,
        "restore": total("vigil_restore_seconds_total"),
        "replay": total("vigil_stage_seconds_total", stage="replay"),
        "replayed": total("vigil_replayed_records_total", topic=kafka.topics["consensus"]),
        "nodes": total("vigil_restored_nodes_total", stream="consensus"),
        "states": total("vigil_state_records_total"),
        "stages": {
            name: round(total("vigil_stage_seconds_total", stage=name), 2)
            for name in ("idle", "consume", "decode", "score", "state", "collect", "publish", "view", "replay")
        },
    }


def apart(kafka: KafkaConfig, records: int, state: StateConfig) -> dict[str, Any]:
    """Call ``work_off`` in a process of its own."""
    arguments = {
        "kafka": {"bootstrap": kafka.bootstrap, "group_id": kafka.group_id, "topics": dict(kafka.topics)},
        "records": records,
        "state": msgspec.to_builtins(state),
    }
    command = [sys.executable, "-m", "benchmarks.recovery", "--work-off", json.dumps(arguments)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, check=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def measure(bootstrap: str, nodes: int, steps: int, turns: int, state: StateConfig) -> dict[str, Any]:
    """Run the whole comparison."""
    with own_topics(bootstrap) as kafka:
        count = produce_fleet(kafka, nodes, steps)
        runs: dict[str, list[dict[str, Any]]] = {"without": [], "with": []}
        for turn in range(turns):
            for name, enabled in (("without", False), ("with", True)):
                group = replace(kafka, group_id=f"{kafka.group_id}-{name}-{turn}")
                runs[name].append(apart(group, count, replace(state, enabled=enabled)))
        after = produce_fleet(kafka, nodes, 1, stretch=steps)
        back = apart(replace(kafka, group_id=f"{kafka.group_id}-with-{turns - 1}"), after, state)
    best = {name: max(each["rate"] for each in found) for name, found in runs.items()}
    cpu = {name: max(each["rate_cpu"] for each in found) for name, found in runs.items()}
    return {
        "nodes": nodes,
        "records": count,
        "records_per_second": best,
        "ratio": best["with"] / best["without"],
        "records_per_cpu_second": cpu,
        "ratio_cpu": cpu["with"] / cpu["without"],
        "stages": {name: found[-1]["stages"] for name, found in runs.items()},
        "state_records": runs["with"][-1]["states"],
        "recovery": back,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kafka", default="127.0.0.1:9092")
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=70)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--every-steps", type=int, default=StateConfig().every_steps)
    parser.add_argument("--replay-records", type=int, default=StateConfig().replay_records)
    parser.add_argument("--quick", action="store_true", help="a small fleet, one turn")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work-off", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work_off:
        given = json.loads(options.work_off)
        state = StateConfig(**given["state"])
        print(json.dumps(work_off(KafkaConfig(**given["kafka"]), given["records"], state)))
        return
    nodes, steps, turns = (500, 60, 1) if options.quick else (options.nodes, options.steps, options.turns)
    state = StateConfig(every_steps=options.every_steps, replay_records=options.replay_records)
    found = measure(options.kafka, nodes, steps, turns, state)
    if options.json:
        print(json.dumps(found))
        return
    rates, cpu, back = found["records_per_second"], found["records_per_cpu_second"], found["recovery"]
    print(f"{found['nodes']:,} nodes, {found['records']:,} records, {found['state_records']:,.0f} state records")
    print(f"records/s without state {rates['without']:,.0f}, with {rates['with']:,.0f}: {found['ratio']:.1%}")
    print(f"by CPU time without state {cpu['without']:,.0f}, with {cpu['with']:,.0f}: {found['ratio_cpu']:.1%}")
    print(f"restart: {back['nodes']:,.0f} nodes back; next record committed {back['first']:.2f} s after the assignment")
    print(f"state read in {back['restore']:.2f} s, {back['replayed']:,.0f} records replayed in {back['replay']:.2f} s")


if __name__ == "__main__":
    main()
