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
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.etcd.clients import Clients, Load
from benchmarks.etcd.cluster import Cluster, EtcdError
from benchmarks.etcd.effects import effects, print_effects
from benchmarks.etcd.faults import STRENGTHS, plan
from benchmarks.etcd.injection import Injector
from benchmarks.etcd.recorder import Recorder, write_faults

WARM_UP_SECONDS: Final = 5.0
"""Load before the first record: connections are open and etcd's first elections are over."""


async def record(options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Record; returns what is printed as JSON."""
    seconds = round(60 * options.minutes)
    work = asyncio.current_task()
    if work is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, work.cancel)
    with tempfile.TemporaryDirectory(prefix="etcd-") as directory:
        cluster = Cluster(Path(directory), options.seed)
        try:
            await cluster.start()
            return await _record(options, cluster, seconds, console)
        finally:
            await cluster.stop()


async def _record(options: argparse.Namespace, cluster: Cluster, seconds: int, console: Console) -> dict[str, Any]:
    clients = [Clients(member.port) for member in cluster.members]
    load = Load(clients, options.seed, WARM_UP_SECONDS + seconds)
    injector = Injector(cluster, load)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True) as progress,
        gzip.open(options.out, "wb") as file,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(write_faults, options.out, injector.injected)
        recorder = Recorder(file, options.cluster, cluster, clients, injector.injected, seconds)
        bar = progress.add_task("seconds", total=seconds)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(load.run())]
            await asyncio.sleep(WARM_UP_SECONDS)
            beside.append(group.create_task(injector.run(plan(options.seed, seconds, options.faults))))
            await recorder.run(lambda done: progress.update(bar, completed=done))
            for each in beside:
                each.cancel()
    return {
        "file": str(options.out),
        "seed": options.seed,
        "records": recorder.records,
        "seconds": seconds,
        "seconds_skipped": recorder.skipped,
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
    began = time.monotonic()
    try:
        found = asyncio.run(record(options, Console(stderr=True)))
    except EtcdError as error:
        print(f"etcd: {error}", file=sys.stderr)
        return 2
    except (asyncio.CancelledError, KeyboardInterrupt):
        print(f"etcd: stopped; {options.out} holds what was recorded", file=sys.stderr)
        return 130
    found |= {"took_seconds": round(time.monotonic() - began, 1), "effects": effects(options.out)}
    if options.json:
        print(json.dumps(found))
        return 0
    print(f"{found['records']} records in {found['file']}, {found['faults']} faults")
    print_effects(found["effects"], Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
