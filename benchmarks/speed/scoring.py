"""Windows a second from arrays: the shipped detector, the reference's recipe, and two detectors of other libraries."""

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.speed.environment import PEERS
from benchmarks.speed.telemetry import Fleet, windows_of
from detectors.catalogue import load_detectors
from detectors.protocol import StatefulDetector, flag
from detectors.reference import FIELDS, WINDOW
from features.batch import WindowBatch
from schemas.streams import CONSENSUS

__all__ = ["measure_scoring", "recorded_windows"]

BAD_EVERY: Final = 50  # windows: one of them shows a fault
BAD_FACTOR: Final = 30.0
ALONE: Final = 300  # windows that are scored once more by themselves
REFERENCE_WINDOWS: Final = 300


def measure_scoring(*, quick: bool, peers: str | None) -> dict[str, Any]:
    """Measure; ``verdicts_equal`` compares scores and verdicts with those of windows scored one at a time.

    Args:
        quick: fewer windows and repeats.
        peers: interpreter that has river, ``None`` to leave it out.
    """
    windows = recorded_windows(2_000 if quick else 8_000)
    repeats = 5 if quick else 9
    detector = cast("StatefulDetector", load_detectors(CONSENSUS)[0])
    batch = WindowBatch.stack(windows)
    state = np.zeros((len(batch), detector.state_width), np.float32)
    before = detector.advance(batch, state, np.arange(len(batch)))

    def all_verdicts() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        scores = detector.score(batch, before)
        return scores, flag(detector, batch, scores, before)

    with threadpool_limits(limits=1, user_api="blas"):
        rate = _rate(all_verdicts, len(batch), repeats)
        scores, flagged = all_verdicts()
        alone = [_alone(detector, batch, before, place) for place in range(0, len(batch), len(batch) // ALONE)]
    chosen = np.arange(0, len(batch), len(batch) // ALONE)
    equal = all(
        one == (float(scores[place]), bool(flagged[place])) for place, one in zip(chosen.tolist(), alone, strict=True)
    )
    reference = _reference_rate(windows[:REFERENCE_WINDOWS], repeats)
    return {
        "windows": len(batch),
        "flagged": int(flagged.sum()),
        "vigil_windows_per_second": rate,
        "reference_windows_per_second": reference,
        "ratio": rate / reference,
        "verdicts_equal": equal,
        "isolation_forest_steps_per_second": _forest_rate(windows, repeats),
        "river_half_space_trees_steps_per_second": None if peers is None else _river_rate(peers, windows),
    }


def recorded_windows(count: int) -> NDArray[np.float32]:
    """Return windows of a real cluster, float32 (count, WINDOW, F), every fiftieth with a fault in its newest step."""
    windows = np.array(windows_of(Fleet(500), count, WINDOW, FIELDS), dtype=np.float32)
    numbers = [place for place, name in enumerate(FIELDS) if name not in CONSENSUS.codes]
    bad = np.arange(0, count, BAD_EVERY)
    windows[bad[:, None], WINDOW - 1, numbers] *= BAD_FACTOR
    return windows


def _rate(work: Callable[[], object], count: int, repeats: int) -> float:
    """Return how many a second of CPU time, the median of repeats."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return count / statistics.median(seconds)


def _alone(
    detector: StatefulDetector, batch: WindowBatch, before: NDArray[np.float32], place: int
) -> tuple[float, bool]:
    one = batch.take(np.array([place]))
    scores = detector.score(one, before[place : place + 1])
    return float(scores[0]), bool(flag(detector, one, scores, before[place : place + 1])[0])


def _reference_rate(windows: NDArray[np.float32], repeats: int) -> float:
    """Measure the reference's way: its network in torch, one window at a time, on one thread."""
    import torch  # noqa: PLC0415 -- slow to import

    from detectors.autoencoder.network import Autoencoder  # noqa: PLC0415

    torch.set_num_threads(1)
    network = Autoencoder().eval()
    tensors = [torch.from_numpy(each[None]) for each in windows]

    def one_by_one() -> float:
        with torch.no_grad():
            return sum(float(torch.mean((network(each) - each) ** 2)) for each in tensors)

    return _rate(one_by_one, len(tensors), max(3, repeats // 2))


def _forest_rate(windows: NDArray[np.float32], repeats: int) -> float:
    """Measure an isolation forest of 100 trees on single steps, all at once."""
    from sklearn.ensemble import IsolationForest  # noqa: PLC0415 -- slow to import

    steps = windows[:, -1]
    forest = IsolationForest(n_estimators=100, random_state=1, n_jobs=1).fit(steps[: len(steps) // 2])
    return _rate(lambda: forest.score_samples(steps), len(steps), repeats)


def _river_rate(python: str, windows: NDArray[np.float32]) -> float:
    steps = [dict(zip(FIELDS, map(float, row), strict=True)) for row in windows[:2_000, -1]]
    done = subprocess.run(
        [python, str(PEERS / "half_space_trees.py")],
        input=json.dumps(steps),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout)["steps_per_second"])
