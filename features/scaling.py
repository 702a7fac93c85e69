"""Robust scaling: every feature centred on its median, in units of its interquartile range."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.batch import WindowBatch

LIMIT: Final = 1e15
"""Largest scaled value: a window's sum of squares stays finite in float32."""

_LEAST_SPREAD: Final = 1e-30


@dataclass(frozen=True, slots=True)
class RobustScaler:
    """(x - median) / (q75 - q25) per feature, optionally of log1p(x); outliers hardly move either.

    Results are float32 and depend on nothing but the row itself.

    Attributes:
        center: F medians (of the logarithms where ``log1p`` is set), finite.
        scale: F interquartile ranges, finite and > 0; 1 for a feature without spread.
        log1p: F flags; such a feature is replaced by log(1 + x) first, values below 0 by 0.
    """

    center: tuple[float, ...]
    scale: tuple[float, ...]
    log1p: tuple[bool, ...]

    def __post_init__(self) -> None:
        lengths = {len(self.center), len(self.scale), len(self.log1p)}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError(
                f"center, scale and log1p have {sorted(lengths)} features; give one value a feature to each"
            )
        for name in ("center", "scale"):
            values = getattr(self, name)
            wrong = [v for v in values if not np.isfinite(v) or (name == "scale" and v <= 0)]
            if wrong:
                raise ValueError(f"{name} holds {wrong[0]}; it must be finite" + " and > 0" * (name == "scale"))

    @classmethod
    def fit(cls, rows: ArrayLike, *, log1p: ArrayLike = False) -> Self:
        """Measure medians and interquartile ranges.

        Args:
            rows: (n, F), n >= 1, finite; training rows only.
            log1p: one flag, or F of them.

        Raises:
            ValueError: no rows, a wrong shape, or a value that is not finite.
        """
        values = np.array(rows, np.float64)
        if values.ndim != 2 or not values.size:
            raise ValueError(f"rows has shape {values.shape}; give (n, features), at least one of each")
        if not np.isfinite(values).all():
            raise ValueError("rows holds a value that is not finite; leave such rows out")
        flags = np.broadcast_to(np.asarray(log1p, np.bool_), values.shape[1:])
        values[:, flags] = np.log1p(np.maximum(values[:, flags], 0))
        low, center, high = np.percentile(values, [25, 50, 75], axis=0)
        spread = high - low
        # What float64 cannot tell from zero beside the values themselves is rounding, not spread.
        rounding = 4 * np.finfo(np.float64).eps * np.maximum(np.abs(low), np.abs(high))
        constant = spread <= np.maximum(rounding, _LEAST_SPREAD)
        scale = np.where(constant, 1.0, spread)
        return cls(tuple(center.tolist()), tuple(scale.tolist()), tuple(flags.tolist()))

    @property
    def features(self) -> int:
        """Number of features F."""
        return len(self.center)

    def transform(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Scale rows (..., F), each value within +-1e15: float32 of the same shape, within +-``LIMIT``."""
        values = np.array(rows, np.float64)
        self._check(values)
        flags = np.array(self.log1p)
        if flags.any():
            values[..., flags] = np.log1p(np.maximum(values[..., flags], 0))
        return np.clip((values - self.center) / self.scale, -LIMIT, LIMIT).astype(np.float32)

    def inverse(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Undo ``transform``: float32 (..., F), to float32 precision; values below 0 under log1p come back as 0."""
        values = np.array(rows, np.float64)
        self._check(values)
        values = values * self.scale + self.center
        flags = np.array(self.log1p)
        if flags.any():
            values[..., flags] = np.expm1(values[..., flags])
        return values.astype(np.float32)

    def windows(self, batch: WindowBatch) -> NDArray[np.float32]:
        """Scale all windows of a batch: float32 (n, length, F). Shared rows are scaled once."""
        return batch.with_rows(self.transform(batch.rows)).tensor()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for an artefact's metadata; ``from_dict`` gives an equal scaler back."""
        return {"center": list(self.center), "scale": list(self.scale), "log1p": list(self.log1p)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read back what ``to_dict`` gave. Raises ``ValueError`` when a part is missing or is no scaler's."""
        try:
            return cls(
                tuple(float(v) for v in values["center"]),
                tuple(float(v) for v in values["scale"]),
                tuple(bool(v) for v in values["log1p"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no scaler, it needs lists center, scale and log1p: {error!r}") from error

    def _check(self, values: NDArray[np.float64]) -> None:
        if values.shape[-1:] != (self.features,):
            raise ValueError(f"rows has shape {values.shape}; the last axis must have {self.features} features")
