"""What every peer does with a record, and how it says where it is."""

import json
import sys
import time
from collections import deque
from typing import Any, Final

WINDOW: Final = 30
FIELD: Final = "latency_p99"
FIRST: Final = 1_000


class Work:
    """Windows in dictionaries and deques, the fastest that a loop over records has; counts as it goes.

    Args:
        records: in the backlog.
    """

    def __init__(self, records: int) -> None:
        self.left = records
        self.done = 0
        self.total = 0.0
        self._windows: dict[str, deque[float]] = {}

    def one(self, record: dict[str, Any]) -> float:
        """Take a decoded record; returns the mean over its node's window."""
        window = self._windows.get(record["node_id"])
        if window is None:
            window = self._windows[record["node_id"]] = deque(maxlen=WINDOW)
        window.append(record[FIELD])
        mean = sum(window) / len(window)
        self.total += mean
        self.count()
        return mean

    def count(self) -> None:
        """Count a record, and say so after the first ones and after the last."""
        self.done += 1
        if self.done in (FIRST, self.left):
            mark = {"records": self.done, "clock": time.monotonic(), "cpu": time.process_time()}
            sys.stdout.write(json.dumps(mark) + "\n")
            sys.stdout.flush()
