"""Does memory grow: ``python -m benchmarks.soak [--hours 24] [--nodes 2000] [--step-s 60] [--speed 100] [--json]``.

A day of event time of a simulated fleet goes through one worker with the shipped consensus detector, at ``--speed``
times its pace, as deployed: Kafka in, Kafka and Redis out, one transaction a batch. Its resident memory is read all the
while. The growth is that of the median of the last hour of event time over the median of the hour after the first.
A consensus member reports every second; a day of that is 173 million records for 2,000 nodes, 200,000 a second at 100
times speed: here a member reports every ``--step-s`` seconds, which changes the number of records and nothing else.
Ends with 1 where memory grew by more than ``--most`` percent, or where the day did not fit into ``--minutes``.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import threading
import time
from typing import Any, Final

from benchmarks.recovery import MEMBERS, START_MS
from benchmarks.stage import Stage
from benchmarks.waiting import LateError, wait_until
from vigil.publisher import Publisher
from vigil.simulator.consensus import ConsensusFleet, simulate_consensus

NAME: Final = "worker-0"
PARTITIONS: Final = 4
HOUR_S: Final = 3600
STRETCHES_AN_HOUR: Final = 4
FAULTS_AN_HOUR: Final = 0.05  # a cluster
LOOK_SECONDS: Final = 0.5
PACE_SECONDS: Final = 0.01
PROCESSED: Final = "dwcp_metrics_processed_total{"


class Memory:
    """Reads the worker's metrics on a thread, as Prometheus does: resident memory, beside how far in event time it is.

    Args:
        stage: whose worker.
        records_an_hour: of event time.
    """

    def __init__(self, stage: Stage, records_an_hour: float) -> None:
        self._stage, self._records_an_hour = stage, records_an_hour
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)
        self.error: BaseException | None = None
        self.committed = 0
        self.by_hour: dict[int, list[float]] = {}
        """Megabytes, by hour of event time."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._closing.set()
        self._thread.join(30)

    def _run(self) -> None:
        try:
            while not self._closing.wait(LOOK_SECONDS):
                shown = self._stage.workers.metrics(NAME)
                self.committed = int(sum(value for name, value in shown.items() if name.startswith(PROCESSED)))
                hour = int(self.committed / self._records_an_hour)
                self.by_hour.setdefault(hour, []).append(shown["process_resident_memory_bytes"] / 2**20)
        except BaseException as error:  # noqa: BLE001 -- raised again by the caller
            self.error = error


def soak(hours: float, nodes: int, step_s: int, speed: float, minutes: float) -> dict[str, Any]:
    """Run; returns what is printed as JSON."""
    fleet = ConsensusFleet(clusters=nodes // MEMBERS, members=MEMBERS, step_ms=1000 * step_s)
    records_an_hour = nodes * HOUR_S / step_s
    began = time.monotonic()
    settings = {
        "streams.consensus.step_ms": 1000 * step_s,
        "streams.consensus.idle_s": 120 * step_s,
        "streams.node.enabled": False,
    }
    with Stage(PARTITIONS, settings) as stage:
        stage.workers.start([NAME])
        wait_until(lambda: stage.workers.ready(NAME).get("status") == "ok", "the worker")
        memory = Memory(stage, records_an_hour)
        memory.start()
        until = began + 60 * minutes
        sent = _feed(stage, fleet, memory, speed, stretches=round(hours * STRETCHES_AN_HOUR), until=until)
        while memory.committed < sent and memory.error is None and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        memory.stop()
        exits = list(stage.workers.exits)
    if memory.error is not None:
        raise memory.error
    seconds = time.monotonic() - began
    hourly = {hour: round(statistics.median(each), 1) for hour, each in sorted(memory.by_hour.items())}
    whole = [hour for hour in hourly if 1 <= hour < hours]
    return {
        "nodes": nodes,
        "step_s": step_s,
        "event_hours": round(memory.committed / records_an_hour, 2),
        "records": memory.committed,
        "seconds": round(seconds),
        "times_speed": round(memory.committed / records_an_hour * HOUR_S / seconds, 1),
        "records_per_second": round(memory.committed / seconds),
        "resident_mb": hourly,
        "growth_percent": round(100 * (hourly[whole[-1]] / hourly[whole[0]] - 1), 2) if len(whole) > 1 else None,
        "most_mb": round(max(max(each) for each in memory.by_hour.values()), 1),
        "workers_ended": len(exits),
        "load": round(os.getloadavg()[2], 1),
    }


def _feed(stage: Stage, fleet: ConsensusFleet, memory: Memory, speed: float, *, stretches: int, until: float) -> int:
    """Send a quarter of an hour after the other at a pace, never more than two ahead; returns the number of records."""
    steps = HOUR_S * 1000 // STRETCHES_AN_HOUR // fleet.step_ms
    counts: list[int] = []
    began = time.monotonic()
    with Publisher(stage.kafka.topics["consensus"], {"bootstrap.servers": stage.kafka.bootstrap}) as publisher:
        for stretch in range(stretches):
            start_ms = START_MS + stretch * steps * fleet.step_ms
            records = simulate_consensus(fleet, steps, 1, start_ms, FAULTS_AN_HOUR, stretch=stretch).records()
            counts.append(0)
            for record in records:
                early = began + (record.ts_ms - START_MS) / 1000 / speed - time.monotonic()
                if early > PACE_SECONDS:
                    time.sleep(early)
                publisher.send(record.key, record.value, node=record.key)
                counts[-1] += 1
            publisher.flush()
            while memory.committed < sum(counts[:-1]):
                if memory.error is not None or time.monotonic() > until:
                    return sum(counts)
                time.sleep(LOOK_SECONDS)
    return sum(counts)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=24, help="of event time (default 24)")
    parser.add_argument("--nodes", type=int, default=2_000, help="of the fleet (default 2000)")
    parser.add_argument("--step-s", type=int, default=60, help="seconds between two records of a node (default 60)")
    parser.add_argument("--speed", type=float, default=100, help="event seconds a second, at most (default 100)")
    parser.add_argument("--minutes", type=float, default=40, help="longest time it may take (default 40)")
    parser.add_argument("--most", type=float, default=2.0, help="percent that memory may grow (default 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        found = soak(options.hours, options.nodes, options.step_s, options.speed, options.minutes)
    except LateError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' ')}: {value}")
    grown = found["growth_percent"]
    done = found["event_hours"] > options.hours - 0.05 and not found["workers_ended"]
    return 0 if done and grown is not None and grown <= options.most else 1


if __name__ == "__main__":
    sys.exit(main())
