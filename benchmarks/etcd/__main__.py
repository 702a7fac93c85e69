"""Record a real etcd cluster under faults: ``python -m benchmarks.etcd OUT.jsonl.gz --minutes 20 --seed 1``.

Three etcd members are started in a temporary folder, each behind a proxy; clients put keys through each of them; faults
drawn from the seed strike one after the other in the last 60 % of the time. One record a member and second goes to the
file, the faults beside it. Ctrl-C ends it early and keeps what was recorded. docs/evaluation/recordings.md says more.
"""

import argparse
import asyncio
import contextlib
import gzip
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.etcd.clients import Clients, Load
from benchmarks.etcd.cluster import Cluster, EtcdError
from benchmarks.etcd.effects import effects, ordinary, print_effects, print_ordinary
from benchmarks.etcd.faults import STRENGTHS, Planned, plan
from benchmarks.etcd.injection import Injector
from benchmarks.etcd.recorder import Recorder, write_faults

WARM_UP_SECONDS: Final = 5.0
"""Load before the first record: connections are open and etcd's first elections are over."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is recorded.

    Attributes:
        out: ``NAME.jsonl.gz``; ``NAME.faults.json`` goes beside it.
        cluster: name of the cluster.
        seconds: how long.
        seed: of load and jitter.
        faults: what is injected and when.
    """

    out: Path
    cluster: str
    seconds: int
    seed: int
    faults: Sequence[Planned]


async def record(setup: Setup, console: Console) -> dict[str, Any]:
    """Record; returns what is printed as JSON. SIGINT and SIGTERM cancel it, with the signal's number as the message.

    Raises:
        EtcdError: there is no etcd, or a member does not come up.
    """
    work = asyncio.current_task()
    if work is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel, int(number))
    with tempfile.TemporaryDirectory(prefix="etcd-") as directory:
        cluster = Cluster(Path(directory), setup.seed)
        try:
            await cluster.start()
            return await _record(setup, cluster, console)
        except ExceptionGroup as group:
            known = [each for each in group.exceptions if isinstance(each, EtcdError)]
            if not known:
                raise
            raise known[0] from None
        finally:
            await cluster.stop()


async def _record(setup: Setup, cluster: Cluster, console: Console) -> dict[str, Any]:
    clients = [Clients(member.port) for member in cluster.members]
    load = Load(clients, setup.seed, WARM_UP_SECONDS + setup.seconds)
    injector = Injector(cluster, load)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True) as progress,
        gzip.open(setup.out, "wb") as file,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(write_faults, setup.out, injector.injected)
        recorder = Recorder(file.write, setup.cluster, cluster, clients, injector.injected, setup.seconds)
        bar = progress.add_task("seconds", total=setup.seconds)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(load.run())]
            await asyncio.sleep(WARM_UP_SECONDS)
            beside.append(group.create_task(injector.run(setup.faults)))
            await recorder.run(lambda done: progress.update(bar, completed=done))
            for each in beside:
                each.cancel()
    return {
        "file": str(setup.out),
        "seed": setup.seed,
        "records": recorder.records,
        "seconds": setup.seconds,
        "seconds_skipped": recorder.skipped,
        "requests_refused": sum(each.refused for each in clients),
        "faults": len(injector.injected),
    }


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.etcd", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT.jsonl.gz", help="the recording; OUT.faults.json goes beside it")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (default 20)")
    parser.add_argument("--seed", type=int, default=1, help="of faults, load and jitter (default 1)")
    parser.add_argument("--faults", choices=sorted(STRENGTHS), default="strong", help="how strong (default strong)")
    parser.add_argument("--cluster", default="etcd", metavar="NAME", help="members are NAME-n0 ... (default etcd)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if not options.out.name.endswith(".jsonl.gz"):
        parser.error(f"{options.out} must end in .jsonl.gz")
    if not options.out.parent.is_dir():
        parser.error(f"there is no folder {options.out.parent}")
    seconds = round(60 * options.minutes)
    faults = plan(options.seed, seconds, options.faults)
    setup = Setup(options.out, options.cluster, seconds, options.seed, faults)
    began = time.monotonic()
    try:
        found = asyncio.run(record(setup, Console(stderr=True)))
    except EtcdError as error:
        print(f"etcd: {error}", file=sys.stderr)
        return 2
    except asyncio.CancelledError as error:
        print(f"etcd: stopped; {options.out} holds what was recorded, if anything", file=sys.stderr)
        return 128 + int(error.args[0])
    found |= {"took_seconds": round(time.monotonic() - began, 1)}
    found |= {"ordinary": ordinary(options.out), "effects": effects(options.out)}
    if options.json:
        print(json.dumps(found))
        return 0
    print(f"{found['records']} records in {found['file']}, {found['faults']} faults")
    console = Console()
    print_ordinary(found["ordinary"], console)
    print_effects(found["effects"], console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
