"""`vigil simulate`."""

import time
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from schemas.codec import encode
from schemas.topics import INCIDENTS
from streams.config import KafkaConfig
from streams.kafka import client_properties
from vigil.assembly import kafka_config, stream_of
from vigil.cli.options import ConfigOption, JsonOption, KafkaOption, SeedOption, SetOption, configured
from vigil.cli.output import note, print_json, progress_bar
from vigil.cli.replay import parse_speed
from vigil.errors import InputError
from vigil.publisher import Publisher
from vigil.replay import repeated, replay
from vigil.simulator import (
    ConsensusFleet,
    NodeFleet,
    Simulation,
    simulate_consensus,
    simulate_nodes,
    write_recording,
)

__all__ = ["command"]

MEAN_CLUSTER = 4.5  # members of a simulated cluster
MOST_RECORDS = 20_000_000  # about 3 GB of columns


class Kind(StrEnum):
    """What is simulated."""

    CONSENSUS = "consensus"
    NODE = "node"


MINUTES = {Kind.CONSENSUS: 30.0, Kind.NODE: 1440.0}
FAULTS = {Kind.CONSENSUS: 6.0, Kind.NODE: 0.9}
STEP_MS = {Kind.CONSENSUS: 1_000, Kind.NODE: 60_000}


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    kind: Annotated[
        Kind, typer.Argument(metavar="[consensus|node]", help="A record a second, or node metrics, a record a minute.")
    ] = Kind.CONSENSUS,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write a recording (.jsonl, .jsonl.gz, .parquet) instead.")
    ] = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Nodes of the fleet, about.")] = 36,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, help="Event time: 30 of consensus, 1440 of node metrics.")
    ] = None,
    faults: Annotated[
        float | None,
        typer.Option("--faults", min=0, help="Consensus: faults a cluster-hour (6); node: incidents a node-day (0.9)."),
    ] = None,
    speed: Annotated[str, typer.Option("--speed", help="Event seconds a second: 1, 20, ..., or max.")] = "1",
    forever: Annotated[bool, typer.Option("--forever", help="Begin again at the end, event time going on.")] = False,
    history: Annotated[
        float, typer.Option("--history", min=0, help="Minutes of event time before now that are sent at once, first.")
    ] = 0.0,
    incidents: Annotated[
        bool, typer.Option("--incidents", help="Publish the reported incidents of node metrics first.")
    ] = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Publish or record a simulated fleet with labelled faults.

    Without --out the records go to Kafka at the pace of --speed, event time beginning now, or --history minutes ago so
    that windows are full at once. With --out they become a recording, and the truth is written beside it:
    NAME.faults.json, and NAME.incidents.jsonl for node metrics.
    """
    pace = parse_speed(speed)
    settings = configured(config, set_, kafka__bootstrap=kafka).settings
    now_ms = time.time_ns() // 1_000_000
    start_ms, minutes = now_ms - round(history * 60_000), minutes or MINUTES[kind]
    simulation = _simulate(kind, nodes, minutes, FAULTS[kind] if faults is None else faults, seed, start_ms)
    if out is not None:
        _record(out, simulation, json=json)
        return
    broker = kafka_config(settings)
    topic = broker.topic(kind, stream_of(kind).topic)
    note(f"{len(simulation)} records of {len(simulation.nodes)} nodes, {len(simulation.faults)} faults, to {topic}")
    reported = _publish_incidents(simulation, broker) if incidents else 0
    records: Iterable[tuple[bytes, bytes, int]] = simulation.records()
    if forever:
        steps = int(simulation.ts_ms[-1] - simulation.ts_ms[0]) // STEP_MS[kind] + 1
        records = repeated(simulation.records, steps * STEP_MS[kind])
    with Publisher(topic, client_properties(broker, "producer")) as publisher, progress_bar(quiet=json) as bar:
        task = bar.add_task(f"simulating {kind}", total=None if forever else len(simulation), rate="")
        pace = replace(pace, live_ms=now_ms)
        summary = replay(records, publisher, pace=pace, on_progress=lambda done: bar.update(task, completed=done))
    if json:
        print_json({"replay": summary, "faults": simulation.faults, "incidents": reported})
    else:
        note(f"{summary.records} records in {summary.seconds:.1f} s ({summary.records_per_second:,.0f}/s)")


def _simulate(kind: Kind, nodes: int, minutes: float, rate: float, seed: int, start_ms: int) -> Simulation:
    steps = max(1, round(minutes * 60_000 / STEP_MS[kind]))
    if steps * nodes > MOST_RECORDS:
        raise InputError(
            f"{nodes} nodes for {minutes:g} minutes are {steps * nodes:,} records, more than {MOST_RECORDS:,}",
            hint="simulate less at once; --forever goes on by itself",
        )
    if kind is Kind.CONSENSUS:
        fleet = ConsensusFleet(clusters=max(1, round(nodes / MEAN_CLUSTER)))
        return simulate_consensus(fleet, steps, seed, start_ms, rate)
    return simulate_nodes(NodeFleet(nodes=nodes), steps, seed, start_ms, rate)


def _record(out: Path, simulation: Simulation, *, json: bool) -> None:
    written = write_recording(out, simulation)
    if json:
        print_json({"files": [str(path) for path in written], "records": len(simulation), "faults": simulation.faults})
    else:
        note(f"{len(simulation)} records, {len(simulation.faults)} faults: {', '.join(map(str, written))}")


def _publish_incidents(simulation: Simulation, broker: KafkaConfig) -> int:
    topic = broker.topic("incidents", INCIDENTS.name)
    with Publisher(topic, client_properties(broker, "producer")) as publisher:
        for incident in simulation.incidents:
            key = incident.node_id.encode()
            publisher.send(key, encode(incident), node=key)
    return len(simulation.incidents)
