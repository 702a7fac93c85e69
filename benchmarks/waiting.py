"""Waiting for what servers and workers do, with a bound."""

import time
from collections.abc import Callable
from typing import Any, Final

__all__ = ["PATIENCE_SECONDS", "LateError", "wait_until"]

PATIENCE_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 0.05


class LateError(Exception):
    """What was waited for did not come true in time: the message says what."""


def wait_until(condition: Callable[[], Any], what: str, *, timeout: float = PATIENCE_SECONDS) -> float:
    """Wait for a condition; returns the seconds it took. Raises ``LateError`` when it does not come true in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout:
            raise LateError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began
