"""Builds what scores a stream from its settings, the same way for a worker and for a recording."""

from collections.abc import Sequence
from typing import Final

from detectors.protocol import Detector
from detectors.scoring import StreamScorer
from schemas.streams import Stream
from vigil.errors import SettingsError
from vigil.settings import StreamSettings

__all__ = ["IDLE_STEPS", "stream_scorer"]

IDLE_STEPS: Final = 30  # a node is not forgotten within a window's time


def stream_scorer(
    stream: Stream, own: StreamSettings, detectors: Sequence[Detector], *, step_ms: int | None = None
) -> StreamScorer:
    """Build the windows and detectors of a stream.

    Args:
        stream: what the records are.
        own: its settings.
        detectors: those to run.
        step_ms: time between two steps of a node; as the settings or else the stream say when ``None``. Where they do
            not say when a node is forgotten, it is not within ``IDLE_STEPS`` of them.

    Raises:
        SettingsError: settings do not fit each other, or a detector does not fit the stream.
    """
    pace_ms = step_ms or own.step_ms or stream.step_ms
    least_idle_ms = 0 if "idle_s" in own.model_fields_set else IDLE_STEPS * pace_ms
    try:
        return StreamScorer(
            stream,
            detectors,
            step_ms=step_ms or own.step_ms,
            gap_steps=own.gap_steps,
            late_steps=own.late_steps,
            idle_ms=max(own.idle_s * 1000, least_idle_ms),
            silence_ms=None if own.silence_s is None else round(own.silence_s * 1000),
            resume_ms=None if own.resume_s is None else round(own.resume_s * 1000),
        )
    except ValueError as error:
        raise SettingsError(
            f"streams.{stream.name}: {error}", hint="docs/configuration.md has the settings of a stream"
        ) from error
