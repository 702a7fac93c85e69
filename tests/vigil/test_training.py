"""`vigil train`: artefacts with what they were tried on, plots, and runs that go on where they stopped."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from detectors.artefacts import Metadata
from detectors.catalogue import load_detectors
from schemas.streams import CONSENSUS, Stream
from vigil.assembly import enabled_streams
from vigil.cli.app import create_app
from vigil.configuration import load_configuration
from vigil.own_streams import is_own, stream_settings
from vigil.training_data import TrainingData

START_MS = 1_760_000_000_000


def train(*arguments: str) -> Result:
    return CliRunner().invoke(create_app(["train"]), ["train", *arguments])


def trained(*arguments: str) -> dict[str, Any]:
    done = train(*arguments, "--json")
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def metadata(folder: Path) -> Metadata:
    return msgspec.json.decode((folder / "metadata.json").read_bytes(), type=Metadata)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Three nodes' queries a second, their latency, and a column that only moves on its own."""
    rng = np.random.default_rng(4)
    steps, nodes = 700, 3
    load = 100 + 20 * np.sin(np.arange(steps) / 60)[:, None] + rng.normal(0, 4, (steps, nodes))
    columns = {
        "ts_ms": np.repeat(START_MS + 5_000 * np.arange(steps), nodes),
        "node_id": np.tile([f"pg-{node}" for node in range(nodes)], steps),
        "tps": load.ravel(),
        "lag_ms": (0.3 * load + rng.gamma(2, 2, load.shape)).ravel(),
        "noise": rng.normal(size=load.size),
    }
    path = tmp_path / "postgres.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_a_fit_says_what_its_threshold_achieved_after_the_part_it_was_fitted_on(recording: Path) -> None:
    result = trained("consensus", str(recording), "--out", "mine", "--false-alarms", "5")
    held_out = result["held_out"]
    assert held_out["share"] == 0.2
    assert held_out["asked_false_alarms_per_node_day"] == 5.0
    assert held_out["node_days"] == pytest.approx(420 * 5 / 86_400, rel=0.01)
    assert held_out["from_ms"] == START_MS + 5_000 * 560
    low, high = held_out["interval_95"]
    assert low <= held_out["false_alarms_per_node_day"] <= high
    written = metadata(Path("mine"))
    assert written.metrics["held_out"] == held_out
    assert written.threshold.fit == result["threshold_fit"]
    assert written.training["false_alarms_per_node_day"] == 5.0
    assert {"numpy", "safetensors", "vigil-dwcp"} <= set(written.versions)
    assert len(written.training["data_sha256"]) == 64
    assert (written.model_version, result["step_ms"]) == (result["model_version"], 5_000)


def test_plots_stand_beside_the_artefact_or_where_they_are_wanted(recording: Path) -> None:
    assert trained("consensus", str(recording), "--out", "mine")["report"] == "mine/report/training.md"
    assert len(list(Path("mine/report").glob("*.png"))) == 4
    assert trained("consensus", str(recording), "--out", "mine", "--report", "plots")["report"] == "plots/training.md"
    assert trained("consensus", str(recording), "--out", "bare", "--no-report")["report"] is None
    assert sorted(path.name for path in Path("bare").iterdir()) == ["metadata.json", "model.safetensors"]


def test_people_are_told_the_achieved_rate_beside_the_asked_one(recording: Path) -> None:
    done = train("consensus", str(recording), "--out", "mine")
    assert done.exit_code == 0
    told = " ".join(done.stderr.split())
    for text in (
        "held out: ",
        "the last 20% by time, ",
        ", 1 asked for",
        "plots: mine/report/training.md",
        "threshold",
    ):
        assert text in told


def test_the_columns_to_train_on_can_be_chosen_and_their_order(recording: Path) -> None:
    result = trained("consensus", str(recording), "--out", "mine", "--fields", "lag_ms, tps", "--no-report")
    assert result["fields"] == ["lag_ms", "tps"]
    assert trained("consensus", str(recording), "--out", "all", "--no-report")["fields"] == ["tps", "lag_ms", "noise"]
    wrong = train("consensus", str(recording), "--out", "none", "--fields", "lag")
    assert wrong.exit_code != 0
    assert "has no field lag" in str(wrong.exception)


def test_the_same_rows_give_the_same_artefact_to_the_bit(recording: Path) -> None:
    for folder in ("a", "b"):
        trained("consensus", str(recording), "--out", folder, "--no-report")
    for name in ("metadata.json", "model.safetensors"):
        assert Path("a", name).read_bytes() == Path("b", name).read_bytes()


def test_a_report_that_was_asked_for_and_cannot_be_made_is_an_error(
    recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = train("consensus", str(recording), "--out", "mine", "--report", "plots")
    assert done.exit_code != 0
    assert "a report needs matplotlib" in str(done.exception)


@pytest.mark.slow
def test_a_network_stops_by_the_later_fifth_and_goes_on_where_it_was_stopped(recording: Path) -> None:
    base = ("autoencoder", str(recording), "--fields", "tps,lag_ms", "--seed", "3", "--stride", "4")
    whole = trained(*base, "--out", "whole", "--epochs", "3")
    trained(*base, "--out", "part", "--epochs", "2", "--checkpoints", "runs")
    resumed = trained(*base, "--out", "part", "--epochs", "3", "--checkpoints", "runs", "--resume")
    assert (whole["epochs"], resumed["epochs"]) == (3, 3)
    for name in ("weights.safetensors", "model.onnx"):
        assert Path("whole", name).read_bytes() == Path("part", name).read_bytes()
    assert resumed["model_version"] == whole["model_version"]
    made = metadata(Path("whole"))
    assert made.training["validation_share"] == 0.2
    losses = [epoch["validation_loss"] for epoch in made.metrics["history"]]
    assert losses[whole["best_epoch"] - 1] == min(losses)
    assert (
        trained(*base[:-4], "--seed", "4", "--stride", "4", "--out", "other", "--epochs", "1")["model_version"]
        != (whole["model_version"])
    )


def test_training_prints_the_settings_that_stream_telemetry_of_ones_own(recording: Path) -> None:
    result = trained("consensus", str(recording), "--out", "models/postgres", "--no-report")
    Path("vigil.toml").write_text(result["settings"])
    stream, own = enabled_streams(load_configuration().settings)["postgres"]
    assert (stream.features, own.step_ms, own.detectors) == (("tps", "lag_ms", "noise"), 5_000, ("consensus",))
    assert load_detectors(stream, own.detectors, own.artefacts)[0].version == result["model_version"]


def data(fields: tuple[str, ...], step_ms: int, stream: Stream | None = None) -> TrainingData:
    empty = np.empty(0, dtype=np.int64)
    return TrainingData(fields, np.empty(0, dtype=np.str_), empty, np.empty((0, len(fields))), step_ms, stream, 0)


def test_settings_of_odd_names_slow_steps_and_coded_fields_are_valid() -> None:
    fields = ("disk.busy %", "dwcp_mode", "größe")
    text = stream_settings(data(fields, 3_600_000, CONSENSUS), "consensus", Path("models/My model!"))
    section = tomllib.loads(text)["streams"]["My-model"]
    assert section["fields"] == list(fields)
    assert section["codes"] == {"dwcp_mode": ["optimistic", "normal", "conservative"]}
    assert section["idle_s"] == 30 * 3_600, "an hourly node is not forgotten between two records"
    Path("vigil.toml").write_text(text)
    assert enabled_streams(load_configuration().settings)["My-model"][0].codes["dwcp_mode"]["conservative"] == 2


def test_a_known_stream_needs_no_settings_and_keeps_its_name() -> None:
    assert not is_own(data(CONSENSUS.features, 1_000, CONSENSUS))
    assert "[streams.own-node]" in stream_settings(data(("a",), 1_000), "consensus", Path("models/node"))
