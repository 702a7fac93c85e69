"""A worker in a process of its own, for signals: `python worker_process.py BOOTSTRAP REDIS_URL NAME`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rig import Rig

from streams.worker import run

if __name__ == "__main__":
    bootstrap, redis_url, name = sys.argv[1:]
    rig = Rig(bootstrap, redis_url, name)
    sys.exit(run(rig.worker()))
