"""`vigil evaluate --fault-free`: false alarms in simulated fleets, for people and for programs."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.fit import FitSettings, fit_consensus
from detectors.offline import Steps, score_steps
from tests.detectors.consensus_samples import fitted as fitted_on_others
from vigil import fault_free
from vigil.cli.app import create_app
from vigil.errors import InputError
from vigil.fault_free import FaultFree, measure_fault_free, parts_of
from vigil.simulator import ConsensusFleet, simulate_consensus
from vigil.training.consensus import START_MS, simulated_steps


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(create_app(["evaluate"]), ["evaluate", *arguments])


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector that is asked for many false alarms, so that a short run has some."""
    steps = simulated_steps(clusters=3, steps=900, seed=9)
    folder = tmp_path_factory.mktemp("often")
    fit_consensus(steps, FitSettings(false_alarms_per_node_day=200.0, know_nodes=False)).save(folder)
    return folder


def test_a_fleet_is_cut_into_parts_of_whole_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = FaultFree("consensus", days=0.01, nodes=30)
    whole = list(parts_of(wanted))
    assert [(part.first, part.nodes, part.fleet.clusters) for part in whole] == [(0, 30, 8)]
    monkeypatch.setattr(fault_free, "ROWS_AT_ONCE", 10 * wanted.steps)
    parts = list(parts_of(wanted))
    assert [(part.first, part.nodes) for part in parts] == [(0, 8), (8, 10), (18, 8), (26, 4)]
    names = [name for part in parts for members in part.fleet.layout.values() for name in members]
    assert names == [name for members in whole[0].fleet.layout.values() for name in members]


def test_a_cluster_too_large_is_still_simulated_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_free, "ROWS_AT_ONCE", 1)
    assert [part.nodes for part in parts_of(FaultFree("consensus", nodes=12))] == [3, 5, 3, 1]


def test_the_figures_do_not_depend_on_the_parts(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = FaultFree("consensus", days=0.02, nodes=9, artefact=artefact)
    once = measure_fault_free(wanted)
    monkeypatch.setattr(fault_free, "ROWS_AT_ONCE", 1)
    assert measure_fault_free(wanted) == once
    assert once["false_alarms"] > 5
    assert measure_fault_free(FaultFree("consensus", days=0.02, nodes=9, seed=3, artefact=artefact)) != once


def test_they_are_those_of_the_same_telemetry_scored_at_once(artefact: Path) -> None:
    found = measure_fault_free(FaultFree("consensus", days=0.02, nodes=8, seed=4, artefact=artefact))
    run = simulate_consensus(ConsensusFleet(2, (3, 5), name="calm"), 1728, 4, START_MS)
    detector = ConsensusDetector.load(artefact)
    found_at_once = score_steps(detector, Steps(run.node_ids(), run.ts_ms, run.matrix(), 1000)).flagged
    assert len(run) == 8 * 1728
    episodes = 0
    for node in range(8):
        flagged = np.flatnonzero(found_at_once[run.node == node])
        episodes += int(np.sum(np.diff(flagged, prepend=-99) > 10))
    assert found["false_alarms"] == episodes
    assert found["node_days"] == pytest.approx(8 * 0.02)


def test_a_long_run_goes_on_with_the_nodes_it_knows(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_free, "STRETCH_STEPS", 700)
    wanted = FaultFree("consensus", days=0.02, nodes=3, artefact=artefact)
    done: list[tuple[str, int, int]] = []
    scored = [
        (start, np.isnan(scores).sum(axis=1).tolist())
        for part in parts_of(wanted)
        for start, scores, _ in fault_free._scored(
            ConsensusDetector.load(artefact), wanted, part, lambda *told: done.append(told)
        )
    ]
    # Only the run's first 29 steps are without a verdict, not each stretch's.
    assert scored == [(0, [29] * 3), (700, [0] * 3), (1400, [0] * 3)]
    assert done[0] == ("simulating", 0, 3 * 1728)
    assert done[-1] == ("scoring", 3 * 1728, 3 * 1728)


def test_people_get_a_table_and_programs_an_object(artefact: Path) -> None:
    arguments = ("consensus", "--fault-free", "0.06", "--nodes", "4", "--artefact", str(artefact))
    told = evaluate(*arguments)
    assert told.exit_code == 0, told.output
    for text in ("first verdict after 30 steps", "asked for 200 a node-day", "first hour of each node", "day 1"):
        assert text in " ".join(told.stdout.split())
    result = json.loads(evaluate(*arguments, "--json").stdout)["results"][0]
    assert (result["model"], result["file"], result["nodes"]) == ("consensus", "fault-free simulation", 4)
    assert result["first_verdict_after_steps"] == {"least": 30, "most": 30}
    assert result["times_asked"] == pytest.approx(result["false_alarms_per_node_day"] / 200.0)
    assert result["first_hour"]["node_days"] == pytest.approx(4 / 24)
    assert f" {result['false_alarms']} " in told.stdout


@pytest.mark.slow
def test_the_shipped_artefact_keeps_what_was_asked_within_a_factor_of_three() -> None:
    found = measure_fault_free(FaultFree("consensus", days=0.15, nodes=60))
    assert found["asked_false_alarms_per_node_day"] == 1.0
    assert found["node_days"] == pytest.approx(9.0)
    assert 1 / 3 <= found["times_asked"] <= 3.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["consensus", "x.parquet", "--fault-free", "1"], "--fault-free makes its own consensus rows"),
        (["reliability", "--fault-free", "1"], "--fault-free makes its own consensus rows"),
        (["consensus", "--fault-free", "1", "--generator"], "--generator and --fault-free are two measurements"),
        (["consensus", "--fault-free", "1", "--fit"], "--fault-free measures a trained artefact"),
        (["consensus", "--fault-free", "1", "--seed", "5000"], "--seed 5000: the shipped artefact was trained on it"),
    ],
)
def test_what_cannot_be_simulated_is_said(arguments: list[str], says: str) -> None:
    done = evaluate(*arguments)
    assert done.exit_code != 0
    assert says in str(done.exception)


def test_an_artefact_of_other_telemetry_is_refused(tmp_path: Path) -> None:
    fitted_on_others().save(tmp_path)
    with pytest.raises(InputError, match="takes queue_depth, latency_p50, latency_p99, leader_changes, mode"):
        measure_fault_free(FaultFree("consensus", artefact=tmp_path))
