"""Builds what scores a stream from its settings, the same way for a worker and for a recording."""

from collections.abc import Sequence

from detectors.protocol import Detector
from detectors.scoring import StreamScorer
from schemas.streams import Stream
from vigil.errors import SettingsError
from vigil.settings import StreamSettings

__all__ = ["stream_scorer"]


def stream_scorer(
    stream: Stream, own: StreamSettings, detectors: Sequence[Detector], *, step_ms: int | None = None
) -> StreamScorer:
    """Build the windows and detectors of a stream.

    Args:
        stream: what the records are.
        own: its settings.
        detectors: those to run.
        step_ms: time between two steps of a node; as the settings or else the stream say when ``None``.

    Raises:
        SettingsError: settings do not fit each other, or a detector does not fit the stream.
    """
    try:
        return StreamScorer(
            stream,
            detectors,
            step_ms=step_ms or own.step_ms,
            gap_steps=own.gap_steps,
            late_steps=own.late_steps,
            idle_ms=own.idle_s * 1000,
            silence_ms=None if own.silence_s is None else round(own.silence_s * 1000),
        )
    except ValueError as error:
        raise SettingsError(
            f"streams.{stream.name}: {error}", hint="docs/configuration.md has the settings of a stream"
        ) from error
