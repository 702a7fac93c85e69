"""One fault at a time, with a stopwatch: ``python -m benchmarks.chaos.drills [--json]``.

On the same stage as ``python -m benchmarks.chaos``: rolling restart of three workers with stable names, SIGKILL of one
of two workers, a worker stopped for 30 s (a zombie when it continues), all brokers away for 60 s, Redis away for 60 s.
Then all is worked off and compared with an undisturbed run.
"""

import argparse
import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException

from benchmarks.chaos.servers import ServerError, wait_until
from benchmarks.chaos.verdicts import Comparison
from benchmarks.chaos.world import Setup, World

MOVED: Final = ('"partitions assigned"', '"partitions given up"')


class Pauses:
    """Watches the group's offsets on a thread; the longest time that a partition stood still.

    Args:
        world: whose group.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._offsets: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._longest = 0.0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pauses", daemon=True)

    def start(self) -> None:
        """Begin watching."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._closing.set()
        self._thread.join(20)

    def begin(self) -> None:
        """Forget what was seen."""
        with self._lock:
            self._longest, now = 0.0, time.monotonic()
            self._since = dict.fromkeys(self._since, now)

    def longest(self) -> float:
        """Seconds, since ``begin``."""
        with self._lock:
            return round(max([self._longest, *(time.monotonic() - at for at in self._since.values())]), 2)

    def _run(self) -> None:
        while not self._closing.wait(0.05):
            try:
                found = self._world.committed()
            except KafkaException:
                continue
            now = time.monotonic()
            with self._lock:
                for number, offset in found.items():
                    if offset != self._offsets.get(number):
                        self._longest = max(self._longest, now - self._since.get(number, now))
                        self._offsets[number], self._since[number] = offset, now


class Drills:
    """The drills, in the order they are run.

    Args:
        world: where.
        pauses: the stopwatch.
    """

    def __init__(self, world: World, pauses: Pauses) -> None:
        self._world, self._pauses = world, pauses

    def rolling_restart(self) -> dict[str, Any]:
        """Restart every worker, one after the other."""
        workers, pauses, moved = self._world.workers, [], 0
        for name in sorted(workers.names):
            others = [each for each in workers.names if each != name]
            self.calm()
            before = self._moves(others)
            self._pauses.begin()
            with workers.held(name):
                workers.finish(name)
                workers.run(name)
            self.calm()
            pauses.append(self._pauses.longest())
            moved += self._moves(others) - before
        return {"pause_seconds": pauses, "moves_of_others": moved}

    def takeover(self) -> dict[str, Any]:
        """Kill one of two workers, three times."""
        world = self._world
        last = max(world.workers.names)
        world.workers.drop(last)
        world.workers.finish(last)
        names = sorted(world.workers.names)
        seconds = [self._taken_over(name) for name in [*names, names[0]]]
        world.workers.add(last)
        return {"seconds": seconds, "session_seconds": world.setup.session_ms / 1000}

    def _taken_over(self, name: str) -> float:
        world = self._world
        self.calm()
        wait_until(lambda: len(world.partitions_of(name)) > 0, "partitions")
        with world.workers.held(name):
            mine, before = world.partitions_of(name), world.committed()
            world.workers.signal(name, signal.SIGKILL)
            took = wait_until(lambda: world.beyond(before, mine), "its partitions to go on")
            world.workers.run(name)
        return round(took, 2)

    def zombie(self) -> dict[str, Any]:
        """Stop a worker for 30 s; when it continues, its partitions are others'."""
        world = self._world
        self.calm()
        name = next(each for each in sorted(world.workers.names) if world.partitions_of(each))
        before = self._fenced(name)
        with world.workers.held(name):
            world.workers.signal(name, signal.SIGSTOP)
            time.sleep(30)
            world.workers.signal(name, signal.SIGCONT)
            time.sleep(5)
        self.calm()
        return {"fenced_or_abandoned": self._fenced(name) - before}

    def brokers_away(self) -> dict[str, Any]:
        """Kill all brokers; start them again after a minute."""
        world = self._world
        if world.cluster is None:
            return {}
        self.calm()
        exits = len(world.workers.exits)
        for broker in world.cluster.brokers:
            broker.stop(signal.SIGKILL)
        time.sleep(60)
        world.cluster.start()
        began = time.monotonic()
        self.calm()
        return {"back_seconds": round(time.monotonic() - began, 1), "workers_ended": len(world.workers.exits) - exits}

    def redis_away(self) -> dict[str, Any]:
        """Kill Redis; start it again, empty, after a minute."""
        world = self._world
        self.calm()
        exits = len(world.workers.exits)
        self._pauses.begin()
        world.redis.kill()
        time.sleep(60)
        pause = self._pauses.longest()
        world.redis.start()
        return {"pause_seconds": pause, "workers_ended": len(world.workers.exits) - exits}

    def calm(self) -> None:
        """Wait until every broker is whole and every partition goes on."""
        if self._world.cluster is not None:
            wait_until(self._world.cluster.whole, "the brokers to be whole")
        before = self._world.offsets()
        wait_until(lambda: self._world.beyond(before, before), "every partition to go on")

    def _moves(self, names: list[str]) -> int:
        return sum(self._world.workers.said(name, word) for name in names for word in MOVED)

    def _fenced(self, name: str) -> int:
        words = ('"batch abandoned', '"the worker cannot go on"')
        return sum(self._world.workers.said(name, word) for word in words)


def drill(setup: Setup) -> dict[str, Any]:
    """Run all; returns what is printed as JSON."""
    with World(setup) as world:
        pauses = Pauses(world)
        pauses.start()
        drills = Drills(world, pauses)
        found: dict[str, Any] = {}
        for act in (
            drills.rolling_restart,
            drills.takeover,
            drills.zombie,
            drills.redis_away,
            drills.brokers_away,
        ):
            print(act.__name__.replace("_", " "), file=sys.stderr)
            found[act.__name__] = act()
        pauses.stop()
        world.settle()
        world.workers.stop()
        expected, compared = world.check()
    details = {name: getattr(compared, name) for name in Comparison.__slots__}
    return {
        **found,
        "verdicts_expected": len(expected.anomalies),
        **{name: len(lines) for name, lines in details.items()},
        "details": details,
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos.drills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="of the telemetry (default 1)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data and logs of brokers and workers there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    # SIGTERM ends the servers too: as an exception, it leaves through the world's block.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        found = drill(Setup(seed=options.seed, keep=options.keep))
    except ServerError as error:
        print(f"drills: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' ')}: {value}")
    return 1 if any(found["details"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
