"""What was tried, measured again: ``python -m detectors.reliability.trials FILE.parquet --incidents FILE.jsonl``.

Choices are made here, by cross-validation on the nodes and the time that may be learnt from; rows of the test part take
no part. Prints one line a trial: average precision of the score, and at the budget of false episodes the incidents
caught and the median lead. Earlier steps of a decision are taken from the rows before, not from shortened windows.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import shipped
from detectors.reliability.candidates import CANDIDATES, candidates
from detectors.reliability.crossfit import FOLDS, folds_of
from detectors.reliability.decision import Decision
from detectors.reliability.detector import ReliabilityDetector
from detectors.reliability.ensemble import Ensemble
from detectors.reliability.evaluation import read_incidents, read_node_rows
from detectors.reliability.examples import Examples, NodeRows, draw_sample, make_examples
from detectors.reliability.features import AGAINST_DAY, FeaturePlan
from detectors.reliability.growing import REFERENCE_RECIPE, Recipe, grow
from detectors.reliability.labels import Labels, current, label_rows
from detectors.reliability.metrics import average_precision, evaluate
from detectors.reliability.split import split_by_time_and_node
from detectors.reliability.thresholds import AlarmBudget, fit_threshold
from detectors.reliability.training import RULE
from detectors.reliability.transplants import Transplants, strangeness
from detectors.reliability.trees import load_trees
from schemas.metrics import Incident

Floats = NDArray[np.float64]
Columns = NDArray[np.bool_]

DEFAULT, ALONE, DECISION = Recipe(), Recipe(prior=0.0), Decision()
PLAIN = Recipe(transplants=0.0)
LOWEST = -8.0
"""Margin of a row without a window."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice.

    Attributes:
        name: in words.
        recipe: how trees are grown.
        columns: which features, by name; all when ``None``.
        decision: how margins decide; ``None`` for the margin itself.
        more: candidate features beside the plan's, by name, see ``candidates``.
    """

    name: str
    recipe: Recipe = DEFAULT
    columns: Callable[[str], bool] | None = None
    decision: Decision | None = DECISION
    more: tuple[str, ...] = ()


def _of_day(name: str) -> bool:
    return name.split(":")[1] in AGAINST_DAY


TRIALS: tuple[Trial, ...] = (
    Trial("the default"),
    Trial("without the shipped model's trees", ALONE),
    Trial("without those, and without the day's baseline", ALONE, lambda name: not _of_day(name)),
    Trial("without those, the day's baseline alone", ALONE, _of_day),
    Trial("without those, and without what is made across fields", ALONE, lambda name: not name.startswith("across")),
    Trial("0.3 of the shipped model's trees", Recipe(prior=0.3)),
    Trial("the reference recipe's trees, without transplants", REFERENCE_RECIPE),
    Trial("trees of depth 6", Recipe(depth=6)),
    Trial("without transplants", Recipe(transplants=0.0)),
    *(Trial(f"without transplants, with {name}", PLAIN, more=(name,)) for name in CANDIDATES),
    Trial("without transplants, with all four", PLAIN, more=CANDIDATES),
    Trial("twice as many transplants", Recipe(transplants=8.0)),
    Trial("transplants as heavy as rows", Recipe(transplant_weight=1.0)),
    Trial("decided by the score alone", decision=None),
    Trial("decided by two steps", decision=Decision(2, 0, 0.0)),
    Trial("decided by three steps", decision=Decision(3, 0, 0.0)),
    Trial("decided by two steps, fall 2", decision=Decision(2, 14, 2.0)),
    Trial("decided by three steps, fall 3", decision=Decision(3, 13, 3.0)),
    Trial("decided by three steps, fall 4", decision=Decision(3, 13, 4.0)),
)


@dataclass(frozen=True, slots=True)
class Trials:
    """Rows that may be learnt from, in time order, with their features."""

    rows: NodeRows
    labels: Labels
    plan: FeaturePlan
    examples: Examples
    prior: ReliabilityDetector
    transplants: tuple[Transplants, ...]
    candidates: dict[str, NDArray[np.float32]]

    @classmethod
    def of(cls, rows: NodeRows, incidents: Sequence[Incident], prior: ReliabilityDetector) -> "Trials":
        """Keep the rows before the test part of nodes that may be learnt from, and make their features."""
        rows = rows.in_time_order()
        nodes = np.asarray(rows.node_ids)
        parts = split_by_time_and_node(nodes.tolist(), rows.ts_ms).parts
        known = parts.train | parts.validation
        rows = NodeRows(rows.fields, nodes[known], rows.ts_ms[known], rows.values[known], rows.step_ms)
        labels = label_rows(list(rows.node_ids), rows.ts_ms, incidents)
        examples = make_examples(rows, prior.plan, prior.window)
        strange, fold = strangeness(rows, prior.plan, prior.window), folds_of(np.asarray(rows.node_ids), rows.ts_ms)
        others = tuple(Transplants.of(rows, labels, strange, fold != number) for number in range(FOLDS))
        more = candidates(rows, labels, fold, prior.plan, prior.window)
        return cls(rows, labels, prior.plan, examples, prior, others, more)

    def margins(self, trial: Trial) -> Floats:
        """Return each row's margin by trees that have not seen its node: float64 (n,)."""
        nodes, at = np.asarray(self.rows.node_ids), self.examples.rows
        fold = folds_of(nodes, self.rows.ts_ms)[at]
        everything = np.ones(len(self.rows), np.bool_)
        sample = draw_sample(self.rows, self.labels, everything, trial.recipe.negatives, trial.recipe.seed)
        named = np.array([trial.columns is None or trial.columns(name) for name in self.plan.names])
        features = np.column_stack([self.examples.features[:, named], *(self.candidates[name] for name in trial.more)])
        found = np.full(len(self.rows), LOWEST)
        for number in range(FOLDS):
            train, mine = (fold != number) & sample.keep[at], fold == number
            own = features[train], self.labels.positive[at][train], sample.weight[at][train]
            more, told = self.transplants[number].examples(
                self.plan, self.prior.window, trial.recipe.transplants, number
            )
            # Of a transplant no candidate is known: trees take a missing value as such.
            told_of = np.full((len(told), features.shape[1]), np.nan, np.float32)
            told_of[:, : np.count_nonzero(named)] = more[:, named]
            weight = np.concatenate([own[2], np.full(len(told), trial.recipe.transplant_weight)])
            trees = grow(np.concatenate([own[0], told_of]), np.concatenate([own[1], told]), weight, trial.recipe)
            found[at[mine]] = Ensemble(trees).margins(features[mine])
        if trial.recipe.prior:
            lean = Ensemble(load_trees(self.prior.trees, len(self.plan.names), "prior"))
            found[at] = (1.0 - trial.recipe.prior) * found[at] + trial.recipe.prior * lean.margins(
                self.examples.features
            )
        return found

    def decided(self, margin: Floats, decision: Decision | None) -> Floats:
        """Return the decisions, float64 (n,), from the margins of each node's rows."""
        if decision is None:
            return margin
        found, nodes = np.empty_like(margin), np.asarray(self.rows.node_ids)
        for node in np.unique(nodes).tolist():
            mine = np.flatnonzero(nodes == node)
            padded = np.concatenate([np.full(decision.steps - 1, LOWEST), margin[mine]])
            earlier = np.lib.stride_tricks.sliding_window_view(padded, decision.steps)
            found[mine] = decision.of_margins(earlier[:, ::-1])
        return found

    def measure(self, trial: Trial, margin: Floats, rule: AlarmBudget) -> dict[str, float | str]:
        """Return the figures of one trial."""
        nodes, step_ms = np.asarray(self.rows.node_ids), self.rows.step_ms
        decided = self.decided(margin, trial.decision)
        threshold = fit_threshold(decided, self.labels, nodes, step_ms, rule)
        found = evaluate(margin, decided > threshold, self.labels, nodes, self.rows.ts_ms, step_ms)
        return {
            "trial": trial.name,
            "average_precision": round(average_precision(self.labels.positive, margin), 4),
            "incidents_caught": found.incidents_caught,
            "incidents": found.incidents,
            "false_episodes_per_node_day": round(found.false_episodes_per_node_day, 3),
            "false_positive_rate": round(found.false_positive_rate, 5),
            "median_lead_minutes": found.median_lead_minutes,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m detectors.reliability.trials", description=__doc__)
    parser.add_argument("file", type=Path, help="recording of node telemetry")
    parser.add_argument("--incidents", type=Path, required=True, help="its incidents, JSON lines")
    parser.add_argument("--false-alarms", type=float, default=RULE.per_node_day, help="false episodes a node-day")
    parser.add_argument("--only", default="", help="trials whose name has this text; all by default")
    parser.add_argument("--seeds", type=int, default=1, help="times to grow each trial's trees; a line each")
    chosen = parser.parse_args(arguments)
    prior = ReliabilityDetector.load(shipped("reliability"))
    bench = Trials.of(read_node_rows(chosen.file), current(read_incidents(chosen.incidents)), prior)
    trials = [each for each in TRIALS if chosen.only in each.name]
    for seed in range(chosen.seeds):
        seen: dict[tuple[object, ...], Floats] = {}
        for trial in trials:
            told = replace(trial, recipe=replace(trial.recipe, seed=trial.recipe.seed + seed))
            key = (told.recipe, told.columns, told.more)
            if key not in seen:
                seen[key] = bench.margins(told)
            found = bench.measure(told, seen[key], AlarmBudget(chosen.false_alarms)) | {"seed": told.recipe.seed}
            sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
