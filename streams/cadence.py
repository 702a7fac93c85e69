"""Notice nodes that publish at another rate than the stream's ``step_ms``: their windows would never fill."""

from collections import deque
from statistics import median

import structlog

from schemas.codec import Decoded

__all__ = ["Cadence"]

log = structlog.get_logger("vigil.cadence")

NODES = 64  # watched; more would not make the median better
INTERVALS = 256
ENOUGH_INTERVALS = 64
TOLERANCE = 1.5  # a factor; jitter and single missing steps stay well inside for the median
REPEAT_MS = 600_000
SLOWER = "missing steps are made up, or windows start again and again and never fill"
FASTER = "a window covers less time than meant"


class Cadence:
    """Median interval between the steps of a sample of nodes, in event time.

    Args:
        stream: name of the stream, for the message.
        step_ms: milliseconds between a node's steps that the windows are built for.
    """

    def __init__(self, stream: str, step_ms: int) -> None:
        self._stream = stream
        self._step_ms = step_ms
        self._newest: dict[str, int] = {}
        self._intervals: deque[int] = deque(maxlen=INTERVALS)
        self._warned_ms: int | None = None

    @property
    def interval_ms(self) -> float | None:
        """The observed median interval, ``None`` before enough steps were seen."""
        return float(median(self._intervals)) if len(self._intervals) >= ENOUGH_INTERVALS else None

    @property
    def mismatch(self) -> bool:
        """Whether nodes publish at another rate than the windows are built for."""
        interval = self.interval_ms
        return interval is not None and not 1 / TOLERANCE <= interval / self._step_ms <= TOLERANCE

    def observe(self, decoded: Decoded) -> None:
        """Take a batch; warn, at most every ten minutes of event time, when the rate is another."""
        newest = self._newest
        if len(newest) < NODES:
            for key, at in zip(decoded.keys, decoded.ts_ms.tolist(), strict=True):
                if key not in newest and len(newest) < NODES:
                    newest[key] = at
        latest = 0
        for i, key in enumerate(decoded.keys):
            if key in newest:
                at = int(decoded.ts_ms[i])
                if at > newest[key]:
                    self._intervals.append(at - newest[key])
                    newest[key] = latest = at
        if latest and self.mismatch and (self._warned_ms is None or abs(latest - self._warned_ms) >= REPEAT_MS):
            self._warned_ms = latest
            self._warn()

    def _warn(self) -> None:
        interval = self.interval_ms or 0.0
        log.error(
            "nodes publish at another rate than their windows are built for",
            stream=self._stream,
            observed_step_ms=round(interval),
            configured_step_ms=self._step_ms,
            effect=SLOWER if interval > self._step_ms else FASTER,
            fix=f"set streams.{self._stream}.step_ms to {round(interval)}",
        )
