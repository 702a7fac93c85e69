import json
import subprocess
import sys

import pytest

from schemas.streams import CONSENSUS
from vigil.capacity import BUSY, MEMORY_SHARE, WORKER_BYTES, Measured, answer, measure

ONE = Measured("consensus", cpu_us_per_record=10.0, bytes_per_node=2_000.0)  # 100,000 records a second and core
GIGABYTE = 10**9


def test_workers_are_planned_with_room_for_bursts() -> None:
    assert answer(ONE, 70_000, 1.0, cores=8, memory_bytes=16 * GIGABYTE).workers == 1
    assert answer(ONE, 70_001, 1.0, cores=8, memory_bytes=16 * GIGABYTE).workers == 2
    assert answer(ONE, 700_000, 1.0, cores=10, memory_bytes=16 * GIGABYTE).fits


def test_a_fleet_that_needs_more_cores_than_there_are_does_not_fit() -> None:
    found = answer(ONE, 300_000, 1.0, cores=4, memory_bytes=16 * GIGABYTE)
    assert not found.fits
    assert found.reason == "it takes 5 workers, a core each, and there are 4"


def test_a_fleet_that_needs_more_memory_than_there_is_does_not_fit() -> None:
    nodes = 1_000_000
    needed = WORKER_BYTES + nodes * ONE.bytes_per_node
    enough = answer(ONE, nodes, 0.01, cores=4, memory_bytes=round(needed / MEMORY_SHARE) + 10)
    short = answer(ONE, nodes, 0.01, cores=4, memory_bytes=round(needed / MEMORY_SHARE) - 10)
    assert enough.fits
    assert "can be planned for" in short.reason


def test_memory_is_shared_among_the_workers() -> None:
    found = answer(ONE, 140_000, 1.0, cores=2, memory_bytes=16 * GIGABYTE)
    assert found.workers == 2
    assert found.bytes_per_worker == WORKER_BYTES + 70_000 * ONE.bytes_per_node
    assert found.records_per_second / found.workers <= BUSY * ONE.records_per_second


@pytest.mark.slow
def test_what_is_measured_is_what_a_worker_does() -> None:
    stages: list[tuple[int, int]] = []
    found = measure(CONSENSUS, say=lambda _, done, total: stages.append((done, total)))
    assert 2.0 < found.cpu_us_per_record < 500.0
    assert 1_500 < found.bytes_per_node < 3_000, "a window of 30 x 12 numbers, twice as much at most"
    assert stages[-1][0] == stages[-1][1] > 0


@pytest.mark.slow
def test_the_command_says_no_with_a_status_for_scripts() -> None:
    command = [sys.executable, "-m", "vigil", "capacity", "--nodes", "100000000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert not json.loads(done.stdout)["fits"]
    assert "it does not fit" in done.stderr
