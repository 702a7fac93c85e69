"""A flame graph of the worker at work: ``python -m benchmarks.flame OUT.svg [--nodes N] [--records N]``.

A fleet's backlog is worked off as in ``benchmarks.run``, and py-spy looks at the worker's Python threads while it is,
once all windows are complete. It needs py-spy, of the development tools, and the right to look into another process:
run it as root, or with the ``SYS_PTRACE`` capability.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.chaos.servers import LAUNCHER
from benchmarks.speed.end_to_end import WorkerProcess
from benchmarks.speed.growth import WARM_STEPS
from benchmarks.speed.servers import Servers, serve
from benchmarks.speed.telemetry import Fleet, produce
from benchmarks.topics import own_topics

RATE: Final = 100  # looks a second
PATIENCE_SECONDS: Final = 60.0


def draw(servers: Servers, nodes: int, records: int, out: Path) -> None:
    """Write the flame graph of a worker that works a backlog off.

    Raises:
        RuntimeError: py-spy did not write it; the message holds what it said.
    """
    steps = WARM_STEPS + -(-records // nodes)
    with own_topics(servers.bootstrap) as kafka:
        count = produce(servers.bootstrap, kafka.topics["consensus"], Fleet(nodes).steps(0, steps))
        with WorkerProcess(servers, kafka) as worker:
            worker.wait_for(WARM_STEPS * nodes)
            looking = ["py-spy", "record", "--function", "--rate", str(RATE), "--output", str(out)]
            spy = subprocess.Popen(
                [*looking, "--pid", str(worker.pid)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            worker.wait_for(count)
            spy.send_signal(signal.SIGINT)
            said, _ = spy.communicate(timeout=PATIENCE_SECONDS)
    if not out.is_file():
        raise RuntimeError(f"py-spy wrote nothing: {said[-500:]}")
    # py-spy's title is its own command line, with the path of this machine and a process id.
    drawn = out.read_text(encoding="utf-8")
    out.write_text(re.sub("py-spy record[^<]*", f"vigil worker, {nodes:,} nodes", drawn), encoding="utf-8")


def main() -> None:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="SVG to write")
    parser.add_argument("--nodes", type=int, default=2_000)
    parser.add_argument("--records", type=int, default=1_500_000, help="to look at, besides those that fill windows")
    options = parser.parse_args()
    if shutil.which("py-spy") is None:
        sys.exit("py-spy is not there: pip install py-spy")
    with serve("apache" if LAUNCHER.is_file() else "embedded") as servers:
        draw(servers, options.nodes, options.records, options.out)


if __name__ == "__main__":
    main()
