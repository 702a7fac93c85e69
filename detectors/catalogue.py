"""Which detectors there are, and loading them by name; a detector's libraries are imported when it is asked for."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

from detectors.artefacts import ArtefactError, shipped
from detectors.protocol import Detector
from schemas.streams import Stream

CLASSES: Final[Mapping[str, tuple[str, str]]] = {
    "consensus": ("detectors.consensus.detector", "ConsensusDetector"),
    "autoencoder": ("detectors.autoencoder.detector", "AutoencoderDetector"),
    "reliability": ("detectors.reliability.detector", "ReliabilityDetector"),
}
DEFAULTS: Final[Mapping[str, tuple[str, ...]]] = {"consensus": ("consensus",), "node": ("reliability",)}


class UnknownDetectorError(ValueError):
    """No detector has that name."""


def detector_class(name: str) -> type[Detector]:
    """Import and return the class of a detector. Raises ``UnknownDetectorError``."""
    if name not in CLASSES:
        raise UnknownDetectorError(f"no detector is called {name!r}: choose from {', '.join(sorted(CLASSES))}")
    module, attribute = CLASSES[name]
    return cast("type[Detector]", getattr(importlib.import_module(module), attribute))


def load_detectors(stream: Stream, names: Sequence[str] = (), directory: Path | None = None) -> list[Detector]:
    """Load detectors for a stream.

    Args:
        stream: whose features they must take, in order.
        names: detectors to load; the stream's default when empty.
        directory: where their artefacts are, one folder a detector; the shipped ones when ``None``. A folder that holds
            an artefact itself serves where only one detector is asked for.

    Raises:
        UnknownDetectorError: a name is not a detector, or the stream has no default.
        ArtefactError: an artefact is missing, damaged or for other fields.
    """
    chosen = tuple(names) or DEFAULTS.get(stream.name, ())
    if not chosen:
        raise UnknownDetectorError(
            f"stream {stream.name} has no default detector: name one of {', '.join(sorted(CLASSES))}"
        )
    return [_load(stream, name, directory, alone=len(chosen) == 1) for name in chosen]


def _load(stream: Stream, name: str, directory: Path | None, *, alone: bool) -> Detector:
    kind = detector_class(name)
    if directory is None:
        place = shipped(name)
    else:
        place = directory if alone and (directory / "metadata.json").is_file() else directory / name
    detector = kind.load(place)
    if tuple(detector.fields) != tuple(stream.features):
        raise ArtefactError(
            place,
            f"takes the fields {list(detector.fields)}, stream {stream.name} gives {list(stream.features)}",
            f"train {name} on a recording of stream {stream.name}",
        )
    return detector
