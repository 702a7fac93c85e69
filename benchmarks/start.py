"""From the start of a worker's process to ready: ``python -m benchmarks.start [--nodes 4000] [--json]``.

A worker with the default settings, so both shipped detectors, works off consensus telemetry of a fleet in four
partitions. Then it is ended and started again, a few times, each after some more telemetry: by SIGTERM, which leaves
nothing to replay, and by SIGKILL, which leaves what its snapshots lack. Of each: seconds that it took to stop, and of
the start until its log says that it is loaded, joined and has its windows back, and until `/readyz` answers 200; and
how many records it has to replay.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import time
from datetime import datetime
from typing import Any, Final

from benchmarks.recovery import MEMBERS, START_MS
from benchmarks.stage import Stage
from benchmarks.waiting import LateError, wait_until
from vigil.publisher import Publisher
from vigil.simulator.consensus import ConsensusFleet, simulate_consensus

NAME: Final = "worker-0"
PARTITIONS: Final = 4
MORE_STEPS: Final = 15
PHASES: Final = {"stream": "loaded", "partitions assigned": "joined", "windows restored": "restored"}


def feed(stage: Stage, nodes: int, steps: int, first: int = 0) -> None:
    """Send a fleet's telemetry, from a step on, and wait until the worker has worked it off."""
    fleet = ConsensusFleet(clusters=nodes // MEMBERS, members=MEMBERS)
    count = stage.committed()
    with Publisher(stage.kafka.topics["consensus"], {"bootstrap.servers": stage.kafka.bootstrap}) as publisher:
        for record in simulate_consensus(fleet, steps, 1, START_MS + 1000 * first, stretch=first).records():
            publisher.send(record.key, record.value, node=record.key)
            count += 1
    wait_until(lambda: stage.committed() >= count, "the telemetry to be worked off")


def start(stage: Stage, number: signal.Signals) -> dict[str, float]:
    """End the worker by a signal, start it again, and wait until it is ready."""
    workers = stage.workers
    with workers.held(NAME):
        signalled = time.time()
        if number is signal.SIGKILL:
            workers.signal(NAME, number)
        else:
            workers.finish(NAME)
        began = time.time()
        workers.run(NAME)
        wait_until(lambda: workers.ready(NAME).get("status") == "ok", "the worker to be ready")
        ready = time.time() - began
    after = [line for line in workers.lines(NAME) if _time(line) > began and line["event"] in PHASES]
    found = {PHASES[line["event"]]: round(_time(line) - began, 2) for line in after}
    replay = next(line["records_to_replay"] for line in after if line["event"] == "windows restored")
    nodes = next(line["nodes"] for line in after if line["event"] == "windows restored")
    return {
        "stopping": round(began - signalled, 2),
        **found,
        "ready": round(ready, 2),
        "records_to_replay": replay,
        "nodes": nodes,
    }


def measure(nodes: int, steps: int, turns: int) -> dict[str, Any]:
    """Run; returns what is printed as JSON."""
    with Stage(PARTITIONS) as stage:
        stage.workers.start([NAME])
        feed(stage, nodes, steps)
        load = os.getloadavg()[0]
        runs: dict[str, list[dict[str, float]]] = {"after_sigterm": [], "after_sigkill": []}
        for turn in range(turns):
            for place, (found, number) in enumerate(zip(runs.values(), (signal.SIGTERM, signal.SIGKILL), strict=True)):
                feed(stage, nodes, MORE_STEPS, steps + (2 * turn + place) * MORE_STEPS)
                found.append(start(stage, number))
    return {
        "nodes": nodes,
        "partitions": PARTITIONS,
        "load": round(load, 1),
        "median_seconds": {kind: statistics.median(each["ready"] for each in found) for kind, found in runs.items()},
        "runs": runs,
    }


def _time(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=4_000, help="of the fleet (default 4000)")
    parser.add_argument("--steps", type=int, default=70, help="of each node before the restarts (default 70)")
    parser.add_argument("--turns", type=int, default=5, help="starts of each kind (default 5)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        found = measure(options.nodes, options.steps, options.turns)
    except LateError as error:
        print(f"start: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found))
        return 0
    for kind, runs in found["runs"].items():
        for run in runs:
            print(f"{kind.replace('_', ' ')}: " + ", ".join(f"{name} {value}" for name, value in run.items()))
    print(f"median seconds to ready: {found['median_seconds']}, load {found['load']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
