"""What the reliability model is measured against: scores of every row by simple models, fitted on the training part."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.calibration import calibrate
from detectors.reliability.detector import probability_of
from detectors.reliability.examples import NodeRows, draw_sample, make_examples, windows_of
from detectors.reliability.features import RECENT, FeaturePlan, window_features
from detectors.reliability.growing import REFERENCE_RECIPE, Recipe, grow
from detectors.reliability.labels import Labels
from detectors.reliability.split import Parts
from detectors.reliability.trees import margins

Scores = NDArray[np.float64]

ONE_ROW = Recipe(trees=300, depth=4, learning_rate=0.05, subsample=0.8, colsample=0.8, negatives=1.0, prior=0.0)


@dataclass(frozen=True, slots=True)
class Contender:
    """A model beside ours.

    Attributes:
        name: what a table calls it.
        scores: float64 (n,), NaN where it has none; a larger one is more likely an incident.
        baseline: whether it is a simple one; the reference recipe is not.
        probability: whether the scores are probabilities.
    """

    name: str
    scores: Scores
    baseline: bool
    probability: bool


@dataclass(frozen=True, slots=True)
class Bench:
    """Rows in time order with their labels and parts; contenders are fitted on the training part.

    A probability is calibrated on the validation part.
    """

    rows: NodeRows
    labels: Labels
    parts: Parts
    window: int = 30

    def contenders(self) -> Iterator[Contender]:
        """Fit and score one after another, the strongest first."""
        yield self._reference()
        complete, means = self._means()
        yield self._boosted_row(complete)
        yield self._logistic(complete)
        yield self._forest(means)
        yield from self._errors(means)

    def untrained(self) -> Iterator[Contender]:
        """Score by the rule that needs no training."""
        yield from self._errors(self._means()[1])

    def _errors(self, means: NDArray[np.float32]) -> Iterator[Contender]:
        if "error_rate" in self.rows.fields:
            errors = means[:, self.rows.fields.index("error_rate")].astype(np.float64)
            yield Contender("error_rate, mean of 5", errors, baseline=True, probability=False)

    def _reference(self) -> Contender:
        """Train the recipe of SPEC section 3 on the features of ours."""
        plan = FeaturePlan.fit(self.rows.fields, self.rows.values[self.parts.train & ~self.labels.positive])
        recipe = REFERENCE_RECIPE
        sample = draw_sample(self.rows, self.labels, self.parts.train, recipe.negatives, recipe.seed)
        examples = make_examples(self.rows, plan, self.window, sample.keep)
        trees = grow(examples.features, self.labels.positive[examples.rows], sample.weight[examples.rows], recipe)
        margin = np.full(len(self.rows), np.nan)
        for places, windows, before in windows_of(self.rows, plan, self.window):
            margin[places] = margins(trees, window_features(windows, plan, before))
        return Contender("xgboost (reference recipe)", self._calibrated(margin), baseline=False, probability=True)

    def _means(self) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which rows complete a window, bool (n,), and the means of their newest steps, float32 (n, F)."""
        plan = FeaturePlan.fit(self.rows.fields, self.rows.values[self.parts.train & ~self.labels.positive])
        means = np.full(self.rows.values.shape, np.nan, np.float32)
        for places, windows, _ in windows_of(self.rows, plan, self.window):
            means[places] = np.mean([windows.rows[windows.ends - back] for back in range(RECENT)], axis=0)
        return np.asarray(np.isfinite(means).all(axis=1)), np.asarray(means)

    def _boosted_row(self, complete: NDArray[np.bool_]) -> Contender:
        train, values = self.parts.train & complete, self.rows.values
        trees = grow(values[train], self.labels.positive[train], np.ones(int(train.sum())), ONE_ROW)
        return self._of_complete("gradient boosting, one row", complete, lambda: margins(trees, values[complete]))

    def _logistic(self, complete: NDArray[np.bool_]) -> Contender:
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - a baseline, not part of scoring
        from sklearn.pipeline import make_pipeline  # noqa: PLC0415
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

        values = np.log1p(np.maximum(self.rows.values, 0.0).astype(np.float64))
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000, class_weight="balanced"))
        train = self.parts.train & complete
        model.fit(values[train], self.labels.positive[train])
        return self._of_complete(
            "logistic regression, one row", complete, lambda: model.decision_function(values[complete])
        )

    def _forest(self, means: NDArray[np.float32]) -> Contender:
        """Return the isolation forest of rows without incidents: labels and rows of one node and one time."""
        from sklearn.ensemble import IsolationForest  # noqa: PLC0415 - a baseline, not part of scoring

        complete = np.isfinite(means).all(axis=1)
        calm = self.parts.train & complete & ~self.labels.positive
        forest = IsolationForest(n_estimators=100, random_state=0).fit(means[calm])
        scores = np.full(len(means), np.nan)
        scores[complete] = -forest.score_samples(means[complete])
        return Contender("isolation forest, means of 5", scores, baseline=True, probability=False)

    def _of_complete(self, name: str, complete: NDArray[np.bool_], margin_of: Callable[[], Scores]) -> Contender:
        margin = np.full(len(self.rows), np.nan)
        margin[complete] = margin_of()
        return Contender(name, self._calibrated(margin), baseline=True, probability=True)

    def _calibrated(self, margin: Scores) -> Scores:
        known = self.parts.validation & np.isfinite(margin)
        return probability_of(margin, *calibrate(margin[known], self.labels.positive[known]))
