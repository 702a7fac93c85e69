"""The comparison of models and baselines, and the artefact that ships."""

import json
from pathlib import Path

import numpy as np
import pytest

from detectors.artefacts import shipped
from detectors.reliability.detector import ReliabilityDetector
from detectors.reliability.evaluation import compare, main, read_incidents, read_node_rows
from detectors.reliability.report import write_plots
from detectors.reliability.training import prior_for
from schemas.streams import NODE
from vigil.simulator import NodeFleet, simulate_nodes, write_recording

START = 1_760_054_400_000
NODE_SIM = Path(__file__).parents[3] / "shared" / "data" / "node_sim_a.parquet"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    simulation = simulate_nodes(NodeFleet(8), 3 * 1_440, 77, START, 2.5)
    return write_recording(tmp_path_factory.mktemp("fleet") / "fleet.parquet", simulation)[0]


def test_the_shipped_model_takes_the_node_stream_and_says_how_it_was_made() -> None:
    detector = ReliabilityDetector.load(shipped("reliability"))
    assert detector.fields == NODE.features
    assert detector.window == 30
    assert 0.0 < detector.threshold < 1.0
    assert detector.metadata.metrics["test_unseen_nodes"]["average_precision"] > 0.5
    assert detector.metadata.metrics["test"]["false_episodes_per_node_day"] < 1.2


def test_the_shipped_model_beats_the_baseline_on_a_fleet_it_never_saw(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(recording), "--incidents", str(recording.with_suffix("")) + ".incidents.jsonl"])
    ours, baseline = json.loads(capsys.readouterr().out)["results"]
    assert (ours["model"], ours["fit"], ours["baseline"]) == ("reliability", False, False)
    assert (baseline["model"], baseline["baseline"]) == ("error_rate, mean of 5", True)
    assert ours["average_precision"] > 1.5 * baseline["average_precision"]
    assert ours["average_precision"] > 3.0 * ours["base_rate"]
    assert ours["incidents"] == baseline["incidents"] > 5
    # This fleet has three times the incidents that the probability was fitted to.
    assert ours["expected_calibration_error"] < 0.06


def test_plots_are_drawn_of_what_was_measured(recording: Path, tmp_path: Path) -> None:
    rows = read_node_rows(recording)
    incidents = read_incidents(Path(str(recording.with_suffix("")) + ".incidents.jsonl"))
    results = compare(rows, incidents, detector=ReliabilityDetector.load(shipped("reliability")), name="fleet.parquet")
    made = write_plots(results, tmp_path, "fleet")
    assert [path.name for path in made] == ["fleet-leads.png", "fleet-calibration.png", "fleet-kinds.png"]
    assert all(path.stat().st_size > 5_000 for path in made)


def test_rows_without_a_verdict_count_against_a_model(recording: Path) -> None:
    rows = read_node_rows(recording)
    incidents = read_incidents(Path(str(recording.with_suffix("")) + ".incidents.jsonl"))
    ours = compare(rows, incidents, detector=ReliabilityDetector.load(shipped("reliability")))[0]
    last_day = rows.ts_ms >= rows.ts_ms.min() + 0.7 * np.ptp(rows.ts_ms)
    tested = sum(
        bool(last_day[place])
        and any(
            one.node_id == node and one.start_ms - 1_800_000 <= at and (one.end_ms is None or at <= one.end_ms)
            for one in incidents
        )
        for place, (node, at) in enumerate(zip(rows.node_ids, rows.ts_ms.tolist(), strict=True))
    )
    assert ours["base_rate"] == pytest.approx(tested / last_day.sum())


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.skipif(not NODE_SIM.is_file(), reason="needs ../shared/data")
def test_retrained_on_a_fleet_it_warns_catches_and_keeps_its_budget() -> None:
    rows = read_node_rows(NODE_SIM)
    incidents = read_incidents(NODE_SIM.with_name("node_sim_a.incidents.jsonl"))
    [ours] = compare(rows, incidents, fit=True, prior=prior_for(rows.fields), most=0)
    assert ours["average_precision"] >= 0.72
    assert ours["average_precision_unseen"] >= 0.735
    assert ours["incidents_caught"] >= 0.98 * ours["incidents"]
    assert ours["false_positive_rate"] <= 0.005
    assert ours["false_episodes_per_node_day"] <= 0.8
    assert ours["median_lead_minutes"] >= 5.0
    assert ours["expected_calibration_error"] <= 0.01


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.skipif(not NODE_SIM.is_file(), reason="needs ../shared/data")
def test_the_shipped_model_holds_on_another_simulators_fleet() -> None:
    rows = read_node_rows(NODE_SIM)
    incidents = read_incidents(NODE_SIM.with_name("node_sim_a.incidents.jsonl"))
    ours = compare(rows, incidents, detector=ReliabilityDetector.load(shipped("reliability")))[0]
    assert ours["average_precision"] > 0.55
    assert ours["average_precision_unseen"] > 0.58
    assert ours["incidents_caught"] >= 52
    assert ours["false_positive_rate"] < 0.004
    assert ours["false_episodes_per_node_day"] < 1.5
