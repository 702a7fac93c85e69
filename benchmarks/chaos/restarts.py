"""Restart workers one after the other, with a stopwatch: ``python -m benchmarks.chaos.restarts [--overlap] [--json]``.

On the same stage as ``python -m benchmarks.chaos``, with one broker unless told otherwise: three take more than two
cores have to give, and then all that is measured is the wait for a processor. Workers have stable names; each is ended
by SIGTERM and started again, or, with ``--overlap``, its successor is started first and takes the name over. Of each
restart: seconds from the signal (the start of the successor) until every partition of the worker has gone on, where
they went, the longest pause of any partition, what moved between the others, and how many generations the broker
counted. Ends with 1 where a partition of the others moved.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.group import generations
from benchmarks.chaos.pauses import Pauses
from benchmarks.chaos.world import Setup, World
from benchmarks.waiting import LateError, wait_until

__all__ = ["rolling"]

MOVED: Final = ('"partitions assigned"', '"partitions given up"')
# What a worker logs, and what is over by then.
PHASES: Final = {
    "stopped": "stopped",
    "stream": "loaded",
    "partitions assigned": "joined",
    "windows restored": "restored",
}
WARM_SECONDS: Final = 20.0


def rolling(world: World, pauses: Pauses, *, overlap: bool = False) -> dict[str, Any]:
    """Restart every worker, one after the other.

    Args:
        world: whose workers.
        pauses: the stopwatch, running.
        overlap: start the successor before the worker ends; it takes the name over.

    Returns:
        ``seconds`` and ``pause_seconds`` of each; ``moves_of_others``, ``new_generations`` and ``lost_names`` (workers
        whose successor did not get the same partitions) over all; ``timelines``; ``load`` of the machine before each.
    """
    group = world.kafka.group_id
    before = generations(world.bootstrap, group)[-1:]
    found = [_restarted(world, pauses, name, overlap=overlap) for name in sorted(world.workers.names)]
    after = generations(world.bootstrap, group)
    return {
        "seconds": [each["seconds"] for each in found],
        "pause_seconds": [each["pause"] for each in found],
        "moves_of_others": sum(each["moves"] for each in found),
        "new_generations": len(after) - 1 - after.index(before[0]) if before else len(after),
        "timelines": [each["timeline"] for each in found],
        "load": [each["load"] for each in found],
    }


def _restarted(world: World, pauses: Pauses, name: str, *, overlap: bool) -> dict[str, Any]:
    workers = world.workers
    others = [each for each in workers.names if each != name]
    world.calm()
    wait_until(lambda: len(world.partitions_of(name)) > 0, "partitions")
    mine, moves = world.partitions_of(name), _moves(world, others)
    load = round(os.getloadavg()[0], 1)
    pauses.begin()
    signalled = time.time()
    with workers.held(name):
        if overlap:
            workers.succeed(name)
        else:
            workers.finish(name)
        ended, offsets = time.time(), world.offsets()
        if not overlap:
            workers.run(name)
        wait_until(lambda: world.beyond(offsets, mine), "its partitions to go on")
    seconds = time.time() - signalled
    wait_until(lambda: world.partitions_of(name) == mine or _moves(world, others) > moves, "its partitions")
    world.calm()
    events = [(_time(line) - signalled, str(line["event"])) for line in workers.lines(name)]
    timeline = {PHASES[event]: round(at, 2) for at, event in events if at > 0 and event in PHASES}
    return {
        "seconds": round(seconds, 2),
        "pause": pauses.longest(),
        "moves": _moves(world, others) - moves,
        "timeline": {**timeline, "ended": round(ended - signalled, 2)},
        "load": load,
    }


def _moves(world: World, names: list[str]) -> int:
    return sum(world.workers.said(name, word) for name in names for word in MOVED)


def _time(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def measure(setup: Setup, rounds: int, *, overlap: bool) -> dict[str, Any]:
    """Run on a stage of its own; returns what is printed as JSON."""
    with World(setup) as world:
        pauses = Pauses(world)
        pauses.start()
        world.calm()
        time.sleep(WARM_SECONDS)  # brokers that have just started are busy with themselves
        turns = [rolling(world, pauses, overlap=overlap) for _ in range(rounds)]
        pauses.stop()
        world.settle()
        world.workers.stop()
        _, compared = world.check()
    seconds, longest = ([at for turn in turns for at in turn[key]] for key in ("seconds", "pause_seconds"))
    return {
        "brokers": setup.brokers,
        "workers": setup.workers,
        "overlap": overlap,
        "median_seconds": round(statistics.median(seconds), 2),
        "most_seconds": max(seconds),
        "median_pause_seconds": round(statistics.median(longest), 2),
        "moves_of_others": sum(turn["moves_of_others"] for turn in turns),
        "new_generations": sum(turn["new_generations"] for turn in turns),
        "lost": len(compared.lost),
        "repeated": len(compared.repeated),
        "changed": len(compared.changed),
        "turns": turns,
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos.restarts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=3, help="restarts of each worker (default 3)")
    parser.add_argument("--brokers", type=int, default=1, help="how many to start (default 1)")
    parser.add_argument("--overlap", action="store_true", help="start the successor first; it takes the name over")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep data and logs of brokers and workers there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    # SIGTERM ends the servers too: as an exception, it leaves through the world's block.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        found = measure(Setup(brokers=options.brokers, keep=options.keep), options.rounds, overlap=options.overlap)
    except LateError as error:
        print(f"restarts: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found))
    else:
        _print(found)
    return 1 if found["moves_of_others"] or found["lost"] or found["repeated"] or found["changed"] else 0


def _print(found: dict[str, Any]) -> None:
    for turn in found["turns"]:
        for i, timeline in enumerate(turn["timelines"]):
            steps = ", ".join(f"{phase} {at:.2f}" for phase, at in sorted(timeline.items(), key=lambda each: each[1]))
            print(
                f"{turn['seconds'][i]:.2f} s, pause {turn['pause_seconds'][i]:.2f} s, load {turn['load'][i]}: {steps}"
            )
    for name, value in found.items():
        if name != "turns":
            print(f"{name.replace('_', ' ')}: {value}")


if __name__ == "__main__":
    sys.exit(main())
