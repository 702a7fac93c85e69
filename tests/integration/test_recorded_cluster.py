"""A real etcd cluster's recording through broker and worker, run as a user runs them: by the command line."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rig import Rig, wait_until

from schemas.dead_letters import read_dead_letter
from schemas.outputs import Anomaly

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
RECORDING = DATA / "consensus_etcd_a.jsonl.gz"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not RECORDING.is_file(), reason=f"the recordings are not there ({DATA})"),
]


def environment(rig: Rig) -> dict[str, str]:
    return os.environ | {
        "VIGIL_KAFKA__BOOTSTRAP": rig.bootstrap,
        "VIGIL_KAFKA__GROUP_ID": rig.name,
        "VIGIL_STREAMS__CONSENSUS__TOPIC": rig.topic("consensus"),
        "VIGIL_STREAMS__NODE__ENABLED": "false",
        "VIGIL_TOPICS__ANOMALIES": rig.topic("anomalies"),
        "VIGIL_TOPICS__DEAD_LETTERS": rig.topic("dead-letters"),
        "VIGIL_STATE__TOPIC": rig.topic("state"),
        "VIGIL_REDIS__URL": rig.redis_url,
        "VIGIL_REDIS__KEY_PREFIX": f"{rig.name}:",
        "VIGIL_METRICS__ENABLED": "false",
    }


def vigil(rig: Rig, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vigil", *arguments], env=environment(rig), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def worker(rig: Rig) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "vigil", "worker"], env=environment(rig), stderr=subprocess.PIPE)
    try:
        yield
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said.decode()
    finally:
        process.kill()
        process.wait()


def through_kafka(rig: Rig, *options: str) -> dict[str, Any]:
    """Replay the recording and wait until the worker has committed all of it; what the replay says it sent."""
    with worker(rig):
        sent: dict[str, Any] = json.loads(
            vigil(rig, "replay", str(RECORDING), "--speed", "max", "--json", *options).splitlines()[-1]
        )
        wait_until(
            lambda: sum(max(offset, 0) for offset in rig.committed().values()) >= sent["records"],
            f"{sent['records']} records committed",
            timeout=90,
        )
    return sent


def offline(rig: Rig) -> list[Anomaly]:
    lines = vigil(rig, "score", str(RECORDING), "--json").splitlines()
    return [msgspec.json.decode(line, type=Anomaly) for line in lines]


def verdicts(anomalies: list[Anomaly], nodes: set[str] | None = None) -> dict[str, tuple[float, str, str]]:
    return {
        each.id: (each.score, each.severity, each.model_version)
        for each in anomalies
        if not nodes or each.node_id in nodes
    }


def test_what_comes_out_of_kafka_is_what_scoring_the_file_gives_exactly(rig: Rig) -> None:
    through_kafka(rig)
    expected, published = offline(rig), rig.anomalies()

    assert len(expected) > 500
    assert len(published) == len(expected), "no anomaly twice, none lost"
    assert verdicts(published) == verdicts(expected)


def test_all_thirteen_strong_faults_are_seen_within_two_seconds_by_the_shipped_model(rig: Rig) -> None:
    anomalies = offline(rig)
    faults = json.loads((DATA / "consensus_etcd_a.faults.json").read_text())
    delays = {}
    for fault in faults:
        seen = [a.ts_ms for a in anomalies if fault["start_ms"] <= a.ts_ms <= fault["end_ms"] + 1000]
        delays[fault["start_ms"]] = (min(seen) - fault["start_ms"]) / 1000 if seen else None

    assert len(delays) == 13
    assert all(delay is not None and delay <= 2.0 for delay in delays.values()), delays


def test_sent_as_a_real_node_would_send_it_nothing_bad_is_lost_and_other_nodes_keep_their_verdicts(rig: Rig) -> None:
    sent = through_kafka(
        rig, "--disorder", "3", "--duplicates", "0.01", "--missing", "0.02", "--malformed", "0.03",
        "--disturb", "etcd-a-n0", "--seed", "5",
    )  # fmt: skip
    untouched = {"etcd-a-n1", "etcd-a-n2"}

    assert verdicts(rig.anomalies(), untouched) == verdicts(offline(rig), untouched)

    source = {(each.partition(), each.offset()): each for each in rig.read("consensus")}
    dead = rig.read("dead-letters")
    letters = [read_dead_letter(each.headers() or []) for each in dead]
    codes = Counter(str(letter.code) for letter in letters)
    assert codes.total() == sum(sent["malformed"].values()) > 20
    for each, letter in zip(dead, letters, strict=True):
        original = source[letter.partition, letter.offset]
        assert (each.key(), each.value()) == (original.key(), original.value())


def test_at_least_twelve_kinds_of_malformed_records_are_told_apart(rig: Rig) -> None:
    sent = through_kafka(rig, "--malformed", "0.03", "--seed", "6")
    codes = Counter(str(read_dead_letter(each.headers() or []).code) for each in rig.read("dead-letters"))

    assert codes.total() == sum(sent["malformed"].values()) > 100
    assert len(sent["malformed"]) >= 12
    assert len(codes) >= 10, codes
