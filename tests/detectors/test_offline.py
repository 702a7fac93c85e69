"""Offline scoring is the worker's."""

import numpy as np

from detectors.offline import Steps, open_store, score_steps
from tests.detectors.consensus_samples import fitted, fleet, scored


def test_a_recording_scored_at_once_gets_the_workers_scores_to_the_bit() -> None:
    detector, telemetry = fitted(), fleet(12, 1_000, 5, "x")  # several batches long
    telemetry.rows[8_000:8_300, 1] *= 20.0
    found = score_steps(detector, Steps(telemetry.keys, telemetry.ts_ms, telemetry.rows, 1000), explain=7)
    expected = scored(detector, telemetry, cuts=(700, 5_000))
    names = list(zip(telemetry.keys, telemetry.ts_ms.tolist(), strict=True))
    known = {name: score for name, score in zip(names, found.scores, strict=True) if not np.isnan(score)}
    assert known == {name: score for name, (score, _, _) in expected.items()}
    assert len(names) - len(known) == 12 * 29
    assert list(found.explained) == np.flatnonzero(found.flagged)[:7].tolist()
    assert set(found.explained) <= set(np.flatnonzero(found.scores > detector.threshold).tolist())
    assert all(reasons for reasons in found.explained.values())


def test_progress_ends_with_all_steps() -> None:
    telemetry, seen = fleet(10, 900, 2), []
    score_steps(fitted(), Steps(telemetry.keys, telemetry.ts_ms, telemetry.rows, 1000), on_progress=seen.append)
    assert seen == [8192, 9000]


def test_a_recording_that_comes_in_parts_gets_the_scores_of_the_whole() -> None:
    detector, telemetry = fitted(), fleet(12, 200, 6, "x")
    whole = score_steps(detector, Steps(telemetry.keys, telemetry.ts_ms, telemetry.rows, 1000)).scores
    store = open_store(detector, telemetry.rows.shape[1], 1000)
    parts = [
        score_steps(
            detector, Steps(telemetry.keys[cut], telemetry.ts_ms[cut], telemetry.rows[cut], 1000), store=store
        ).scores
        for cut in (slice(0, 500), slice(500, 507), slice(507, 2400))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
