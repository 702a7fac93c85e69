"""`vigil evaluate`: figures of a detector and of baselines, for people and for programs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from schemas.streams import CONSENSUS
from tests.detectors.evaluation.recordings import START, columns
from vigil.cli.app import create_app
from vigil.cli.figures import figure_table, plain_results
from vigil.errors import InputError
from vigil.labelled import read_faults, read_labelled
from vigil.simulator import ConsensusFleet, Fault, FaultPlan, simulate_consensus, write_recording
from vigil.training_data import normal_steps, read_training_data

INTERFACE = {
    "model", "file", "fit", "baseline", "average_precision", "vus_pr", "roc_auc", "precision", "recall", "f1",
    "detection_accuracy", "events", "events_seen", "median_delay_s", "false_alarms_per_node_day",
    "false_positive_rate", "threshold",
}  # fmt: skip


def evaluate(*arguments: str) -> Result:
    return CliRunner().invoke(create_app(["evaluate"]), ["evaluate", *arguments])


def results(*arguments: str) -> list[dict[str, Any]]:
    done = evaluate(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)["results"]
    return found


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Telemetry of one's own: three columns of numbers, two nodes, a fault each."""
    rows = columns(2)
    path = tmp_path / "own.parquet"
    table = {"ts_ms": rows.ts_ms, "node_id": rows.node_ids, "split": rows.split}
    table |= {name: rows.values[:, place] for place, name in enumerate(rows.fields)}
    label = pa.array([None if each < 0 else int(each) for each in rows.label])
    pq.write_table(pa.table({**{name: pa.array(column) for name, column in table.items()}, "label": label}), path)
    return path


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A simulated cluster with faults after its first part, and their times beside it."""
    fleet = ConsensusFleet(1)
    name = simulate_consensus(fleet, 1, 3, START).nodes[0].cluster
    kinds = ("network_congestion", "leader_election_storm", "queue_overflow", "byzantine_attack")
    faults = tuple(
        Fault(START + begin * 1000, START + (begin + 25) * 1000, kind, name, "cluster", 0.9)
        for kind, begin in zip(kinds, (900, 1_000, 1_100, 1_200), strict=True)
    )
    path = tmp_path / "cluster.jsonl.gz"
    write_recording(path, simulate_consensus(fleet, 1_300, 3, START, FaultPlan(faults)))
    return path


def test_any_columns_are_measured_beside_the_baselines(own: Path) -> None:
    found = results("consensus", str(own), "--fit")
    ours = found[0]
    assert set(ours) >= INTERFACE
    assert all(set(each) >= INTERFACE for each in found)
    assert (ours["model"], ours["file"], ours["fit"], ours["baseline"]) == ("consensus", "own.parquet", True, False)
    assert (ours["events"], ours["events_seen"], ours["label_0_rows"]) == (2, 2, 530)
    assert ours["average_precision"] > 0.95
    assert {"Mahalanobis", "rolling Mahalanobis", "isolation forest", "random"} <= {each["model"] for each in found}
    assert all(each["baseline"] for each in found[1:])


def test_the_columns_to_look_at_can_be_chosen(own: Path) -> None:
    # What gives the fault away is how c stands to the others.
    blind, seeing = (results("consensus", str(own), "--fit", "--fields", each)[0] for each in ("a,b", "b,c"))
    assert blind["average_precision"] < 0.5
    assert seeing["average_precision"] > 0.95


def test_a_threshold_is_fitted_for_the_false_alarms_asked_for(own: Path) -> None:
    few, many = (results("consensus", str(own), "--fit", "--false-alarms", each)[0] for each in ("0.1", "500"))
    assert (few["asked_false_alarms_per_node_day"], many["asked_false_alarms_per_node_day"]) == (0.1, 500.0)
    assert few["threshold"] > many["threshold"]
    assert many["times_asked"] == many["false_alarms_per_node_day"] / 500.0
    assert many["node_days"] == pytest.approx(530 / 86_400)
    assert few["interval_95"][0] <= few["false_alarms_per_node_day"] <= few["interval_95"][1]
    assert few["average_precision"] == many["average_precision"]


def test_a_cluster_is_measured_by_its_faults(cluster: Path) -> None:
    ours = results("consensus", str(cluster), "--fit")[0]
    assert ours["events"] == len(read_faults(cluster)) == 4
    assert ours["events_seen"] >= 3
    recording, stream = read_labelled(cluster)
    assert stream is CONSENSUS
    assert recording.pooled
    assert [recording.columns.fields[place] for place in recording.used] == list(CONSENSUS.features[:9])


def test_the_shipped_artefacts_are_measured_as_they_are(cluster: Path) -> None:
    ours = results("consensus", str(cluster))[0]
    assert not ours["fit"]
    assert ours["model_version"].startswith("consensus-")
    network = results("autoencoder", str(cluster))[0]
    assert network["model_version"].startswith("autoencoder-")
    assert network["average_precision"] is not None


def test_people_get_a_table_and_a_report(own: Path, tmp_path: Path) -> None:
    done = evaluate("consensus", str(own), "--fit", "--report", str(tmp_path / "report"))
    assert done.exit_code == 0, done.output
    assert "rolling Mahalanobis" in done.stdout
    assert "2 events, 530 normal test rows; consensus: " in done.stdout
    assert "at 95 %), 1 asked for" in done.stdout
    made = {path.name: path for path in (tmp_path / "report").iterdir()}
    assert set(made) == {
        "own-consensus.md",
        *(f"own-consensus-{plot}.png" for plot in ("scores", "delays", "precision-recall", "contributions")),
    }
    page = made["own-consensus.md"].read_text()
    assert "| consensus |" in page
    assert all(f"({name})" in page for name in made if name.endswith(".png"))
    assert str(tmp_path) not in page


def test_the_best_figure_of_a_column_is_bold() -> None:
    one = {
        "model": "one", "baseline": False, "events": 2, "label_0_rows": 9, "average_precision": 0.9,
        "false_alarms_per_node_day": 3.0,
    }  # fmt: skip
    two = {**one, "model": "two", "average_precision": 0.8, "false_alarms_per_node_day": 1.0}
    cells = {str(column.header): list(column.cells) for column in figure_table("t", [one, two]).columns}
    assert cells["AP"] == ["[bold]0.900[/bold]", "0.800"]
    assert cells["false alarms/node-day"] == ["3.00", "[bold]1.00[/bold]"]
    assert cells["recall"] == ["-", "-"]


def test_figures_that_are_not_defined_are_null_in_json() -> None:
    assert plain_results([{"a": float("nan"), "b": 1.5, "c": "x"}]) == [{"a": None, "b": 1.5, "c": "x"}]


def test_only_known_streams_are_taken_on_a_log_scale(own: Path, cluster: Path) -> None:
    data = read_training_data(own)
    positive = replace(data, rows=np.abs(data.rows))
    assert not any(normal_steps(positive).log)
    assert all(normal_steps(read_training_data(cluster)).log)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense", "own.parquet"], "no detector is called 'nonsense'"),
        (["consensus"], "nothing to measure on"),
        (["consensus", "missing.parquet", "--fit"], "missing.parquet: no such file"),
        (["consensus", "own.parquet"], "has no field queue_depth"),
        (["consensus", "own.parquet", "--fields", "a"], "--fields a: consensus-"),
        (["consensus", "own.parquet", "--false-alarms", "2"], "--false-alarms: a trained artefact"),
        (["consensus", "own.parquet", "--incidents", "own.parquet"], "--incidents is for reliability"),
        (["consensus", "own.parquet", "--generator"], "--generator makes its own"),
        (["reliability", "own.parquet"], "reliability is measured against incidents"),
    ],
)
def test_what_cannot_be_measured_is_said(own: Path, arguments: list[str], says: str) -> None:
    assert own.name == "own.parquet"
    done = evaluate(*arguments)
    assert done.exit_code != 0
    assert says in str(done.exception)


def test_malformed_faults_are_named(own: Path) -> None:
    own.with_name("own.faults.json").write_text('[{"start_ms": "soon"}]')
    with pytest.raises(InputError, match=r"own\.faults\.json: .*start_ms"):
        read_labelled(own)


@pytest.mark.slow
def test_the_reference_generator_is_measured_with_its_rules() -> None:
    found = {each["model"]: each for each in results("consensus", "--generator", "--windows", "2000")}
    assert found["consensus"]["detection_accuracy"] >= 0.995
    assert found["consensus, worst step"]["one_bad_step_at_1_percent"] >= 0.97
    assert found["autoencoder"]["detection_accuracy"] >= 0.971
    assert found["largest p99/p50"]["detection_accuracy"] == 1.0
    assert found["largest p99/p50"]["baseline"]
