"""Chooses the model that an anomaly is replayed through: the one that it names, or another one that was asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from detectors.artefacts import ArtefactError
from detectors.catalogue import CLASSES, UnknownDetectorError, load_detectors
from detectors.protocol import Detector
from detectors.scoring import StreamScorer
from schemas.outputs import Anomaly
from schemas.streams import Stream
from streams.errors import ReplayImpossibleError
from vigil.assembly import stream_of
from vigil.errors import InputError
from vigil.scorers import stream_scorer
from vigil.settings import Settings, StreamSettings

__all__ = ["SILENCE", "ChosenModel", "choose_model"]

SILENCE: Final = "silence"
CONFIGURED: Final = "configured"
SHIPPED: Final = "shipped"


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """What an anomaly is replayed through.

    Attributes:
        scorer: empty windows of the stream, with the model among its detectors.
        place: where the model is from.
        version: of it.
        recorded: whether it is the model that the anomaly names.
        reason: where it is not, why not; else "".
    """

    scorer: StreamScorer
    place: str
    version: str
    recorded: bool
    reason: str = ""


def choose_model(settings: Settings, anomaly: Anomaly, artefact: Path | None) -> ChosenModel:
    """Choose a model.

    Args:
        settings: streams, with their topics, detectors and artefacts.
        anomaly: as published.
        artefact: folder of an artefact, or of several, to use instead of the model that the anomaly names.

    Raises:
        InputError: an artefact was given for a detector that has none.
        ArtefactError: the artefact given is missing, damaged or for other fields.
        SettingsError: the stream's settings do not fit each other.
        ReplayImpossibleError: no stream of the settings has the anomaly's topic, or no model of its detector loads.
    """
    stream, own = _stream(settings, anomaly.source.topic)
    if anomaly.detector == SILENCE:
        return _silence(stream, own, anomaly, artefact)
    if anomaly.detector not in CLASSES:
        raise ReplayImpossibleError(
            f"detector {anomaly.detector} is none that this release can run ({', '.join(sorted(CLASSES))})"
        )
    if artefact is not None:
        [given] = load_detectors(stream, [anomaly.detector], artefact)
        same = given.version == anomaly.model_version
        return ChosenModel(stream_scorer(stream, own, [given]), str(artefact), given.version, same)
    other: ChosenModel | None = None
    refused: list[str] = []
    for place, detectors in _known(stream, own, anomaly.detector, refused):
        version = next(each.version for each in detectors if each.name == anomaly.detector)
        if version == anomaly.model_version:
            return ChosenModel(stream_scorer(stream, own, detectors), place, version, recorded=True)
        other = other or ChosenModel(stream_scorer(stream, own, detectors), place, version, recorded=False)
    if other is None:
        raise ReplayImpossibleError(f"no model of {anomaly.detector} loads: {'; '.join(refused)}")
    reason = f"{anomaly.model_version} is neither configured here nor shipped: give its folder as --artefact"
    return ChosenModel(other.scorer, other.place, other.version, recorded=False, reason=reason)


def _stream(settings: Settings, topic: str) -> tuple[Stream, StreamSettings]:
    for name, own in settings.streams.items():
        stream = stream_of(name, own)
        if topic == (own.topic or stream.topic):
            return stream, own
    raise ReplayImpossibleError(
        f"topic {topic} is that of no stream in these settings: give the workers' settings (--config)"
    )


def _silence(stream: Stream, own: StreamSettings, anomaly: Anomaly, artefact: Path | None) -> ChosenModel:
    if artefact is not None:
        raise InputError("a silence is told by no artefact", hint="leave --artefact out")
    scorer = stream_scorer(stream, own, load_detectors(stream, own.detectors, own.artefacts))
    if scorer.silence is None:
        raise ReplayImpossibleError(f"streams.{stream.name}.silence_s is 0: silences are not told by these settings")
    same = scorer.silence.version == anomaly.model_version
    reason = "" if same else f"{anomaly.model_version} was told by other settings of streams.{stream.name}"
    return ChosenModel(scorer, CONFIGURED, scorer.silence.version, recorded=same, reason=reason)


def _known(
    stream: Stream, own: StreamSettings, name: str, refused: list[str]
) -> Iterator[tuple[str, Sequence[Detector]]]:
    """Yield the sets of detectors with this one among them that can be loaded; what cannot is added to ``refused``."""
    attempts = (
        (CONFIGURED, own.detectors, own.artefacts),
        (CONFIGURED, (name,), own.artefacts),
        (SHIPPED, (name,), None),
    )
    for place, names, directory in attempts:
        try:
            detectors = load_detectors(stream, names, directory)
        except (ArtefactError, UnknownDetectorError) as error:
            refused.append(str(error))
            continue
        if any(each.name == name for each in detectors):
            yield place, detectors
