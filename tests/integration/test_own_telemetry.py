"""Telemetry of one's own, from a recording to anomalies in Kafka, by the commands of docs/your-own-telemetry.md."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from rig import PARTITIONS, Rig, wait_until

from schemas.outputs import Anomaly

START_MS = 1_760_000_000_000
STEP_MS = 5_000
NODES = 4
FIELDS = ("tps", "lag_ms", "locks", "cache_hit", "wal_mb")
NORMAL, LIVE = 600, 200  # steps
FAULTY = range(120, 140)
STRUCK = "pg-2"


def write(path: Path, first: int, steps: int, *, faulty: range = range(0)) -> int:
    """Write a made-up database's telemetry, five numbers a step and node; return how many records."""
    rng = np.random.default_rng(first)
    with gzip.open(path, "wt") as file:
        for step in range(steps):
            for node in range(NODES):
                load = 100 + 20 * np.sin((first + step) / 60 + node) + rng.normal(0, 4)
                waits = rng.gamma(2, 2) + (80 if step in faulty and f"pg-{node}" == STRUCK else 0)
                numbers = (load, 0.3 * load + waits, rng.poisson(3), 0.98 + rng.normal(0, 0.003), 0.02 * load)
                record = {"v": 1, "ts_ms": START_MS + STEP_MS * (first + step) + 9 * node, "node_id": f"pg-{node}"}
                record |= {name: round(float(number), 4) for name, number in zip(FIELDS, numbers, strict=True)}
                file.write(json.dumps(record | {"host_os": "linux"}) + "\n")
    return steps * NODES


def vigil(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "vigil", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def worker() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "vigil", "worker"], stderr=subprocess.PIPE)
    try:
        yield
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said.decode()
    finally:
        process.kill()
        process.wait()


def settings(rig: Rig, stream: str) -> str:
    """Put the section that training printed beside where this test's topics are."""
    return f"""
[kafka]
bootstrap = "{rig.bootstrap}"
group_id = "{rig.name}"
[redis]
url = "{rig.redis_url}"
key_prefix = "{rig.name}:"
[topics]
anomalies = "{rig.topic("anomalies")}"
dead_letters = "{rig.topic("dead-letters")}"
[state]
topic = "{rig.topic("state")}"
[metrics]
enabled = false
[streams.consensus]
enabled = false
[streams.node]
enabled = false
{stream.replace("postgres.metrics", rig.topic("consensus"))}
"""


def comparable(anomaly: Anomaly) -> dict[str, Any]:
    """Leave out where the record was: in a file there are no partitions."""
    return {name: value for name, value in msgspec.structs.asdict(anomaly).items() if name != "source"}


def test_five_columns_of_a_recording_stream_with_the_verdicts_of_vigil_score(
    bootstrap: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    write(Path("normal.jsonl.gz"), 0, NORMAL)
    records = write(Path("live.jsonl.gz"), NORMAL, LIVE, faulty=FAULTY)
    trained = json.loads(vigil("train", "consensus", "normal.jsonl.gz", "--out", "models/postgres", "--json"))
    assert tuple(trained["fields"]) == FIELDS
    assert trained["step_ms"] == STEP_MS

    rig = Rig(bootstrap, redis_url)
    rig.create_topics(PARTITIONS)
    Path("vigil.toml").write_text(settings(rig, trained["settings"]))
    vigil("config", "check")
    with worker():
        vigil("replay", "live.jsonl.gz", "--stream", "postgres", "--speed", "max")
        wait_until(lambda: rig.read_through() >= records, f"{records} records committed", timeout=90)

    lines = vigil("score", "live.jsonl.gz", "--artefact", "models/postgres", "--json").splitlines()
    scored = [msgspec.json.decode(line, type=Anomaly) for line in lines]
    published = rig.anomalies()
    by_id = {each.id: comparable(each) for each in published}
    assert len(by_id) == len(published) == len(scored)
    assert by_id == {each.id: comparable(each) for each in scored}
    assert {each.model_version for each in published} == {trained["model_version"]}
    assert {each.source.topic for each in published} == {rig.topic("consensus")}

    struck = [each for each in published if each.node_id == STRUCK]
    began = START_MS + STEP_MS * (NORMAL + FAULTY.start)
    assert began <= min(each.ts_ms for each in struck) <= began + STEP_MS
    assert {each.contributions[0].feature for each in struck} == {"lag_ms"}
    assert len(struck) >= len(FAULTY)
    assert not rig.read("dead-letters")

    last = max(struck, key=lambda each: each.ts_ms)
    explained = json.loads(vigil("explain", last.id, "--json"))
    assert (explained["replay"]["status"], explained["replay"]["score"]) == ("equal", last.score)
    assert {each["name"] for each in explained["window"]["fields"]} == set(FIELDS)
