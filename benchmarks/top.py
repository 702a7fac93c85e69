"""Measure a look of `vigil top`: ``python -m benchmarks.top [--nodes N] [--json]``.

A real Redis is filled by the view's own writer with the verdicts of N nodes by two detectors, a hundredth of them
active; then a reader looks as the command does. Needs `redis-server`.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from redis import Redis

from streams.config import RedisConfig
from streams.fleet import FleetReader, Selection
from streams.redis_view import add_verdicts
from streams.verdicts import About, NodeAnomaly, NodeVerdict

DETECTORS: Final = ("consensus", "reliability")
ACTIVE_EVERY: Final = 100
CLUSTER: Final = 5
LOOKS: Final = 10
ROWS: Final = 20


@contextmanager
def redis() -> Iterator[RedisConfig]:
    """Run a Redis of its own on a Unix socket."""
    server = shutil.which("redis-server")
    if server is None:
        raise SystemExit("redis-server is not installed: apt-get install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis"
        command = [server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                while not socket.exists():
                    time.sleep(0.01)
                yield RedisConfig(url=f"unix://{socket}", timeout_s=60.0)
            finally:
                process.terminate()


def fill(client: Redis, config: RedisConfig, nodes: int) -> None:
    """Write the verdicts of a fleet."""
    now_ms = time.time_ns() // 1_000_000
    for detector in DETECTORS:
        about = About("consensus", detector, 3.0, f"{detector}-0")
        for start in range(0, nodes, 1_000):
            pipeline = client.pipeline(transaction=False)
            add_verdicts(pipeline, config, [verdict(about, i, now_ms) for i in range(start, min(start + 1_000, nodes))])
            pipeline.execute()


def verdict(about: About, i: int, now_ms: int) -> NodeVerdict:
    """Make the verdict on one node."""
    active = i % ACTIVE_EVERY == 0
    score = 4.0 + i / 1e6 if active else 1.0 + i / 1e6
    severity = "warning" if active else ""
    told = NodeAnomaly(now_ms, f"{i:032x}", score, severity, "slow") if active else None
    place = f"c{i // CLUSTER}", "eu"
    return NodeVerdict(
        about=about,
        node=f"node-{i}",
        ts_ms=now_ms,
        score=score,
        severity=severity,
        cluster=place[0],
        region=place[1],
        anomaly=told,
    )


def measured(nodes: int) -> dict[str, Any]:
    """Look at a fleet: all of it, and one cluster; wall time of a look, and what Redis was busy for."""
    with redis() as config, Redis.from_url(config.url) as client:
        fill(client, config, nodes)
        found: dict[str, Any] = {"nodes": nodes, "keys": client.dbsize()}
        for name, selection in (("all", Selection()), ("cluster", Selection(cluster=f"c{nodes // CLUSTER // 2}"))):
            first = look(client, config, FleetReader(client, config.key_prefix), selection)
            reader = FleetReader(client, config.key_prefix)
            look(client, config, reader, selection)
            others = [look(client, config, reader, selection) for _ in range(LOOKS)]
            found[name] = {
                "first_look_ms": first[0],
                "first_look_redis_ms": first[1],
                "look_ms": round(median(each[0] for each in others), 1),
                "look_redis_ms": round(median(each[1] for each in others), 1),
            }
        return found


def look(client: Redis, config: RedisConfig, reader: FleetReader, selection: Selection) -> tuple[float, float]:
    """Look once. Returns milliseconds of wall time, and of Redis' processor."""
    busy, began = processor_ms(client), time.monotonic()
    fleet = reader.read(selection, ROWS)
    spent = 1000 * (time.monotonic() - began)
    if not fleet.worst or set(fleet.nodes) != set(DETECTORS):
        raise SystemExit(f"the view in {config.address} was not found")
    return round(spent, 1), round(processor_ms(client) - busy, 1)


def processor_ms(client: Redis) -> float:
    """Return the processor time that Redis has used, milliseconds."""
    told: Any = client.info("cpu")
    return 1000 * (float(told["used_cpu_user"]) + float(told["used_cpu_sys"]))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="on one line")
    asked = parser.parse_args()
    print(json.dumps(measured(asked.nodes), indent=None if asked.json else 1))


if __name__ == "__main__":
    main()
