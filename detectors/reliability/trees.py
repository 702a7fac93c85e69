"""Boosted trees in XGBoost's JSON format, loaded to score single-threaded: a row's margin is its own, to the bit."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trees", "load_trees", "margins", "shap_values"]

if TYPE_CHECKING:
    from xgboost import Booster as Trees
else:
    Trees: TypeAlias = Any  # importing detectors must stay cheap


def load_trees(model: bytes, width: int, name: str, classes: int = 1) -> Trees:
    """Load trees over ``width`` features that give a margin, or one each of several ``classes``.

    Raises:
        ValueError: the bytes are no trees, or trees of other features or classes; ``name`` is the file it says so of.
    """
    with _without_sklearn():
        import xgboost  # noqa: PLC0415 - importing detectors must stay cheap

    try:
        trees = xgboost.Booster(params={"nthread": 1}, model_file=bytearray(model))
        features = int(trees.num_features())
    except xgboost.core.XGBoostError as error:
        raise ValueError(f"{name} holds no trees in XGBoost's format ({str(error).splitlines()[0]})") from error
    if features != width:
        raise ValueError(f"{name} takes {features} features, the plan makes {width}")
    given = margins(trees, np.zeros((1, width), np.float32)).size
    if given != classes:
        raise ValueError(f"{name} gives {given} margins a row, the parameters name {classes}")
    return trees


@contextmanager
def _without_sklearn() -> Iterator[None]:
    """Keep xgboost from importing scikit-learn where that is installed: scoring has no use for it, it costs 1.5 s."""
    if "sklearn" in sys.modules or "xgboost" in sys.modules:
        yield
        return
    # What Python knows a module by that cannot be imported.
    sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["sklearn"]


def margins(trees: Trees, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the margins (log odds before calibration): float64 (n,), or (n, classes) of trees of several classes."""
    found = trees.inplace_predict(features, predict_type="margin", validate_features=False)
    return np.asarray(found, np.float64)


def shap_values(trees: Trees, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the exact SHAP values of the margins of one class: float64 (n, width), without the bias."""
    import xgboost  # noqa: PLC0415 - importing detectors must stay cheap

    values = trees.predict(xgboost.DMatrix(features, nthread=1), pred_contribs=True)
    return np.asarray(values, np.float64)[:, :-1]
