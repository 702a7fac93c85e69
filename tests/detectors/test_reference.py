"""The reference generator draws what the tables of the specification say."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.reference import (
    CLASSES,
    CYCLE_STEPS,
    FIELDS,
    anomalous_rows,
    normal_rows,
    normal_windows,
    windows_with_bad_end,
    windows_with_one_bad_step,
)
from schemas.streams import CONSENSUS

ROWS = 200_000
AT = {name: index for index, name in enumerate(FIELDS)}


def column(rows: NDArray[np.float32], name: str) -> NDArray[np.float64]:
    return rows[..., AT[name]].astype(np.float64)


@pytest.fixture(scope="module")
def normal() -> NDArray[np.float32]:
    return normal_rows(np.random.default_rng(0), np.arange(ROWS))


def test_the_fields_are_those_of_the_stream_in_order() -> None:
    assert tuple(CONSENSUS.features) == FIELDS


def test_normal_rows_have_the_means_and_shares_of_the_specification(normal: NDArray[np.float32]) -> None:
    assert column(normal, "queue_depth").mean() == pytest.approx(7.0, abs=0.05)
    assert column(normal, "proposals_pending").mean() == pytest.approx(3.5, abs=0.03)
    assert column(normal, "leader_changes").mean() == pytest.approx(0.1, abs=0.005)
    assert column(normal, "network_tier").mean() == pytest.approx(0.3, abs=0.005)
    wan = column(normal, "network_tier") == 1
    assert column(normal, "latency_p50")[wan].mean() == pytest.approx(50 + 4 * 0.7, abs=0.05)
    assert column(normal, "latency_p50")[~wan].mean() == pytest.approx(5 + 4 * 0.7, abs=0.05)
    assert (column(normal, "latency_p95") / column(normal, "latency_p50")).mean() == pytest.approx(1.65, abs=0.002)
    assert (column(normal, "latency_p99") / column(normal, "latency_p95")).mean() == pytest.approx(1.3, abs=0.002)
    quorum, counts = np.unique(column(normal, "quorum_size"), return_counts=True)
    np.testing.assert_array_equal(quorum, [3, 5, 7])
    np.testing.assert_allclose(counts / ROWS, [0.5, 0.3, 0.2], atol=0.005)
    spare = column(normal, "active_nodes") - column(normal, "quorum_size")
    np.testing.assert_allclose(np.bincount(spare.astype(int)) / ROWS, [1 / 3] * 3, atol=0.005)
    for coded in ("dwcp_mode", "consensus_type"):
        np.testing.assert_allclose(np.bincount(column(normal, coded).astype(int)) / ROWS, [1 / 3] * 3, atol=0.005)


def test_load_follows_a_cycle_of_288_steps(normal: NDArray[np.float32]) -> None:
    phase = np.arange(ROWS) % CYCLE_STEPS
    queue = column(normal, "queue_depth")
    assert queue[np.abs(phase - CYCLE_STEPS // 4) < 10].mean() == pytest.approx(10.0, abs=0.15)
    assert queue[np.abs(phase - 3 * CYCLE_STEPS // 4) < 10].mean() == pytest.approx(4.0, abs=0.15)


def test_no_row_is_impossible(normal: NDArray[np.float32]) -> None:
    bad = anomalous_rows(np.random.default_rng(1), np.arange(ROWS) % len(CLASSES))
    for rows in (normal, bad):
        assert np.isfinite(rows).all()
        assert rows.min() >= 0
        assert (np.diff(rows[:, AT["latency_p50"] : AT["latency_p99"] + 1], axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("kind", "queue", "pending", "p50", "p95", "p99", "leader_changes"),
    [
        (0, 15, 8, 8, 3.25, 2.5, 0.2),
        (1, 25, 20, 5, 5, 3.5, 5),
        (2, 60, 25, 6, 4, 2.8, 1),
        (3, 30, 25, 10, 5.5, 4, 8),
    ],
)
def test_each_class_has_the_means_of_its_row_of_the_table(
    kind: int, queue: float, pending: float, p50: float, p95: float, p99: float, leader_changes: float
) -> None:
    rows = anomalous_rows(np.random.default_rng(2), np.full(ROWS, kind))
    base = np.where(column(rows, "network_tier") == 1, 50, 5)
    assert column(rows, "network_tier").mean() == pytest.approx(0.7, abs=0.005)
    assert column(rows, "queue_depth").mean() == pytest.approx(queue, rel=0.01)
    assert column(rows, "proposals_pending").mean() == pytest.approx(pending, rel=0.01)
    assert (column(rows, "latency_p50") / base).mean() == pytest.approx(p50, rel=0.01)
    assert (column(rows, "latency_p95") / column(rows, "latency_p50")).mean() == pytest.approx(p95, rel=0.01)
    assert (column(rows, "latency_p99") / column(rows, "latency_p95")).mean() == pytest.approx(p99, rel=0.01)
    assert column(rows, "leader_changes").mean() == pytest.approx(leader_changes, rel=0.02)
    np.testing.assert_array_equal(column(rows, "active_nodes"), column(rows, "quorum_size"))


@pytest.mark.parametrize(("kind", "low", "high"), [(0, 5, 14), (1, 10, 19), (2, 15, 24), (3, 20, 29)])
def test_committed_falls_behind_pending_by_the_classes_range(kind: int, low: int, high: int) -> None:
    rows = anomalous_rows(np.random.default_rng(3), np.full(ROWS, kind))
    committed, pending = column(rows, "proposals_committed"), column(rows, "proposals_pending")
    loss = (pending - committed)[committed > 0]
    assert (loss.min(), loss.max()) == (low, high)


def test_a_seed_gives_the_same_windows_and_another_seed_others() -> None:
    first, again, other = (normal_windows(np.random.default_rng(seed), 5) for seed in (7, 7, 8))
    assert first.shape == (5, 30, 12)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def ratio(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    return column(windows, "latency_p99") / column(windows, "latency_p50")


def test_the_one_line_rule_separates_the_test_windows_perfectly() -> None:
    windows = windows_with_bad_end(np.random.default_rng(4), 4_000)
    np.testing.assert_array_equal(ratio(windows.values).max(axis=1) > 2.521, windows.labels)
    assert windows.labels.sum() == 2_000
    np.testing.assert_allclose(np.bincount(windows.kinds[windows.labels]) / 2_000, [0.25] * 4, atol=0.04)


def test_anomalous_rows_stand_at_the_end_and_nowhere_else() -> None:
    windows = windows_with_bad_end(np.random.default_rng(5), 2_000, (1, 15))
    bad = ratio(windows.values) > 2.521
    np.testing.assert_array_equal(bad.sum(axis=1), windows.bad_steps)
    np.testing.assert_array_equal(bad, np.arange(30) >= (30 - windows.bad_steps)[:, None])
    assert set(windows.bad_steps[windows.labels]) == set(range(1, 16))


def test_one_bad_step_stands_anywhere() -> None:
    windows = windows_with_one_bad_step(np.random.default_rng(6), 4_000)
    bad = ratio(windows.values) > 2.521
    np.testing.assert_array_equal(bad.sum(axis=1), windows.labels)
    assert set(np.argmax(bad[windows.labels], axis=1)) == set(range(30))


@pytest.mark.parametrize("steps", [(0, 3), (5, 4), (1, 31)])
def test_more_bad_steps_than_the_window_has_are_refused(steps: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"two rising numbers within 1\.\.30"):
        windows_with_bad_end(np.random.default_rng(0), 10, steps)
