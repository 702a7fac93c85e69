"""Answers of `/healthz` and `/readyz`, with reasons."""

import time
from collections.abc import Callable

from streams.http import Probe
from streams.lifecycle import Lifecycle, Phase
from streams.statistics import SourceState

__all__ = ["Health"]


class Health:
    """When the loop last turned, and what it waits for.

    Args:
        stale_after_s: the loop counts as stuck when it has not turned for this long.
        clock: monotonic seconds.
    """

    def __init__(self, *, stale_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_after_s = stale_after_s
        self._clock = clock
        self._beat = clock()
        self.waiting = ""

    def beat(self) -> None:
        """Say that the loop turns."""
        self._beat = self._clock()

    def healthy(self) -> Probe:
        """Whether this process is alive; if not, an orchestrator should start it again."""
        age = self._clock() - self._beat
        facts = {"seconds_since_turn": round(age, 3)}
        if age > self._stale_after_s:
            return Probe(False, (f"the loop has not turned for {age:.0f} s",), facts)
        return Probe(True, (), facts)

    def ready(self, lifecycle: Lifecycle, source: SourceState, *, restoring: bool = False) -> Probe:
        """Whether it does its work: has partitions and their windows, reaches a broker, turns."""
        reasons = [self.waiting] if self.waiting else []
        if restoring:
            reasons.append("windows are being restored")
        if lifecycle.phase is not Phase.RUNNING:
            reasons.append(f"the worker is {lifecycle.phase}" + (f": {lifecycle.reason}" if lifecycle.reason else ""))
        if not source.broker_up:
            reasons.append("no broker can be reached")
        reasons.extend(self.healthy().reasons)
        held = sorted(f"{topic}[{number}]" for topic, number in lifecycle.held)
        facts = {"phase": str(lifecycle.phase), "partitions": held, "lag_records": sum(source.lag.values())}
        return Probe(not reasons, tuple(reasons), facts)
