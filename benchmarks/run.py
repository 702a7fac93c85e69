"""Every speed figure of the docs, beside its peers, in one run: ``python -m benchmarks.run [--quick] [--json]``.

Scoring from arrays against the reference's recipe; a backlog worked off, Kafka to Kafka and Redis, against Faust and
quix-streams on the same records and broker; the delay of an anomaly; memory and cost by the size of the fleet. Peers
run in an environment of their own, made at the first run. ``--kafka`` takes a broker of yours; otherwise Apache Kafka
from ``../shared/kafka`` where it is, else the embedded broker. ``--floor FILE`` ends with 1 when a ratio has fallen by
more than a fifth below the one in the file (the JSON of an earlier run).
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from benchmarks.chaos.servers import LAUNCHER
from benchmarks.exactly_once import measure as measure_exactly_once
from benchmarks.speed.end_to_end import peer_rate
from benchmarks.speed.environment import PEERS, peers_python
from benchmarks.speed.growth import measure_fleet, measure_growth
from benchmarks.speed.latency import measure_latency
from benchmarks.speed.scoring import measure_scoring
from benchmarks.speed.servers import Servers, serve
from benchmarks.speed.telemetry import Fleet, produce
from benchmarks.topics import own_topics

NODES: Final = 2_000
SHARE_LOST: Final = 0.2  # of a ratio, before ``--floor`` complains
PARTS: Final = ("scoring", "end_to_end", "latency", "growth")


@contextmanager
def said(what: str) -> Iterator[None]:
    """Say on stderr what is being measured and how long it took."""
    began = time.monotonic()
    sys.stderr.write(f"{what} ... ")
    sys.stderr.flush()
    yield
    sys.stderr.write(f"{time.monotonic() - began:.0f} s\n")


def end_to_end(servers: Servers, python: str | None, *, quick: bool) -> dict[str, Any]:
    """Measure vigil and its peers on the same broker; records a second by the clock, medians of repeats."""
    turns = 1 if quick else 3
    timed = 300_000 if quick else 1_000_000
    with said("end to end: vigil"):
        ours = [measure_fleet(servers, NODES, timed) for _ in range(turns)]
    peers = {
        "faust": ("faust_agent.py", 10_000 if quick else 40_000, ("table",)),
        "faust_in_memory": ("faust_agent.py", 40_000 if quick else 120_000, ()),
        "quix_streams": ("quix.py", 10_000 if quick else 40_000, ("own",)),
        "quix_streams_in_memory": ("quix.py", 120_000 if quick else 400_000, ()),
        "plain_loop": ("plain.py", 120_000 if quick else 400_000, ()),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
    for name, (script, records, more) in peers.items() if python is not None else ():
        with said(f"end to end: {name}"), own_topics(servers.bootstrap) as kafka:
            topic = kafka.topics["consensus"]
            produce(servers.bootstrap, topic, Fleet(NODES).steps(0, -(-records // NODES)))
            for _ in range(turns):
                arguments = (servers.bootstrap, topic, str(records), *more)
                found[name].append(peer_rate([python, str(PEERS / script), *arguments]))
    with said("end to end: what exactly-once costs"):
        cost = measure_exactly_once(servers.bootstrap, NODES, 200, 3)  # of one turn it is noise
    everyone = {"vigil": ours, **{name: each for name, each in found.items() if each}}
    rates = {name: _median(each, "records_per_second") for name, each in everyone.items()}
    return {
        **rates,
        "exactly_once_cost": 1.0 - cost["ratio_cpu"],
        "ratios": {name: rates["vigil"] / rate for name, rate in rates.items() if name != "vigil"},
        "records_per_cpu_second": {name: _median(each, "records_per_cpu_second") for name, each in everyone.items()},
        "stages_us": ours[-1]["stages"],
    }


def _median(each: list[dict[str, Any]], name: str) -> float:
    return statistics.median(one[name] for one in each)


def machine(servers: Servers) -> dict[str, Any]:
    """Describe what it ran on."""
    processor = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "processor": processor[0].partition(":")[2].strip() if processor else platform.processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "kafka": servers.kind,
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).is_file() else []


def run(servers: Servers, parts: list[str], *, quick: bool, peers: bool = True) -> dict[str, Any]:
    """Run the parts that were asked for."""
    found: dict[str, Any] = {"machine": machine(servers), "quick": quick}
    python = str(peers_python()) if peers and {"scoring", "end_to_end"} & set(parts) else None
    if "scoring" in parts:
        with said("scoring from arrays"):
            found["scoring"] = measure_scoring(quick=quick, peers=python)
    if "end_to_end" in parts:
        found["end_to_end"] = end_to_end(servers, python, quick=quick)
    if "latency" in parts:
        with said("latency at 5,000 records a second"):
            found["latency_ms"] = measure_latency(servers, seconds=15 if quick else 60)
    if "growth" in parts:
        with said("growth: 100, 10,000 and 100,000 nodes"):
            grown = measure_growth(servers, quick=quick)
        largest = grown[max(grown)]
        found["memory"] = {"bytes_per_node": largest["bytes_per_node"], "rss_mb_100k_nodes": largest["rss_mb"]}
        found["growth"] = {str(nodes): each["cpu_us_per_record"] for nodes, each in grown.items()}
    return found


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """Return the ratios of a run, larger is better: what ``--floor`` compares."""
    named = {"scoring": found.get("scoring", {}).get("ratio")}
    named |= {f"end_to_end.{name}": ratio for name, ratio in found.get("end_to_end", {}).get("ratios", {}).items()}
    return {name: float(ratio) for name, ratio in named.items() if ratio is not None}


def fallen(found: dict[str, Any], floor: dict[str, Any]) -> list[str]:
    """Say which ratios are more than a fifth below those of an earlier run."""
    now = ratios(found)
    return [
        f"{name}: {now[name]:.2f}, was {before:.2f}"
        for name, before in ratios(floor).items()
        if name in now and now[name] < (1.0 - SHARE_LOST) * before
    ]


def table(found: dict[str, Any]) -> Iterator[str]:
    """Write a run for people, line by line."""
    yield ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    shown: list[tuple[str, Callable[[dict[str, Any]], list[str]]]] = [
        ("scoring", _flat),
        ("end_to_end", _flat),
        ("latency_ms", _flat),
        ("memory", _flat),
        ("growth", _flat),
    ]
    for name, lines in shown:
        if name in found:
            yield f"\n{name}"
            yield from (f"  {line}" for line in lines(found[name]))


def _flat(values: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name, value in values.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{name}.")
        else:
            lines.append(
                f"{prefix + name:44} {value:,.2f}" if isinstance(value, float) else f"{prefix + name:44} {value}"
            )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of each, in under eight minutes")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part only; may be repeated")
    parser.add_argument("--no-peers", action="store_true", help="leave out the peers that are to be installed")
    parser.add_argument("--kafka", help="HOST:PORT of a broker of yours")
    parser.add_argument("--redis", help="URL of a Redis of yours")
    parser.add_argument("--floor", type=Path, help="JSON of an earlier run whose ratios must be kept")
    options = parser.parse_args()
    kind = "apache" if LAUNCHER.is_file() and shutil.which("java") and shutil.which("redis-server") else "embedded"
    parts = options.only or list(PARTS)
    nobody = nullcontext(Servers("", "", "none"))
    with nobody if parts == ["scoring"] else serve(kind, options.kafka, options.redis) as servers:
        found = run(servers, parts, quick=options.quick, peers=not options.no_peers)
    print(json.dumps(found) if options.json else "\n".join(table(found)))
    if options.floor is not None and (lost := fallen(found, json.loads(options.floor.read_text()))):
        sys.exit("slower than it was: " + "; ".join(lost))


if __name__ == "__main__":
    main()
