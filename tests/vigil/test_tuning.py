import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from streams.config import WorkerConfig
from vigil.settings import Settings
from vigil.tuning import BATCHES, Choice, Tuned, as_environment, best, usable_kernels

OLD = "processor : 0\nflags\t\t: fpu sse4_2 avx2 fma\n"
NEW = "processor : 0\nflags\t\t: fpu avx2 fma avx512f avx512cd avx512bw avx512dq avx512vl\n"


@pytest.mark.parametrize(
    ("told", "kernels"), [(OLD, ["Haswell"]), (NEW, ["Haswell", "SkylakeX"]), ("flags : fpu\n", []), ("", [])]
)
def test_only_kernels_that_the_processor_can_run_are_tried(told: str, kernels: list[str], tmp_path: Path) -> None:
    processor = tmp_path / "cpuinfo"
    processor.write_text(told)
    assert usable_kernels(processor) == kernels
    assert usable_kernels(tmp_path / "none") == []


def test_another_value_is_recommended_only_where_it_is_clearly_better() -> None:
    assert best({"10000": 10.0, "2500": 9.6}, "10000") == "10000"
    assert best({"10000": 10.0, "2500": 9.4, "40000": 9.0}, "10000") == "40000"
    assert best({"": 5.0, "Haswell": 9.0}, "") == ""


def test_the_file_sets_what_was_found_and_says_what_it_brings() -> None:
    choice = Choice("OPENBLAS_CORETYPE", {"": 9.0, "SkylakeX": 7.0}, "SkylakeX")
    found = Tuned((choice,), {"OPENBLAS_CORETYPE": "SkylakeX"}, before=9.0, after=7.0)
    assert as_environment(found).splitlines() == [
        "# vigil tune: 9.00 us of CPU a record as things were, 7.00 with these",
        "OPENBLAS_CORETYPE=SkylakeX",
    ]
    assert as_environment(Tuned((), {}, before=9.0, after=9.0)) == "# vigil tune: nothing beats what is set already\n"


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vigil", "tune", "--write", str(tmp_path / "none" / "vigil.env")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "there is no directory" in done.stderr


@pytest.mark.slow
def test_the_command_measures_every_choice_and_recommends_none_that_is_slower(tmp_path: Path) -> None:
    written = tmp_path / "vigil.env"
    command = [sys.executable, "-m", "vigil", "tune", "--json", "--write", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    found = json.loads(done.stdout)
    assert {each["variable"] for each in found["choices"]} == {"OPENBLAS_CORETYPE", "VIGIL_WORKER__BATCH_MAX"}
    for each in found["choices"]:
        assert all(1.0 < cost < 500.0 for cost in each["microseconds"].values())
        if each["chosen"]:
            assert each["microseconds"][each["chosen"]] == min(each["microseconds"].values())
    assert all(f"{name}={value}" in written.read_text() for name, value in found["environment"].items())


def test_the_first_batch_that_is_tried_is_the_worker_s_default() -> None:
    assert BATCHES[0] == str(WorkerConfig().batch_max) == str(Settings().worker.batch_max)
