"""Answers of the alert service's `/healthz` and `/readyz`."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from streams.http import Probe

__all__ = ["ServiceHealth"]


class ServiceHealth:
    """When the service last turned, and what it waits for.

    Args:
        stale_after_s: it counts as stuck when it has not turned for this long.
        facts: more to tell.
    """

    def __init__(self, stale_after_s: float, facts: Callable[[], Iterable[tuple[str, Any]]]) -> None:
        self._stale_after_s, self._facts = stale_after_s, facts
        self._beat = time.monotonic()
        self.waiting = "what is remembered of alerts is not back yet"

    def beat(self) -> None:
        """Say that it turns."""
        self._beat = time.monotonic()

    def healthy(self) -> Probe:
        """Whether it is alive."""
        age = time.monotonic() - self._beat
        facts = {"seconds_since_turn": round(age, 3)}
        if age > self._stale_after_s:
            return Probe(False, (f"the service has not turned for {age:.0f} s",), facts)
        return Probe(True, (), facts)

    def ready(self) -> Probe:
        """Whether it does its work."""
        reasons = (*self.healthy().reasons, *([self.waiting] if self.waiting else []))
        return Probe(not reasons, reasons, dict(self._facts()))
