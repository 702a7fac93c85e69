"""How far a worker is behind, and when it will have caught up: for logs, metrics and a progress bar. No I/O here."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ["Backlog", "Pace"]

SPAN_SECONDS: Final = 10.0  # that a pace is taken over
SAID_SECONDS: Final = 10.0  # between two log lines
BEHIND_SECONDS: Final = 5.0  # of work: less than this is a batch or two, and no backlog
FEWEST: Final = 1_000  # records; fewer are none, whatever the pace


@dataclass(frozen=True, slots=True)
class Pace:
    """Where a worker is with its backlog.

    Attributes:
        lag: records not yet read.
        done: records committed since the worker fell behind.
        records_per_second: committed, over the last seconds.
        seconds_left: until nothing is left at the pace at which the lag shrinks; infinite while it does not shrink, 0
            when the worker is not behind.
        behind: whether there is a backlog.
    """

    lag: int
    done: int
    records_per_second: float
    seconds_left: float
    behind: bool


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    lag: int
    records: int


class Backlog:
    """Follows the lag of one worker.

    A worker is behind from when more is left than it does in ``BEHIND_SECONDS``, until a tenth of that is left: it does
    not flicker.
    """

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque()
        self._began: int | None = None
        self._said = -math.inf
        self.pace = Pace(0, 0, 0.0, 0.0, behind=False)

    def observe(self, lag: int, records: int, at: float) -> Pace:
        """Take a look.

        Args:
            lag: records not yet read, by what is known now.
            records: committed since the worker started.
            at: monotonic time, seconds.
        """
        looks = self._looks
        looks.append(_Look(at, lag, records))
        while len(looks) > 2 and at - looks[1].at >= SPAN_SECONDS:
            looks.popleft()
        first, elapsed = looks[0], at - looks[0].at
        rate = (records - first.records) / elapsed if elapsed > 0 else 0.0
        enough = max(FEWEST, BEHIND_SECONDS * rate)
        behind = lag > (enough if self._began is None else enough / 10)
        if not behind:
            self._began = None
        elif self._began is None:
            self._began = records
        shrinks = (first.lag - lag) / elapsed if elapsed > 0 else 0.0
        left = 0.0 if not behind else lag / shrinks if shrinks > 0 else math.inf
        self.pace = Pace(lag, 0 if self._began is None else records - self._began, rate, left, behind)
        return self.pace

    def due(self, at: float) -> bool:
        """Tell whether it is time to log that the worker is behind; true at most every ``SAID_SECONDS``."""
        if not self.pace.behind or at - self._said < SAID_SECONDS:
            return False
        self._said = at
        return True
