"""Robust scaling: medians, interquartile ranges, and nothing a few outliers could move."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from features.batch import WindowBatch
from features.scaling import LIMIT, RobustScaler

ROWS = np.array([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [4.0, 7.0]])

matrices = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.floats(-(2.0**30), 2.0**30, width=32)
)


def test_features_are_centred_on_the_median_in_units_of_the_interquartile_range() -> None:
    scaler = RobustScaler.fit(ROWS[:, :1])
    assert (scaler.center, scaler.scale) == ((2.0,), (2.0,))
    assert scaler.transform([[2.0], [6.0]]).tolist() == [[0.0], [2.0]]


def test_a_constant_feature_has_scale_one() -> None:
    scaler = RobustScaler.fit(ROWS)
    assert scaler.scale == (2.0, 1.0)
    assert scaler.transform([[2.0, 9.0]]).tolist() == [[0.0, 2.0]]


def test_rounding_noise_is_no_spread() -> None:
    assert RobustScaler.fit(0.1 + np.array([[0.0], [1e-17], [2e-17], [1e-16]])).scale == (1.0,)


def test_a_scaled_value_is_bounded_however_small_the_spread() -> None:
    scaler = RobustScaler.fit(ROWS[:, :1] * 1e-20)
    assert scaler.transform([[1e15], [-1e15]]).tolist() == [[np.float32(1e15)], [np.float32(-1e15)]]


def test_outliers_do_not_move_the_scale() -> None:
    rows = np.concatenate([np.linspace(0, 1, 1000), np.full(20, 1e9)])[:, None]
    scaler = RobustScaler.fit(rows)
    assert scaler.center[0] == pytest.approx(0.5, abs=0.02)
    assert scaler.scale[0] == pytest.approx(0.5, abs=0.02)


def test_the_logarithm_is_taken_where_asked_and_negative_values_count_as_zero() -> None:
    scaler = RobustScaler.fit(np.expm1(ROWS), log1p=[True, False])
    assert scaler.center[0] == pytest.approx(2.0)
    assert scaler.transform([[np.expm1(4.0), 0.0], [-5.0, 0.0]])[:, 0].tolist() == pytest.approx([1.0, -1.0])
    assert RobustScaler.fit(ROWS, log1p=True).log1p == (True, True)


@settings(deadline=None)
@given(matrices, st.booleans())
def test_a_row_scales_the_same_in_any_company(rows: np.ndarray, log1p: bool) -> None:
    scaler = RobustScaler.fit(rows, log1p=log1p)
    together = scaler.transform(rows)
    assert together.dtype == np.float32
    alone = np.concatenate([scaler.transform(row[None]) for row in rows])
    assert together.tobytes() == alone.tobytes()


@settings(deadline=None)
@given(matrices)
def test_scaling_can_be_undone(rows: np.ndarray) -> None:
    scaler = RobustScaler.fit(rows)
    scaled = scaler.transform(rows)
    assume((np.abs(scaled) < LIMIT).all())  # what is cut off there cannot come back
    back = scaler.inverse(scaled)
    largest = np.abs(rows).max(axis=0) + np.abs(np.array(scaler.center))
    assert (np.abs(back - rows) <= 1e-5 * largest + 1e-30).all()


def test_the_logarithm_can_be_undone() -> None:
    scaler = RobustScaler.fit(ROWS, log1p=True)
    assert scaler.inverse(scaler.transform(ROWS)) == pytest.approx(ROWS, rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(matrices, st.booleans())
def test_a_scaler_survives_json(rows: np.ndarray, log1p: bool) -> None:
    scaler = RobustScaler.fit(rows, log1p=log1p)
    assert RobustScaler.from_dict(json.loads(json.dumps(scaler.to_dict()))) == scaler


def test_windows_are_scaled_like_their_rows() -> None:
    windows = np.arange(24, dtype=np.float32).reshape(2, 6, 2)
    scaler = RobustScaler.fit(windows.reshape(-1, 2))
    assert scaler.windows(WindowBatch.stack(windows)).tolist() == scaler.transform(windows).tolist()


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), [[np.nan]], [[np.inf]]])
def test_rows_that_cannot_be_fitted_are_refused(rows: object) -> None:
    with pytest.raises(ValueError, match=r"^rows (has shape|holds a value that is not finite)"):
        RobustScaler.fit(np.asarray(rows))


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="the last axis must have 2 features"):
        RobustScaler.fit(ROWS).transform(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="the last axis must have 2 features"):
        RobustScaler.fit(ROWS).inverse(np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no scaler, it needs lists"),
        ({"center": 3, "scale": [1], "log1p": [False]}, "no scaler, it needs lists"),
        ({"center": [0.0], "scale": [0.0], "log1p": [False]}, "scale holds 0.0; it must be finite and > 0"),
        ({"center": [float("nan")], "scale": [1.0], "log1p": [False]}, "center holds nan; it must be finite"),
        ({"center": [0.0, 1.0], "scale": [1.0], "log1p": [False]}, r"have \[1, 2\] features"),
        ({"center": [], "scale": [], "log1p": []}, r"have \[0\] features"),
    ],
)
def test_values_that_are_no_scaler_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RobustScaler.from_dict(values)
