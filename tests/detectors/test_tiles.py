"""A row's result is its own, whatever rows are scored with it."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.tiles import apply_tiled, steady

WEIGHTS = np.random.default_rng(0).normal(size=(7, 33)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(100, 7)).astype(np.float32)


def project(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows @ WEIGHTS


@given(
    index=st.lists(st.integers(0, 99), max_size=70).map(lambda rows: np.array(rows, dtype=np.int64)),
    tile=st.sampled_from([1, 4, 16, 64]),
)
def test_a_rows_result_is_the_same_to_the_bit_in_any_batch(index: NDArray[np.int64], tile: int) -> None:
    whole = apply_tiled(project, ROWS, tile)
    np.testing.assert_array_equal(apply_tiled(project, ROWS[index], tile), whole[index])


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 48])
def test_the_function_only_ever_sees_one_shape_and_padding_repeats_a_row(n: int) -> None:
    seen: list[NDArray[np.float32]] = []

    def identity(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(rows.copy())
        return rows

    np.testing.assert_array_equal(apply_tiled(identity, ROWS[:n], 16), ROWS[:n])
    assert {rows.shape for rows in seen} == {(16, 7)}
    assert len(seen) == max(1, -(-n // 16))
    if n % 16:
        last = seen[-1]
        np.testing.assert_array_equal(last[n % 16 :], np.repeat(last[:1], 16 - n % 16, axis=0))


def test_results_keep_the_functions_type_and_shape() -> None:
    def double(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(rows.astype(np.float64).sum(axis=1), dtype=np.float64)

    assert apply_tiled(double, ROWS, 8).dtype == np.float64
    assert apply_tiled(double, ROWS[:0], 8).shape == (0,)
    assert apply_tiled(project, ROWS[:0], 8).shape == (0, 33)


def test_a_function_that_loses_rows_and_a_tile_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="returned 15 rows for 16"):
        apply_tiled(lambda rows: rows[1:], ROWS, 16)
    with pytest.raises(ValueError, match="tile 0 must be at least 1"):
        apply_tiled(project, ROWS, 0)


SCORED_ALIKE = """
import numpy as np
from threadpoolctl import threadpool_limits
from detectors.consensus.parts import GROUPS, Metric, Nearest, TILE

rng = np.random.default_rng(5)
with threadpool_limits(limits=1, user_api="blas"):
    for width in (12, 27, 57):
        metric = Metric(np.zeros(width), np.ones(width), np.eye(width))
        nearest = Nearest(metric, rng.normal(size=(250 * GROUPS, width)))
        for view in rng.normal(size=(20, width)):
            found = nearest.distances(np.repeat(view[None], TILE, axis=0))
            assert (found == found[0]).all(), (width, np.unique(found))
print(nearest._table.dtype)
"""


@pytest.mark.parametrize("kernels", ["", "Haswell", "Nehalem"])
def test_neighbours_are_as_far_wherever_in_a_tile_a_window_stands_whatever_kernels_a_processor_has(
    kernels: str,
) -> None:
    settings = {"OPENBLAS_CORETYPE": kernels} if kernels else {}
    ran = subprocess.run(
        [sys.executable, "-c", SCORED_ALIKE], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in {"float32", "float64"}


def test_a_product_whose_columns_depend_on_their_place_is_not_steady() -> None:
    class Odd(np.ndarray):
        def __matmul__(self, right: NDArray[np.float64]) -> NDArray[np.float64]:
            product = np.asarray(self) @ right
            product[-1, -1] = np.nextafter(product[-1, -1], np.inf)
            return product

    matrix = np.random.default_rng(2).normal(size=(50, 6))
    assert steady(matrix, 8)
    assert not steady(matrix.view(Odd), 8)
