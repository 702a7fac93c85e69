"""The demo, as a person runs it: everything starts, faults are found, everything is gone afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "tmp").mkdir()
    return {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")}


def start(environment: dict[str, str], *arguments: str) -> "subprocess.Popen[str]":
    # Tests that a shell runs in the background ignore SIGINT, and so would their children.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return subprocess.Popen(
        [sys.executable, "-m", "vigil", "demo", "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def descendants(environment: dict[str, str]) -> Iterator[int]:
    """Find the processes that inherited this test's temporary folder."""
    mark = f"TMPDIR={environment['TMPDIR']}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    yield int(entry.name)
            except OSError:  # ended meanwhile, or another user's
                continue


def test_the_demo_finds_every_fault_and_leaves_nothing_behind(surroundings: dict[str, str]) -> None:
    demo = start(surroundings)
    out, err = demo.communicate(timeout=150)
    assert demo.returncode == 0, err
    report = json.loads(out.splitlines()[-1])
    assert report["faults_seen"] == report["faults_injected"] == 14
    assert report["median_delay_s"] <= 10.0
    assert report["false_alarms_per_node_hour"] <= 1.0
    assert report["dead_letters"] == report["dead_letters_expected"] == 12
    assert report["records"] > 50_000
    assert report["records_per_second"] > 1_000
    assert list(Path(surroundings["TMPDIR"]).iterdir()) == []
    assert list(descendants(surroundings)) == []


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_it_stops_everything_it_started(
    surroundings: dict[str, str], number: signal.Signals, status: int
) -> None:
    demo = start(surroundings)
    assert demo.stderr is not None
    deadline = time.monotonic() + 60
    for line in demo.stderr:
        if "learning" in line or time.monotonic() > deadline:
            break
    assert len(list(descendants(surroundings))) >= 3  # the demo, the servers, the worker
    demo.send_signal(number)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == status
    assert "Traceback" not in err
    assert list(descendants(surroundings)) == []
    assert list(Path(surroundings["TMPDIR"]).iterdir()) == []
