"""Fleets and cuts that nothing was chosen by: ``python -m benchmarks.reliability_rotations [FILE --incidents FILE]``.

The whole pipeline, trained and measured anew on each of several cases, beside the strongest of its contenders:

- simulated fleets of 24 nodes over 10 days, each of a seed of its own, split as ``detectors.reliability.split`` does,
  without the shipped model's trees (they are made of that simulator's fleets);
- rotations of a recording's rows that may be learnt from (before its test part, of the nodes that training may see):
  other nodes unseen, other cuts in time. Its own test part takes no part.

Prints a line of JSON a case and model, then the figures pooled by kind of case. Rotations overlap: their intervals are
those of independent cases, and so too narrow.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from detectors.evaluation.metrics import rate_interval
from detectors.reliability.decision import Decision
from detectors.reliability.detector import ReliabilityDetector
from detectors.reliability.evaluation import compare, read_incidents, read_node_rows
from detectors.reliability.examples import NodeRows
from detectors.reliability.growing import Recipe
from detectors.reliability.labels import current
from detectors.reliability.split import Parts, rotate, split_by_time_and_node
from detectors.reliability.thresholds import AlarmBudget
from detectors.reliability.training import RULE, prior_for
from schemas.metrics import Incident
from schemas.streams import NODE
from vigil.simulator import NodeFleet, simulate_nodes

NODES: Final = 24
MINUTES: Final = 10 * 1_440
START_MS: Final = 1_770_000_000_000
SEED: Final = 9_201
ROTATIONS: Final = ((0, 0.7), (1, 0.4), (2, 0.1), (3, 0.55))
"""Group of unseen nodes, and where the test part begins."""
SHOWN: Final = (
    *("average_precision", "average_precision_unseen", "incidents", "incidents_caught", "false_positive_rate"),
    *("false_episodes_per_node_day", "median_lead_minutes", "expected_calibration_error", "threshold"),
)


@dataclass(frozen=True, slots=True)
class Case:
    """What a model is trained and measured on.

    Attributes:
        kind: "simulated" or "rotation".
        name: of the case.
        rows: in time order.
        incidents: theirs.
        parts: of the rows.
        prior: what ours leans on.
    """

    kind: str
    name: str
    rows: NodeRows
    incidents: Sequence[Incident]
    parts: Parts
    prior: ReliabilityDetector | None


def simulated(seed: int) -> Case:
    """Simulate a fleet."""
    run = simulate_nodes(NodeFleet(NODES, name=f"site{seed}"), MINUTES, seed, START_MS)
    rows = NodeRows(NODE.features, np.asarray(run.node_ids()), run.ts_ms, run.matrix(), NODE.step_ms).in_time_order()
    parts = split_by_time_and_node(list(rows.node_ids), rows.ts_ms).parts
    return Case("simulated", f"seed {seed}", rows, run.incidents, parts, None)


def rotations(rows: NodeRows, incidents: Sequence[Incident], count: int) -> Iterator[Case]:
    """Rotate the rows of a recording that may be learnt from."""
    rows = rows.in_time_order()
    nodes = np.asarray(rows.node_ids)
    own = split_by_time_and_node(nodes.tolist(), rows.ts_ms).parts
    known = own.train | own.validation
    rows = NodeRows(rows.fields, nodes[known], rows.ts_ms[known], rows.values[known], rows.step_ms)
    prior = prior_for(rows.fields)
    for group, test_from in ROTATIONS[:count]:
        parts = rotate(list(rows.node_ids), rows.ts_ms, group, test_from)
        yield Case("rotation", f"nodes {group} from {test_from:.0%}", rows, incidents, parts, prior)


def measure(case: Case, rule: AlarmBudget, recipe: Recipe, decision: Decision, contenders: int) -> list[dict[str, Any]]:
    """Train ours and the contenders, all to the same rule, and measure them: one entry a model, ours first."""
    found = compare(
        case.rows,
        case.incidents,
        fit=True,
        prior=case.prior,
        rule=rule,
        parts=case.parts,
        recipe=recipe,
        decision=decision,
        most=contenders,
    )
    return [{"kind": case.kind, "case": case.name} | entry for entry in found]


def pooled(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the figures of one model over several cases together.

    Counts are summed, with the 95 % interval of a Poisson rate as if missed incidents and episodes were independent;
    average precisions and calibration errors are means with the lowest and the highest; the lead is the median over all
    caught incidents of the kinds that give a warning.
    """
    days = [entry["rows"] * NODE.step_ms / 86_400_000.0 for entry in entries]
    episodes = round(sum(e["false_episodes_per_node_day"] * each for e, each in zip(entries, days, strict=True)))
    negatives = np.array([entry["rows"] * (1.0 - entry["base_rate"]) for entry in entries])
    caught, incidents = (sum(entry[key] for entry in entries) for key in ("incidents_caught", "incidents"))
    missed = rate_interval(incidents - caught, incidents)
    leads = [lead for e in entries for kind in e["kinds_with_warning"] for lead in e["leads"].get(kind, ())]
    return {
        "cases": len(entries),
        "incidents": incidents,
        "incidents_caught": caught,
        "caught_share": [caught / incidents, max(1.0 - missed[1], 0.0), 1.0 - missed[0]],
        "false_episodes_per_node_day": [episodes / sum(days), *rate_interval(episodes, sum(days))],
        "false_positive_rate": float(np.dot([e["false_positive_rate"] for e in entries], negatives) / negatives.sum()),
        "median_lead_minutes": float(np.median(leads)) if leads else None,
        **{key: _spread(entries, key) for key in ("average_precision", "average_precision_unseen")},
        "expected_calibration_error": _spread(entries, "expected_calibration_error"),
    }


def _spread(entries: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """Return mean, lowest and highest of a figure."""
    values = [entry[key] for entry in entries]
    return [float(np.mean(values)), min(values), max(values)]


def cases(chosen: argparse.Namespace) -> Iterator[Case]:
    """Yield the cases asked for, one at a time."""
    if chosen.file is not None:
        incidents = current(read_incidents(chosen.incidents))
        yield from rotations(read_node_rows(chosen.file), incidents, chosen.rotations)
    for seed in range(chosen.seed, chosen.seed + chosen.fleets):
        yield simulated(seed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability_rotations", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", help="recording of node telemetry to rotate")
    parser.add_argument("--incidents", type=Path, help="its incidents, JSON lines")
    parser.add_argument("--rotations", type=int, default=len(ROTATIONS), help="rotations of the recording")
    parser.add_argument("--fleets", type=int, default=4, help="simulated fleets")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first; the others follow")
    parser.add_argument("--false-alarms", type=float, default=RULE.per_node_day, help="false episodes a node-day")
    parser.add_argument("--contenders", type=int, default=1, help="models to train beside ours, the strongest first")
    parser.add_argument("--decision", type=_decision, default=Decision(), help="of ours: AGREE,LOOK_BACK,FALL")
    parser.add_argument("--transplants", type=float, default=Recipe().transplants, help="of ours, for each incident")
    chosen = parser.parse_args(arguments)
    if (chosen.file is None) != (chosen.incidents is None):
        parser.error("a recording and its incidents belong together")
    by_kind: dict[tuple[str, str], list[dict[str, Any]]] = {}
    rule, recipe = AlarmBudget(chosen.false_alarms), Recipe(transplants=chosen.transplants)
    for case in cases(chosen):
        for entry in measure(case, rule, recipe, chosen.decision, chosen.contenders):
            by_kind.setdefault((entry["kind"], entry["model"]), []).append(entry)
            _print({key: entry[key] for key in ("kind", "case", "model", *SHOWN)})
    for (kind, model), entries in by_kind.items():
        _print({"pooled": kind, "model": model, **pooled(entries)})


def _decision(text: str) -> Decision:
    agree, look_back, fall = text.split(",")
    return Decision(int(agree), int(look_back), float(fall))


def _print(found: Mapping[str, Any]) -> None:
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
