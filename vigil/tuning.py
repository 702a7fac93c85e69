"""The choices that decide how fast a worker is on this machine, each measured with a worker's own code.

Two are worth a choice. Which kernels numpy's OpenBLAS multiplies with: on processors that it does not know, or takes
for older ones, others can be much faster. And how many records a batch has at most. What is not a choice, because a
score must be the same to the bit: one thread for matrix products, and tiles of a fixed size.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.streams import CONSENSUS
from vigil.errors import CheckError
from vigil.progress import Say, say_nothing

__all__ = ["KERNELS", "Choice", "Tuned", "as_environment", "best", "tune", "usable_kernels"]

KERNELS: Final = "OPENBLAS_CORETYPE"
BATCH: Final = "VIGIL_WORKER__BATCH_MAX"
AVX2: Final = frozenset({"avx2", "fma"})
AVX512: Final = frozenset({"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"})
NEEDS: Final = {"Haswell": AVX2, "SkylakeX": AVX512}  # OpenBLAS's names, and what a processor must have for them
BATCHES: Final = ("30000", "10000", "3000")  # the first is the default
REPEATS: Final = 3
WORTH: Final = 0.05  # by how much another value must be better than what is there before it is recommended
SECONDS: Final = 300.0  # for one measurement


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting with what was measured.

    Attributes:
        variable: environment variable that sets it.
        microseconds: CPU time a record by value, medians; the empty value is the environment as it is.
        chosen: the value to set; empty to leave it as it is.
    """

    variable: str
    microseconds: Mapping[str, float]
    chosen: str


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was found.

    Attributes:
        choices: each setting.
        environment: what to set; empty where the defaults are best.
        before: CPU microseconds a record as things are.
        after: with what was found.
    """

    choices: tuple[Choice, ...]
    environment: Mapping[str, str]
    before: float
    after: float


def usable_kernels(processor: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Return the kernels that the processor can run; none where it does not tell (not Linux, not x86)."""
    lines = processor.read_text().splitlines() if processor.is_file() else []
    flags = next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), frozenset())
    return [name for name, needed in NEEDS.items() if needed <= flags]


def best(microseconds: Mapping[str, float], default: str) -> str:
    """Return the fastest value, or the default where that is hardly slower."""
    fastest = min(microseconds, key=lambda value: microseconds[value])
    return fastest if microseconds[fastest] < (1.0 - WORTH) * microseconds[default] else default


def tune(say: Say = say_nothing) -> Tuned:
    """Measure, kernels first and then batches with the best of them; a minute or two.

    Args:
        say: told how far it is.

    Raises:
        CheckError: a measurement fails.
    """
    kernels = ["", *usable_kernels()]
    total = REPEATS * (len(kernels) + len(BATCHES))
    by_kernels = _measured([{KERNELS: name} if name else {} for name in kernels], say, 0, total)
    found = dict(zip(kernels, by_kernels, strict=True))
    chosen = best(found, "")
    environment = {KERNELS: chosen} if chosen else {}
    settings = [{**environment, BATCH: size} for size in BATCHES]
    by_batch = dict(zip(BATCHES, _measured(settings, say, REPEATS * len(kernels), total), strict=True))
    size = best(by_batch, BATCHES[0])
    if size != BATCHES[0]:
        environment[BATCH] = size
    choices = (Choice(KERNELS, found, chosen), Choice(BATCH, by_batch, "" if size == BATCHES[0] else size))
    return Tuned(choices, environment, before=found[""], after=by_batch[size])


def as_environment(tuned: Tuned) -> str:
    """Return an environment file: for a shell, systemd's ``EnvironmentFile`` or a container's ``env_file``."""
    gain = f"{tuned.before:.2f} us of CPU a record as things were, {tuned.after:.2f} with these"
    lines = [f"# vigil tune: {gain}" if tuned.environment else "# vigil tune: nothing beats what is set already"]
    return "\n".join([*lines, *(f"{name}={value}" for name, value in tuned.environment.items())]) + "\n"


def _measured(settings: Sequence[Mapping[str, str]], say: Say, done: int, total: int) -> list[float]:
    """Measure each a few times, by turns, so that a busy machine slows all of them; returns the medians."""
    found: list[list[float]] = [[] for _ in settings]
    for _ in range(REPEATS):
        for place, one in enumerate(settings):
            found[place].append(_apart(one))
            done += 1
            say("measuring", done, total)
    return [statistics.median(each) for each in found]


def _apart(settings: Mapping[str, str]) -> float:
    """Measure in a process of its own: kernels are chosen when numpy is loaded."""
    command = [sys.executable, "-m", "vigil.tuning", settings.get(BATCH, BATCHES[0])]
    environment = {**os.environ, **{name: value for name, value in settings.items() if name != BATCH}}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
        return float(json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise CheckError(
            f"with {dict(settings) or 'the defaults'} it cannot be measured: {str(said)[-300:]}",
            hint="run `vigil doctor`",
        ) from error


def main() -> None:
    """Print the CPU microseconds a record that batches of the size given as argument take here."""
    from vigil.capacity import OUTSIDE, measure  # noqa: PLC0415 -- numpy is for the processes that measure

    cost = measure(CONSENSUS, batch=int(sys.argv[1])).cpu_us_per_record / OUTSIDE
    sys.stdout.write(f"{cost}\n")


if __name__ == "__main__":
    main()
