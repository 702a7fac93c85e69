"""Tiles: apply a function to rows in blocks of one fixed shape, so that a row's result is its own.

Matrix kernels choose their blocking by shape, and so round differently in a batch of 7 than in one of 64. A score that
depends on the batch cannot be reproduced after a restart. Here the function only ever sees arrays of exactly ``tile``
rows; the last tile is padded with its first row and the padding's results are dropped.

That is enough only where a kernel treats all rows of a tile alike. OpenBLAS's float32 kernel for processors with AVX2
does not: it sums in another order from the ninth row on. ``steady`` tells.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def apply_tiled(function: Callable[[NDArray[Any]], NDArray[Any]], rows: NDArray[Any], tile: int) -> NDArray[Any]:
    """Return ``function`` of the rows, called with exactly ``tile`` rows each time.

    Args:
        function: maps (tile, ...) of the rows' dtype to (tile, ...), each result row from its own input row alone.
        rows: (n, ...), n may be 0.
        tile: rows a call.

    Returns:
        (n, ...) of the function's dtype and trailing shape; a row's result is the same to the bit in any batch.

    Raises:
        ValueError: ``tile`` is not positive, or the function does not return ``tile`` rows.
    """
    if tile < 1:
        raise ValueError(f"tile {tile} must be at least 1")
    n = len(rows)
    # One buffer for every call, so that neither its memory layout nor its alignment can differ between tiles.
    buffer = np.zeros((tile, *rows.shape[1:]), dtype=rows.dtype)
    results: list[NDArray[Any]] = []
    for start in range(0, max(n, 1), tile):
        count = min(tile, n - start)
        buffer[:count] = rows[start : start + count]
        buffer[count:] = rows[start] if count else 0
        result = function(buffer)
        if len(result) != tile:
            raise ValueError(f"the tiled function returned {len(result)} rows for {tile}")
        results.append(result[:count].copy())
    return np.concatenate(results)


def steady(left: NDArray[Any], columns: int) -> bool:
    """Return whether ``left @ right`` gives a column the same result, to the bit, wherever in ``right`` it stands.

    Tried on this machine, with the kernel that its processor has: a column repeated must give columns that are equal.

    Args:
        left: (m, k), what is multiplied with.
        columns: of ``right``, a tile.
    """
    column = np.random.default_rng(0).normal(size=(left.shape[1], 1)).astype(left.dtype)
    product = left @ np.ascontiguousarray(np.repeat(column, columns, axis=1))
    return bool(np.array_equal(product, np.repeat(product[:, :1], columns, axis=1)))
