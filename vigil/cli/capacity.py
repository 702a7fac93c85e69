"""`vigil capacity`."""

from typing import Annotated

import typer
from rich.table import Table

from schemas.streams import CONSENSUS, NODE
from vigil.capacity import Answer, answer, measure
from vigil.cli.options import JsonOption
from vigil.cli.output import print_json, stdout, with_progress
from vigil.errors import CheckError, InputError

__all__ = ["command"]

STREAMS = {stream.name: stream for stream in (CONSENSUS, NODE)}
GIGABYTE = 1e9


def command(
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Nodes of the fleet.")],
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=1e-6, help="Records a second of each node; one a step when not given."),
    ] = None,
    stream: Annotated[str, typer.Option("--stream", help="consensus or node.")] = CONSENSUS.name,
    cores: Annotated[int, typer.Option("--cores", min=0, help="Cores to plan for; all of this machine when 0.")] = 0,
    memory_gb: Annotated[
        float, typer.Option("--memory-gb", min=0, help="Memory to plan for; all of this machine when 0.")
    ] = 0.0,
    json: JsonOption = False,
) -> None:
    """Say how many workers a fleet takes, and whether it fits on this machine.

    Scores a simulated fleet for a few seconds with the shipped models and the worker's own code, and adds what Kafka's
    client, the commits and Redis took where whole workers were measured (docs/performance.md). Plans for 70 % of a core
    a worker and 80 % of the memory. Run it on a machine of the kind that workers get. Exits with 1 when the fleet does
    not fit.
    """
    if stream not in STREAMS:
        raise InputError(f"--stream {stream}: no such stream", hint=f"choose from {', '.join(STREAMS)}")
    kind = STREAMS[stream]
    measured = with_progress(lambda say: measure(kind, say=say), quiet=json)
    per_node = 1000.0 / kind.step_ms if rate is None else rate
    found = answer(measured, nodes, per_node, cores, round(memory_gb * GIGABYTE))
    if json:
        print_json(found)
    else:
        stdout.print(_table(found))
    if not found.fits:
        raise CheckError(f"it does not fit: {found.reason}", hint="more machines of this kind, or longer steps")


def _table(found: Answer) -> Table:
    table = Table(show_header=False, box=None)
    one, workers = found.measured, found.workers
    table.add_row(
        "one worker, one core", f"{one.records_per_second:,.0f} records/s ({one.cpu_us_per_record:.1f} us each)"
    )
    table.add_row("a node", f"{one.bytes_per_node / 1000:.1f} KB")
    table.add_row("asked", f"{found.nodes:,} nodes, {found.records_per_second:,.0f} records/s")
    table.add_row(
        "takes", f"{workers} worker{'s' if workers > 1 else ''} of {found.bytes_per_worker / GIGABYTE:.2f} GB"
    )
    table.add_row("there is", f"{found.cores} cores, {found.memory_bytes / GIGABYTE:.1f} GB")
    table.add_row("fits", "yes" if found.fits else f"no: {found.reason}")
    return table
