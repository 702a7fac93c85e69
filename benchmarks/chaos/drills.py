"""One fault at a time, with a stopwatch: ``python -m benchmarks.chaos.drills [--json]``.

On the same stage as ``python -m benchmarks.chaos``: rolling restart of three workers with stable names, SIGKILL of one
of two workers, a worker stopped for 30 s (a zombie when it continues), all brokers away for 60 s, Redis away for 60 s;
``--only`` for some of them, ``--brokers 1`` for a machine that three are too much for.
Then all is worked off and compared with an undisturbed run.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.pauses import Pauses
from benchmarks.chaos.restarts import rolling
from benchmarks.chaos.verdicts import Comparison
from benchmarks.chaos.world import Setup, World
from benchmarks.waiting import LateError, wait_until


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
        return rolling(self._world, self._pauses)

    def overlapping_restart(self) -> dict[str, Any]:
        """Start every worker's successor beside it: it takes the name over."""
        return rolling(self._world, self._pauses, overlap=True)

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
        self._world.calm()
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
        self._world.calm()
        name = next(each for each in sorted(world.workers.names) if world.partitions_of(each))
        before = self._fenced(name)
        with world.workers.held(name):
            world.workers.signal(name, signal.SIGSTOP)
            time.sleep(30)
            world.workers.signal(name, signal.SIGCONT)
            time.sleep(5)
        self._world.calm()
        return {"fenced_or_abandoned": self._fenced(name) - before}

    def brokers_away(self) -> dict[str, Any]:
        """Kill all brokers; start them again after a minute."""
        world = self._world
        if world.cluster is None:
            return {}
        self._world.calm()
        exits = len(world.workers.exits)
        for broker in world.cluster.brokers:
            broker.stop(signal.SIGKILL)
        time.sleep(60)
        world.cluster.start()
        began = time.monotonic()
        self._world.calm()
        return {"back_seconds": round(time.monotonic() - began, 1), "workers_ended": len(world.workers.exits) - exits}

    def redis_away(self) -> dict[str, Any]:
        """Kill Redis; start it again, empty, after a minute."""
        world = self._world
        self._world.calm()
        exits = len(world.workers.exits)
        self._pauses.begin()
        world.redis.kill()
        time.sleep(60)
        pause = self._pauses.longest()
        world.redis.start()
        return {"pause_seconds": pause, "workers_ended": len(world.workers.exits) - exits}

    def _fenced(self, name: str) -> int:
        words = ('"batch abandoned', '"the worker cannot go on"')
        return sum(self._world.workers.said(name, word) for word in words)


NAMES: Final = ("rolling_restart", "overlapping_restart", "takeover", "zombie", "redis_away", "brokers_away")


def drill(setup: Setup, names: Sequence[str]) -> dict[str, Any]:
    """Run these; returns what is printed as JSON."""
    with World(setup) as world:
        pauses = Pauses(world)
        pauses.start()
        drills = Drills(world, pauses)
        found: dict[str, Any] = {}
        for name in names:
            print(name.replace("_", " "), file=sys.stderr)
            found[name] = getattr(drills, name)()
        pauses.stop()
        world.settle()
        world.workers.stop()
        expected, compared = world.check()
    details = {name: getattr(compared, name) for name in Comparison.__slots__}
    return {
        **found,
        "load": round(os.getloadavg()[1], 1),
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
    parser.add_argument("--brokers", type=int, default=3, help="how many to start (default 3)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="DRILL", help=", ".join(NAMES))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data and logs of brokers and workers there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    # SIGTERM ends the servers too: as an exception, it leaves through the world's block.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        found = drill(Setup(seed=options.seed, brokers=options.brokers, keep=options.keep), options.only)
    except LateError as error:
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
