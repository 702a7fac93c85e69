"""The autoencoder scores without torch, alike in any batch, and says why."""

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.artefacts import ArtefactError, Metadata, ThresholdFit, write_artefact
from detectors.autoencoder.detector import GRAPH, AutoencoderDetector
from detectors.autoencoder.export import export_graph
from detectors.autoencoder.network import Autoencoder
from detectors.reference import FIELDS, anomalous_rows, normal_windows
from features.batch import WindowBatch
from features.scaling import RobustScaler

TILE = 16
NORMAL = normal_windows(np.random.default_rng(0), 60)


def lively_network(features: int = 12, window: int = 30) -> Autoencoder:
    """An untrained network whose every part has an effect: fresh batch statistics would be the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Autoencoder(features, window)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.1, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return network.eval()


NETWORK = lively_network()
GRAPH_BYTES = export_graph(NETWORK, TILE)
SCALER = RobustScaler.fit(NORMAL.reshape(-1, 12))


def metadata(threshold: float = 1.0) -> Metadata:
    low, high = NORMAL.min(axis=(0, 1)), NORMAL.max(axis=(0, 1))
    return Metadata(
        detector="autoencoder",
        fields=FIELDS,
        window=30,
        threshold=ThresholdFit(threshold, "for this test"),
        scaler=SCALER.to_dict(),
        parameters={"tile": TILE, "band": [1.0] * 12, "seen_low": low.tolist(), "seen_high": high.tolist()},
    )


DETECTOR = AutoencoderDetector(metadata(), {GRAPH: GRAPH_BYTES})


@pytest.fixture
def detector() -> AutoencoderDetector:
    return DETECTOR


def expected_scores(windows: NDArray[np.float32]) -> NDArray[np.float64]:
    scaled = SCALER.transform(windows.reshape(-1, 12)).astype(np.float32).reshape(windows.shape)
    with torch.inference_mode():
        reconstruction = NETWORK(torch.from_numpy(scaled)).numpy()
    errors = np.square(scaled.astype(np.float64) - reconstruction)
    return np.asarray(errors.mean(axis=(1, 2)), dtype=np.float64)


def test_the_graph_gives_what_torch_gives(detector: AutoencoderDetector) -> None:
    scaled, reconstruction = detector.reconstruct(WindowBatch.stack(NORMAL))
    with torch.inference_mode():
        in_torch = NETWORK(torch.from_numpy(scaled)).numpy()
    assert np.abs(in_torch).max() > 0.5
    np.testing.assert_allclose(reconstruction, in_torch, rtol=0, atol=1e-5)
    np.testing.assert_allclose(detector.score(WindowBatch.stack(NORMAL)), expected_scores(NORMAL), rtol=1e-5)


def test_the_graph_is_the_same_bytes_each_time_and_small() -> None:
    assert export_graph(NETWORK, TILE) == GRAPH_BYTES
    assert len(GRAPH_BYTES) < 2_850_000


@pytest.mark.parametrize(("features", "window"), [(1, 30), (3, 5), (38, 30)])
def test_the_graph_gives_what_torch_gives_for_other_telemetry(features: int, window: int) -> None:
    network = lively_network(features, window)
    values = np.random.default_rng(1).normal(size=(20, window, features)).astype(np.float32)
    fields = tuple(f"field{i}" for i in range(features))
    scaler = RobustScaler.fit(values.reshape(-1, features))
    described = Metadata(
        detector="autoencoder",
        fields=fields,
        window=window,
        threshold=ThresholdFit(1.0, "for this test"),
        scaler=scaler.to_dict(),
        parameters={name: [0.0] * features for name in ("band", "seen_low", "seen_high")} | {"tile": 7},
    )
    detector = AutoencoderDetector(described, {GRAPH: export_graph(network, 7)})
    scaled, reconstruction = detector.reconstruct(WindowBatch.stack(values))
    with torch.inference_mode():
        np.testing.assert_allclose(reconstruction, network(torch.from_numpy(scaled)).numpy(), rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(index=st.lists(st.integers(0, 59), min_size=1, max_size=50).map(np.array))
def test_a_windows_score_is_the_same_to_the_bit_at_any_place_in_any_batch(index: NDArray[np.int64]) -> None:
    whole = DETECTOR.score(WindowBatch.stack(NORMAL))
    np.testing.assert_array_equal(DETECTOR.score(WindowBatch.stack(NORMAL[index])), whole[index])
    np.testing.assert_array_equal(DETECTOR.score(WindowBatch.stack(NORMAL).take(index)), whole[index])


def test_a_large_batch_is_scored_in_parts_with_the_same_result(
    detector: AutoencoderDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = WindowBatch.stack(NORMAL)
    whole, why = detector.score(windows), detector.contributions(windows)
    monkeypatch.setattr("detectors.autoencoder.detector._CHUNK", 7)
    np.testing.assert_array_equal(detector.score(windows), whole)
    assert detector.contributions(windows) == why


def test_no_windows_have_no_scores(detector: AutoencoderDetector) -> None:
    empty = WindowBatch.empty(30, 12)
    assert detector.score(empty).shape == (0,)
    assert detector.score(empty).dtype == np.float64
    assert detector.contributions(empty) == []


def test_the_greatest_values_that_can_arrive_have_a_finite_score(detector: AutoencoderDetector) -> None:
    windows = np.stack([np.full((30, 12), value, dtype=np.float32) for value in (0, 1e15, -1e15)])
    scores = detector.score(WindowBatch.stack(windows))
    assert np.isfinite(scores).all()
    assert scores[1] > 1e9
    for row in detector.contributions(WindowBatch.stack(windows)):
        assert np.isfinite([[each.share, each.expected_low or 0.0, each.expected_high or 0.0] for each in row]).all()


def test_scoring_changes_neither_the_windows_nor_the_detector(detector: AutoencoderDetector) -> None:
    windows = WindowBatch.stack(NORMAL)
    before = windows.rows.copy()
    first = detector.score(windows)
    detector.contributions(windows)
    np.testing.assert_array_equal(windows.rows, before)
    np.testing.assert_array_equal(detector.score(windows), first)


def test_windows_of_another_shape_are_refused(detector: AutoencoderDetector) -> None:
    with pytest.raises(ValueError, match=r"windows of \(30, 11\).*takes \(30, 12\)"):
        detector.score(WindowBatch.stack(NORMAL[:, :, :11]))
    with pytest.raises(ValueError, match=r"windows of \(29, 12\)"):
        detector.score(WindowBatch.stack(NORMAL[:, :29]))


def test_contributions_name_the_field_that_went_wrong_with_its_value(detector: AutoencoderDetector) -> None:
    windows = NORMAL[:20].copy()
    windows[:, 17, FIELDS.index("latency_p99")] = 9_000.0
    for row in detector.contributions(WindowBatch.stack(windows)):
        first = row[0]
        assert first.feature == "latency_p99"
        assert first.share > 0.9
        assert first.value == 9_000.0
        assert first.expected_low is not None
        assert first.expected_high is not None
        assert 0 <= first.expected_low <= first.expected_high <= NORMAL[..., 5].max()


def test_shares_fall_and_sum_to_the_errors_part_and_never_above_one(detector: AutoencoderDetector) -> None:
    windows = NORMAL.copy()
    windows[:, -1] = anomalous_rows(np.random.default_rng(2), np.arange(60) % 4)
    scaled, reconstruction = detector.reconstruct(WindowBatch.stack(windows))
    errors = np.square(scaled.astype(np.float64) - reconstruction).sum(axis=1)
    for row, by_feature in zip(detector.contributions(WindowBatch.stack(windows)), errors, strict=True):
        shares = [each.share for each in row]
        assert len(shares) == 5
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1
        np.testing.assert_allclose(shares, np.sort(by_feature)[::-1][:5] / by_feature.sum(), rtol=1e-9)


def test_a_detector_reads_back_with_the_same_scores_and_version(tmp_path: Path) -> None:
    detector = AutoencoderDetector(metadata(0.75), {GRAPH: GRAPH_BYTES})
    detector.save(tmp_path)
    loaded = AutoencoderDetector.load(tmp_path)
    assert loaded.version == detector.version
    assert loaded.version.startswith("autoencoder-")
    assert (loaded.threshold, loaded.window, loaded.fields, loaded.state_width) == (0.75, 30, FIELDS, 0)
    windows = WindowBatch.stack(NORMAL)
    np.testing.assert_array_equal(loaded.score(windows), detector.score(windows))


def test_loading_and_scoring_never_import_torch(tmp_path: Path) -> None:
    AutoencoderDetector(metadata(), {GRAPH: GRAPH_BYTES}).save(tmp_path)
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from detectors.autoencoder.detector import AutoencoderDetector\n"
        "from features.batch import WindowBatch\n"
        "detector = AutoencoderDetector.load(Path(sys.argv[1]))\n"
        "detector.score(WindowBatch.stack(np.zeros((3, 30, 12), np.float32)))\n"
        "print(sorted({'torch', 'onnx', 'safetensors', 'sklearn', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def changed(**changes: object) -> Metadata:
    return msgspec.structs.replace(metadata(), **changes)


def parameters(**changes: object) -> Metadata:
    return changed(parameters={**metadata().parameters, **changes})


@pytest.mark.parametrize(
    ("described", "files", "reason"),
    [
        (metadata(), {}, "model.onnx is not among its files"),
        (metadata(), {GRAPH: b""}, "model.onnx does not load in ONNX Runtime"),
        (metadata(), {GRAPH: GRAPH_BYTES[:-1000]}, "model.onnx does not load in ONNX Runtime"),
        (metadata(), {GRAPH: b"\x80\x04}."}, "model.onnx does not load in ONNX Runtime"),
        (changed(window=29), {GRAPH: GRAPH_BYTES}, r"model.onnx takes \[\(16, 30, 12\)\], .* says \[\(16, 29, 12\)\]"),
        (parameters(tile=8), {GRAPH: GRAPH_BYTES}, r"model.onnx takes .* says \[\(8, 30, 12\)\]"),
        (parameters(tile=0), {GRAPH: GRAPH_BYTES}, "tile 0 is not within"),
        (parameters(tile="big"), {GRAPH: GRAPH_BYTES}, "parameters or scaler are not valid"),
        (parameters(band=[1.0] * 11), {GRAPH: GRAPH_BYTES}, r"of \[11, 12\] features, fields of 12"),
        (changed(parameters={"tile": 16}), {GRAPH: GRAPH_BYTES}, "parameters or scaler are not valid .*band"),
        (changed(scaler=None), {GRAPH: GRAPH_BYTES}, "parameters or scaler are not valid"),
        (changed(fields=FIELDS[:11]), {GRAPH: GRAPH_BYTES}, r"of \[12\] features, fields of 11"),
    ],
)
def test_an_artefact_whose_parts_do_not_belong_together_is_refused(
    tmp_path: Path, described: Metadata, files: dict[str, bytes], reason: str
) -> None:
    write_artefact(tmp_path, described, files)
    with pytest.raises(ArtefactError, match=reason):
        AutoencoderDetector.load(tmp_path)
