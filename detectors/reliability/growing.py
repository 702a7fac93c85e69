"""Growing trees: the recipes, and one call for each kind of trees."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the trees are grown.

    The default has shallow trees, small steps and few columns a tree: with some two hundred incidents the variance
    between trees is what costs, and it generalises to unseen nodes (docs/evaluation/reliability.md has the comparison).

    Attributes:
        trees, depth, learning_rate, subsample, colsample, min_child_weight: XGBoost's own.
        balanced: weight positives by negatives / positives.
        negatives: share of the negative training rows to use (the others are drawn out by ``seed``); the rest carries
            their weight, so probabilities stay what they are.
        prior: share in the margin of trees trained before, where there are some; 0 for none.
        transplants: how often each incident's trouble is told again on other nodes (``transplants``); 0 for never.
        transplant_weight: weight of such a row.
        seed: of everything random.
        threads: for growing trees; the result does not depend on it.
    """

    trees: int = 500
    depth: int = 4
    learning_rate: float = 0.025
    subsample: float = 0.5
    colsample: float = 0.15
    min_child_weight: float = 20.0
    balanced: bool = False
    negatives: float = 0.25
    prior: float = 0.1
    transplants: float = 4.0
    transplant_weight: float = 0.3
    seed: int = 0
    threads: int = 2


REFERENCE_RECIPE = Recipe(
    trees=200,
    depth=6,
    learning_rate=0.1,
    subsample=0.8,
    colsample=0.8,
    min_child_weight=1.0,
    balanced=True,
    prior=0.0,
    transplants=0.0,
)
"""The recipe of SPEC section 3."""

# One thread: several classes come out in the last bits as the threads are many.
OUTLOOK_RECIPE = Recipe(
    trees=60, depth=3, learning_rate=0.15, subsample=0.8, colsample=0.1, min_child_weight=10.0, threads=1
)
"""For kind and phase, which are told of the rows of some hundred incidents."""


def grow(
    features: NDArray[np.float32],
    positive: NDArray[np.bool_],
    weight: NDArray[np.float64],
    recipe: Recipe,
    progress: Progress | None = None,
) -> xgboost.Booster:
    """Grow the trees of a probability.

    Args:
        features: float32 (n, width), training rows.
        positive: bool (n,).
        weight: float64 (n,), rows that each stands for.
        recipe: how.
        progress: called with trees grown and trees to grow.
    """
    share = float(weight[~positive].sum() / max(weight[positive].sum(), 1.0)) if recipe.balanced else 1.0
    parameters = _common(recipe) | {"objective": "binary:logistic", "eval_metric": "aucpr", "scale_pos_weight": share}
    data = xgboost.QuantileDMatrix(features, positive.astype(np.float32), weight=weight, nthread=recipe.threads)
    callbacks: Any = [_Progress(progress, recipe.trees)] if progress else []
    return xgboost.train(parameters, data, recipe.trees, callbacks=callbacks)


def grow_classes(
    features: NDArray[np.float32], of_class: NDArray[np.int64], classes: int, recipe: Recipe
) -> xgboost.Booster:
    """Grow the trees of several classes: features float32 (n, width), ``of_class`` int64 (n,) below ``classes``."""
    parameters = _common(recipe) | {"objective": "multi:softprob", "num_class": classes}
    data = xgboost.QuantileDMatrix(features, of_class.astype(np.float32), nthread=recipe.threads)
    return xgboost.train(parameters, data, recipe.trees)


def _common(recipe: Recipe) -> dict[str, Any]:
    return {
        "tree_method": "hist",
        "max_depth": recipe.depth,
        "learning_rate": recipe.learning_rate,
        "subsample": recipe.subsample,
        "colsample_bytree": recipe.colsample,
        "min_child_weight": recipe.min_child_weight,
        "seed": recipe.seed,
        "nthread": recipe.threads,
    }


class _Progress(xgboost.callback.TrainingCallback):
    """Passes the number of grown trees on."""

    def __init__(self, progress: Progress, total: int) -> None:
        super().__init__()
        self._progress = progress
        self._total = total

    def after_iteration(self, model: xgboost.Booster, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002
        self._progress(epoch + 1, self._total)
        return False
