"""A worker in a process of its own, for signals: `python worker_process.py BOOTSTRAP REDIS_URL NAME [SETTINGS]`.

SETTINGS is JSON: `sharp` for the shipped detector with a low threshold, `worker` and `kafka` for settings of theirs.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rig import Rig, sharp_scorer

from streams.worker import run

if __name__ == "__main__":
    bootstrap, redis_url, name, *more = sys.argv[1:]
    settings = json.loads(more[0]) if more else {}
    rig = Rig(bootstrap, redis_url, name)
    scorers = [sharp_scorer()] if settings.get("sharp") else None
    sys.exit(run(rig.worker(scorers=scorers, kafka=settings.get("kafka"), **settings.get("worker", {}))))
