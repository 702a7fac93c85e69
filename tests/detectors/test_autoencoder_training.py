"""Training: the reference's network, split by time, the same for a seed, and able to go on where it stopped."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from detectors.autoencoder import evaluate, train_shipped
from detectors.autoencoder.checkpoint import NAME as CHECKPOINT_NAME
from detectors.autoencoder.checkpoint import CheckpointError
from detectors.autoencoder.data import TrainingDataError, TrainingWindows, windows_from_rows, windows_in_sequence
from detectors.autoencoder.detector import GRAPH, WEIGHTS, AutoencoderDetector
from detectors.autoencoder.fitting import DivergedError, EpochReport, Recipe
from detectors.autoencoder.network import Autoencoder, count
from detectors.autoencoder.training import train_autoencoder
from features.batch import WindowBatch

FIELDS = ("wave", "echo", "constant")
RECIPE = Recipe(seed=3, batch_size=32)


def waves(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Windows (count, 8, 3) of a wave, its echo with noise, and a column that never moves."""
    rng = np.random.default_rng(seed)
    steps = np.arange(count * 8).reshape(count, 8)
    wave = 10 * np.sin(steps / 5)
    return np.stack([wave, 2 * wave + rng.normal(0, 0.5, wave.shape), np.full(wave.shape, 4.0)], axis=-1).astype("f4")


WINDOWS = windows_in_sequence(waves(320), source="waves")


def test_the_network_has_the_references_parameters_part_by_part() -> None:
    network = Autoencoder()
    assert count(network) == 697_997
    parts = {name: count(part) for name, part in network.named_children()}
    assert parts == {
        "encode_wide": 145_408 + 60,
        "encode_narrow": 164_864 + 60,
        "attention": 16_512 + 129,
        "squeeze": 2_064,
        "expand": 2_176,
        "decode_narrow": 99_328 + 60,
        "decode_wide": 264_192 + 60,
        "output": 3_084,
    }
    assert [part.p for part in network.modules() if isinstance(part, nn.Dropout)] == [0.2] * 4
    assert [part.num_features for part in network.modules() if isinstance(part, nn.BatchNorm1d)] == [30] * 4


def test_attention_weighs_steps_that_sum_to_one() -> None:
    steps = torch.ones(4, 30, 128) * torch.arange(4.0)[:, None, None]
    with torch.inference_mode():
        pooled = Autoencoder().attention(steps)
    torch.testing.assert_close(pooled, steps[:, 0])


def test_training_learns_to_reconstruct_and_reports_each_epoch() -> None:
    reports: list[EpochReport] = []
    trained = train_autoencoder(WINDOWS, FIELDS, recipe=RECIPE, max_epochs=8, on_epoch=reports.append)
    assert tuple(reports) == trained.history
    assert [report.epoch for report in reports] == list(range(1, 9))
    assert reports[-1].validation_loss < 0.5 * reports[0].validation_loss
    assert reports[trained.best_epoch - 1].improved
    detector = trained.detector
    broken = waves(50, seed=9)
    broken[:, 2:, 1] *= -1  # the echo contradicts the wave, though each value alone is usual
    assert np.mean(detector.score(WindowBatch.stack(broken)) > detector.threshold) > 0.8


def test_the_same_seed_gives_the_same_graph_to_the_bit_and_another_seed_another() -> None:
    before = torch.random.get_rng_state()
    torch.manual_seed(1)
    first = train_autoencoder(WINDOWS, FIELDS, recipe=RECIPE, max_epochs=2)
    torch.manual_seed(2)
    again = train_autoencoder(WINDOWS, FIELDS, recipe=RECIPE, max_epochs=2)
    other = train_autoencoder(WINDOWS, FIELDS, recipe=replace(RECIPE, seed=4), max_epochs=2)
    torch.random.set_rng_state(before)
    assert first.detector.files == again.detector.files
    assert first.detector.threshold == again.detector.threshold
    assert first.detector.files[GRAPH] != other.detector.files[GRAPH]


def test_training_leaves_torchs_global_state_alone() -> None:
    torch.set_num_threads(2)
    before = torch.random.get_rng_state()
    train_autoencoder(WINDOWS, FIELDS, recipe=RECIPE, max_epochs=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == 2


def test_a_run_that_goes_on_from_its_checkpoint_ends_as_one_that_was_not_interrupted(tmp_path: Path) -> None:
    recipe = replace(RECIPE, plateau_patience=0, min_improvement=0.2)  # plateaus, so that their state matters too
    whole = train_autoencoder(WINDOWS, FIELDS, recipe=recipe, max_epochs=5)

    def interrupt(report: EpochReport) -> None:
        if report.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(WINDOWS, FIELDS, recipe=recipe, max_epochs=5, checkpoints=tmp_path, on_epoch=interrupt)
    reports: list[EpochReport] = []
    resumed = train_autoencoder(
        WINDOWS, FIELDS, recipe=recipe, max_epochs=5, checkpoints=tmp_path, resume=True, on_epoch=reports.append
    )
    assert [report.epoch for report in reports] == [4, 5]
    assert len({report.learning_rate for report in resumed.history}) > 1
    assert [replace(each, seconds=0) for each in resumed.history] == [
        replace(each, seconds=0) for each in whole.history
    ]
    assert resumed.detector.files == whole.detector.files
    assert resumed.detector.threshold == whole.detector.threshold
    assert [each.name for each in tmp_path.iterdir()] == [CHECKPOINT_NAME]


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best_weights(tmp_path: Path) -> None:
    # Only an epoch that halves the loss counts, so the run ends two epochs after the last that did.
    recipe = replace(RECIPE, patience=2, min_improvement=0.5)
    trained = train_autoencoder(WINDOWS, FIELDS, recipe=recipe, max_epochs=30, checkpoints=tmp_path)
    assert len(trained.history) == trained.best_epoch + 2 < 30
    best = train_autoencoder(WINDOWS, FIELDS, recipe=recipe, max_epochs=trained.best_epoch)
    assert best.detector.files == trained.detector.files


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("checkpoint")
    train_autoencoder(WINDOWS, FIELDS, recipe=RECIPE, max_epochs=1, checkpoints=place)
    return (place / CHECKPOINT_NAME).read_bytes()


def resume(place: Path, content: bytes, windows: TrainingWindows = WINDOWS, recipe: Recipe = RECIPE) -> None:
    (place / CHECKPOINT_NAME).write_bytes(content)
    train_autoencoder(windows, FIELDS, recipe=recipe, max_epochs=2, checkpoints=place, resume=True)


def test_a_checkpoint_of_another_run_is_refused_with_the_difference(tmp_path: Path, checkpoint: bytes) -> None:
    with pytest.raises(CheckpointError, match="its seed was 3, now 4; give the same, or start again"):
        resume(tmp_path, checkpoint, recipe=replace(RECIPE, seed=4))
    with pytest.raises(CheckpointError, match="its training data was"):
        resume(tmp_path, checkpoint, windows=windows_in_sequence(waves(320, seed=1)))
    with pytest.raises(CheckpointError, match=r"its features and window was \(3, 8\), now \(3, 4\)"):
        resume(tmp_path, checkpoint, windows=windows_in_sequence(waves(320)[:, :4]))


@pytest.mark.parametrize("at", [3, 100, 5_000, 1_000_000, -1])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, checkpoint: bytes, at: int) -> None:
    flipped = bytearray(checkpoint)
    flipped[at] ^= 0x08
    with pytest.raises(CheckpointError, match=r"damaged|of another run"):
        resume(tmp_path, bytes(flipped))


@pytest.mark.parametrize("size", [0, 7, 8, 1_000, 1_000_000])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, checkpoint: bytes, size: int) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        resume(tmp_path, checkpoint[:size])


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        train_autoencoder(WINDOWS, FIELDS, checkpoints=tmp_path, resume=True)
    with pytest.raises(TrainingDataError, match="give checkpoints"):
        train_autoencoder(WINDOWS, FIELDS, resume=True)


def test_the_threshold_is_the_99th_percentile_of_validation_scores_and_says_so(tmp_path: Path) -> None:
    trained = train_autoencoder(WINDOWS, FIELDS, recipe=RECIPE, max_epochs=2)
    _, validation = WINDOWS.split(0.2)
    scores = trained.detector.score(WindowBatch.stack(validation.values))
    written = trained.save(tmp_path)
    assert written.threshold.value == np.quantile(scores, 0.99)
    assert written.threshold.method == "99th percentile of the scores of normal validation windows"
    assert written.threshold.fit["windows"] == len(validation) == 64
    assert written.metrics["validation_score_mean"] == pytest.approx(written.metrics["validation_loss"], rel=1e-4)


def test_the_metadata_tells_how_the_model_was_made(tmp_path: Path) -> None:
    written = train_autoencoder(WINDOWS, FIELDS, recipe=RECIPE, max_epochs=2).save(tmp_path)
    assert written.training["source"] == "waves"
    assert written.training["data_sha256"] == "".join(
        c for c in written.training["data_sha256"] if c in "0123456789abcdef"
    )
    assert (written.training["training_windows"], written.training["validation_windows"]) == (256, 64)
    assert written.training["recipe"]["seed"] == 3
    assert written.versions["torch"] == torch.__version__
    assert [epoch["epoch"] for epoch in written.metrics["history"]] == [1, 2]
    assert set(written.files) == {GRAPH, WEIGHTS}
    loaded = AutoencoderDetector.load(tmp_path)
    assert loaded.metadata == written


def test_windows_are_split_in_time_and_share_no_row() -> None:
    values = waves(500)
    starts = np.arange(500, dtype=np.int64) * 2_000  # stride 2: a window overlaps the three before it
    order = np.random.default_rng(0).permutation(500)
    windows = TrainingWindows(values[order], starts[order], starts[order] + 7_000)
    training, validation = windows.split(0.2)
    assert training.end_ms.max() < validation.start_ms.min()
    assert len(validation) == pytest.approx(100, abs=4)
    assert len(training) == 400


def test_too_little_or_unfit_data_is_refused_with_the_fix() -> None:
    with pytest.raises(TrainingDataError, match=r"80 windows to train on and 20 to validate.*longer recording"):
        train_autoencoder(windows_in_sequence(waves(100)), FIELDS)
    with pytest.raises(TrainingDataError, match="no windows"):
        train_autoencoder(windows_in_sequence(waves(0)), FIELDS)
    with pytest.raises(TrainingDataError, match="windows of 3 features, 2 names"):
        train_autoencoder(WINDOWS, FIELDS[:2])
    with pytest.raises(TrainingDataError, match="max_epochs 0 must be at least 1"):
        train_autoencoder(WINDOWS, FIELDS, max_epochs=0)
    spoilt = waves(320)
    spoilt[7, 3, 1] = np.nan
    with pytest.raises(TrainingDataError, match="feature 1 holds values that are not finite"):
        windows_in_sequence(spoilt)
    with pytest.raises(TrainingDataError, match=r"windows of shape \(5, 3\)"):
        TrainingWindows(np.zeros((5, 3), dtype=np.float32), np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64))
    with pytest.raises(TrainingDataError, match="2 windows, 1 starts and 2 ends"):
        TrainingWindows(waves(2), np.zeros(1, dtype=np.int64), np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("batch_size", 0), ("learning_rate", 0.0), ("patience", 0), ("threshold_quantile", 1.0)],
)
def test_a_recipe_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} {value} is out of range"):
        Recipe(**{name: value})  # type: ignore[arg-type]  # the names come from the table above


def test_a_loss_that_is_no_number_stops_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.autoencoder.fitting._mean_error", lambda *_: float("nan"))
    with pytest.raises(DivergedError, match=r"epoch 1: lower learning_rate \(0\.001\)"):
        train_autoencoder(WINDOWS, FIELDS, recipe=RECIPE, max_epochs=3)


def recording(nodes: int, steps: int) -> tuple[list[str], NDArray[np.int64], NDArray[np.float64]]:
    node_ids = [f"node-{node}" for _ in range(steps) for node in range(nodes)]
    ts_ms = 1_700_000_000_000 + np.repeat(np.arange(steps) * 1_000, nodes) + np.tile(np.arange(nodes) * 7, steps)
    numbers = np.repeat(np.arange(steps), nodes) + 1_000.0 * np.tile(np.arange(nodes), steps)
    return node_ids, ts_ms.astype(np.int64), numbers[:, None]


def test_windows_are_cut_per_node_in_event_time_order_at_the_stride() -> None:
    node_ids, ts_ms, rows = recording(nodes=3, steps=50)
    order = np.random.default_rng(0).permutation(len(ts_ms))
    windows = windows_from_rows([node_ids[i] for i in order], ts_ms[order], rows[order], window=10, stride=4)
    expected = sorted((node * 1_000.0 + end - 9, node * 1_000.0 + end) for node in range(3) for end in range(9, 50, 4))
    assert sorted(zip(windows.values[:, 0, 0].tolist(), windows.values[:, -1, 0].tolist(), strict=True)) == expected
    np.testing.assert_array_equal(np.diff(windows.values[..., 0], axis=1), 1)
    np.testing.assert_array_equal(windows.end_ms - windows.start_ms, 9_000)


def test_the_stride_counts_on_from_one_append_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    node_ids, ts_ms, rows = recording(nodes=3, steps=50)
    whole = windows_from_rows(node_ids, ts_ms, rows, window=10, stride=4)
    monkeypatch.setattr("detectors.autoencoder.data._APPEND_ROWS", 7)
    parts = windows_from_rows(node_ids, ts_ms, rows, window=10, stride=4)
    np.testing.assert_array_equal(parts.values, whole.values)
    np.testing.assert_array_equal(parts.start_ms, whole.start_ms)


def test_a_long_gap_starts_the_window_again_as_in_a_worker() -> None:
    node_ids, ts_ms, rows = recording(nodes=1, steps=60)
    kept = (np.arange(60) < 30) | (np.arange(60) >= 45)
    windows = windows_from_rows(
        [n for n, k in zip(node_ids, kept, strict=True) if k], ts_ms[kept], rows[kept], window=10, stride=1
    )
    assert len(windows) == 21 + 6


def test_a_recording_whose_columns_differ_in_length_is_refused() -> None:
    node_ids, ts_ms, rows = recording(nodes=1, steps=60)
    with pytest.raises(TrainingDataError, match="59 node ids, 60 times, 60 rows"):
        windows_from_rows(node_ids[1:], ts_ms, rows)
    with pytest.raises(TrainingDataError, match="stride 0 must be at least 1"):
        windows_from_rows(node_ids, ts_ms, rows, stride=0)


def test_one_command_makes_an_artefact_and_one_measures_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "model"
    train = ["--directory", str(directory), "--checkpoints", str(tmp_path / "runs"), "--windows", "300"]
    train += ["--test-windows", "200", "--max-epochs"]
    train_shipped.main([*train, "1", "--resume"])
    assert "epoch  1/1" in capsys.readouterr().out
    train_shipped.main([*train, "2", "--resume"])
    printed = capsys.readouterr().out
    assert "epoch  2/2" in printed
    assert "epoch  1/" not in printed
    noted = AutoencoderDetector.load(directory).metadata.metrics["reference_generator"]
    measure = ["--directory", str(directory), "--windows", "200"]
    evaluate.main([*measure, "--json"])
    document = json.loads(capsys.readouterr().out)
    network, distance, rule = document["results"]
    assert network["model"] == AutoencoderDetector.load(directory).version
    assert network["detection_accuracy"] == (network["precision"] + network["recall"]) / 2
    assert network["detection_accuracy"] > 0.9
    assert {**noted, "model": network["model"]} == network
    assert rule["detection_accuracy"] == 1.0
    assert 0.9 < distance["detection_accuracy"] < 1.0
    evaluate.main(measure)
    assert "largest p99/p50" in capsys.readouterr().out
