"""What the tests of `vigil explain` share: workers with the detectors that ship, and the command itself."""

import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rig import Rig, WorkerThread

from detectors.artefacts import shipped
from detectors.catalogue import load_detectors
from detectors.consensus.detector import ConsensusDetector
from detectors.scoring import StreamScorer
from schemas.outputs import Anomaly
from schemas.streams import CONSENSUS, Stream
from vigil.cli.app import create_app
from vigil.cli.output import stdout
from vigil.scorers import stream_scorer
from vigil.settings import StreamSettings


def as_shipped(stream: Stream = CONSENSUS) -> StreamScorer:
    """What `vigil worker` runs for a stream without any setting."""
    return stream_scorer(stream, StreamSettings(), load_detectors(stream))


def work(rig: Rig, count: int, **options: Any) -> WorkerThread:
    with rig.running(**{"scorers": [as_shipped()], "batch_max": 300, **options}) as thread:
        thread.wait_for_records(count)
    return thread


def settings(rig: Rig, stream: str = "consensus") -> list[str]:
    """The options that make the command's settings those of the rig's workers."""
    unused = {"consensus": "node", "node": "consensus"}[stream]
    given = {
        "kafka.group_id": rig.name,
        "topics.anomalies": rig.topic("anomalies"),
        "state.topic": rig.topic("state"),
        f"streams.{stream}.topic": rig.topic("consensus"),
        f"streams.{unused}.topic": f"{rig.name}.unused",
    }
    return ["--kafka", rig.bootstrap, *(word for name, value in given.items() for word in ("--set", f"{name}={value}"))]


def run(arguments: list[str]) -> int:
    """Run the command in this process and return its exit status; errors of ours are raised."""
    done = create_app(arguments)(args=arguments, standalone_mode=False)
    return int(done or 0)


def explain(rig: Rig, name: str, *more: str, stream: str = "consensus", expect: int = 0) -> dict[str, Any]:
    """Return what `vigil explain --json` prints."""
    said, before = StringIO(), sys.stdout
    sys.stdout = said
    try:
        status = run(["explain", name, "--json", *settings(rig, stream), *more])
    finally:
        sys.stdout = before
    assert status == expect, said.getvalue()
    found: dict[str, Any] = json.loads(said.getvalue())
    return found


def page(rig: Rig, name: str, monkeypatch: pytest.MonkeyPatch, *more: str, stream: str = "consensus") -> list[str]:
    """Return the lines of the page in a window of 80 columns."""
    said = StringIO()
    monkeypatch.setattr(stdout, "_width", 80)
    monkeypatch.setattr(stdout, "_file", said)
    run(["explain", name, *settings(rig, stream), *more])
    return said.getvalue().splitlines()


def by_detector(rig: Rig, name: str) -> list[Anomaly]:
    found = sorted((each for each in rig.anomalies() if each.detector == name), key=lambda each: each.ts_ms)
    assert found, f"no anomaly of {name}"
    return found


def stricter(folder: Path, times: float) -> Path:
    """Save the shipped consensus model with another threshold: another version."""
    made = ConsensusDetector.load(shipped("consensus"))
    threshold = msgspec.structs.replace(made.metadata.threshold, value=times * made.threshold)
    parameters = {**made.metadata.parameters, "levels": [times * each for each in made.levels]}
    metadata = msgspec.structs.replace(made.metadata, threshold=threshold, parameters=parameters)
    ConsensusDetector(made.model, metadata).save(folder)
    return folder


def strongest(rig: Rig) -> Anomaly:
    return max(by_detector(rig, "consensus"), key=lambda each: each.score)
