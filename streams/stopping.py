"""Being asked to stop, and how much longer there is."""

import threading
import time

__all__ = ["StopRequest"]


class StopRequest:
    """Set once, from any thread or a signal handler; read by everything that may wait.

    Args:
        grace_s: from the request, how long unfinished work may still try.
    """

    def __init__(self, grace_s: float) -> None:
        self._event = threading.Event()
        self._grace_s = grace_s
        self._deadline = float("inf")

    def request(self) -> None:
        """Ask to stop; asking again changes nothing."""
        if not self._event.is_set():
            self._deadline = time.monotonic() + self._grace_s
            self._event.set()

    @property
    def requested(self) -> bool:
        """Whether to begin nothing new."""
        return self._event.is_set()

    @property
    def overdue(self) -> bool:
        """Whether to give up what is not finished."""
        return time.monotonic() >= self._deadline

    def pause(self, seconds: float) -> None:
        """Wait before another attempt; a request ends the wait, later waits are real and end at the deadline."""
        if not self._event.is_set():
            self._event.wait(seconds)
        else:
            time.sleep(max(0.0, min(seconds, self._deadline - time.monotonic())))
