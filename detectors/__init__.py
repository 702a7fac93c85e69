"""Windows in, scores out: the detectors, their thresholds and artefacts, and the path from records to anomalies."""

from detectors.artefacts import ArtefactError
from detectors.catalogue import UnknownDetectorError, load_detectors
from detectors.protocol import Detector
from detectors.scoring import Outcome, StreamScorer, Verdicts

__all__ = [
    "ArtefactError",
    "Detector",
    "Outcome",
    "StreamScorer",
    "UnknownDetectorError",
    "Verdicts",
    "load_detectors",
]
