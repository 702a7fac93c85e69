"""Odd artefacts of the reliability detector: sealed under valid checksums, and refused by the artefact's own error."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from detectors.artefacts import Artefact, ArtefactError, read_artefact, shipped, write_artefact
from detectors.reliability.detector import NAME, ReliabilityDetector


@pytest.fixture(scope="module")
def original() -> Artefact:
    return read_artefact(shipped(NAME), NAME)


ODD: dict[str, dict[str, Any]] = {
    "no features": {"features": None},
    "a level that is no number": {"features": {"high": [None] * 17}},
    "a floor of zero": {"features": {"floor": [0.0] * 17}},
    "a pair of a field that is not there": {"features": {"pairs": [[0, 99]]}},
    "a memory without end": {"features": {"memory": 10**12}},
    "no slope": {"calibration": {"slope": None}},
    "a slope that turns the score round": {"calibration": {"slope": -1.0}},
    "a decision that looks back past the window": {"decision": {"look_back": 99}},
    "a fall that is a list": {"decision": {"fall": []}},
    "a share of a prior that is no number": {"prior": {}},
    "kinds as a list": {"kinds": []},
    "fewer kinds than the trees tell": {"kinds": {"names": ["overload", "sudden_crash"]}},
    "a phase without its trees": {"phase": {"least": 0.0, "band": [1.0, 2.0]}},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_odd_parameters_are_refused(original: Artefact, odd: dict[str, Any], tmp_path: Path) -> None:
    parameters = dict(original.metadata.parameters)
    for name, value in odd.items():
        part = parameters.get(name)
        parameters[name] = part | value if isinstance(part, dict) and isinstance(value, dict) else value
    write_artefact(tmp_path, msgspec.structs.replace(original.metadata, parameters=parameters), original.files)
    with pytest.raises(ArtefactError, match="its parameters cannot be used"):
        ReliabilityDetector.load(tmp_path)


def test_a_window_too_short_to_look_back_in_is_refused(original: Artefact, tmp_path: Path) -> None:
    write_artefact(tmp_path, msgspec.structs.replace(original.metadata, window=24), original.files)
    with pytest.raises(ArtefactError, match="windows of at least 25 steps, not 24"):
        ReliabilityDetector.load(tmp_path)


def test_a_threshold_that_is_no_probability_is_refused(original: Artefact, tmp_path: Path) -> None:
    threshold = msgspec.structs.replace(original.metadata.threshold, value=1.5)
    write_artefact(tmp_path, msgspec.structs.replace(original.metadata, threshold=threshold), original.files)
    with pytest.raises(ArtefactError, match=r"threshold 1\.5 must be a probability"):
        ReliabilityDetector.load(tmp_path)
