"""The shipped autoencoder: whole, the reference's network, and as good as the reference claimed to be."""

import numpy as np
import pytest
import torch
from safetensors.torch import load

from detectors.artefacts import read_artefact, shipped
from detectors.autoencoder.detector import WEIGHTS, AutoencoderDetector
from detectors.autoencoder.evaluate import evaluate_reference
from detectors.autoencoder.network import Autoencoder, count
from detectors.catalogue import load_detectors
from detectors.reference import normal_windows
from features.batch import WindowBatch
from schemas.streams import CONSENSUS


@pytest.fixture(scope="module")
def detector() -> AutoencoderDetector:
    return AutoencoderDetector.load(shipped("autoencoder"))


def test_it_loads_by_name_for_the_consensus_stream(detector: AutoencoderDetector) -> None:
    (loaded,) = load_detectors(CONSENSUS, ["autoencoder"])
    assert loaded.version == detector.version
    assert loaded.window == 30


def test_its_weights_are_the_references_697_997_and_its_graph_computes_them(detector: AutoencoderDetector) -> None:
    network = Autoencoder()
    network.load_state_dict(load(read_artefact(shipped("autoencoder"), "autoencoder").file(WEIGHTS)))
    assert count(network) == detector.metadata.training["trainable_parameters"] == 697_997
    windows = normal_windows(np.random.default_rng(5), 40)
    scaled, reconstruction = detector.reconstruct(WindowBatch.stack(windows))
    with torch.inference_mode():
        in_torch = network.eval()(torch.from_numpy(scaled)).numpy()
    np.testing.assert_allclose(reconstruction, in_torch, rtol=0, atol=2e-5)


def test_its_detection_accuracy_is_what_its_metadata_says_and_above_the_references(
    detector: AutoencoderDetector,
) -> None:
    noted = detector.metadata.metrics["reference_generator"]
    assert noted["detection_accuracy"] >= 0.971
    measured = evaluate_reference(
        "autoencoder", lambda each: detector.score(WindowBatch.stack(each)), detector.threshold, windows=3_000, seed=1
    )
    assert measured.detection_accuracy == pytest.approx(noted["detection_accuracy"], abs=0.01)
    assert measured.false_positive_rate == pytest.approx(0.01, abs=0.008)
    assert measured.one_bad_step_at_1_percent > 0.71  # the reference's own figure
