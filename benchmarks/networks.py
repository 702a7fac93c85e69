"""The reference's network in every form it can be run in: ``python -m benchmarks.networks [--windows N] [--json]``.

Windows a second of CPU time on one core by torch (one window at a time, and batches), ONNX Runtime at several sizes of
a call, its 8-bit weights, and OpenVINO where it is installed; beside each how far its scores are from torch's, and the
rate of the shipped detector, whose tile of one shape gives a window the same bits in any batch.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from benchmarks.speed.scoring import recorded_windows
from detectors.artefacts import shipped
from detectors.autoencoder.detector import GRAPH, AutoencoderDetector
from detectors.autoencoder.export import export_graph
from detectors.autoencoder.network import Autoencoder
from features.batch import WindowBatch

Windows = NDArray[np.float32]
Scores = NDArray[np.float64]
Scorer = Callable[[Windows], Scores]

SIZES: Final = (1, 16, 64, 256)
REPEATS: Final = 3


def forms(network: Autoencoder, folder: Path) -> Iterator[tuple[str, int, Scorer]]:
    """Yield name, windows a call and scorer of every form of a network."""
    yield from ((f"torch, {size} at a time", size, _torch(network)) for size in (1, 256))
    for size in SIZES:
        graph = folder / f"{size}.onnx"
        graph.write_bytes(export_graph(network, size))
        yield f"ONNX Runtime, {size} at a time", size, _onnx(graph)
        if size == SIZES[-1]:
            yield f"ONNX Runtime, 8-bit weights, {size} at a time", size, _onnx(_quantised(graph))
            if find_spec("openvino") is not None:
                yield f"OpenVINO, {size} at a time", size, _openvino(graph, "f32")
                yield f"OpenVINO, 16-bit where it likes, {size} at a time", size, _openvino(graph, "bf16")


def measure(count: int) -> list[dict[str, Any]]:
    """Measure every form on recorded windows: name, windows a second of CPU time, largest relative error of a score."""
    torch.set_num_threads(1)
    detector = AutoencoderDetector.load(shipped("autoencoder"))
    batch = WindowBatch.stack(recorded_windows(count))
    scaled, _ = detector.reconstruct(batch)
    network = network_of(detector)
    exact = _torch(network)(scaled)
    found = [_entry("vigil's autoencoder, with transform", lambda _: detector.score(batch), scaled, exact, count)]
    with tempfile.TemporaryDirectory() as folder:
        for name, size, scorer in forms(network, Path(folder)):
            found.append(_entry(name, _by(scorer, size), scaled, exact, count if size > 1 else count // 8))
    return found


def network_of(detector: AutoencoderDetector) -> Autoencoder:
    """Rebuild the network of an artefact in torch, from its weights."""
    from safetensors.torch import load  # noqa: PLC0415 - the detector itself needs no torch

    network = Autoencoder(len(detector.fields)).eval()
    network.load_state_dict(load(detector.files["weights.safetensors"]))
    return network


def _entry(name: str, scorer: Scorer, scaled: Windows, exact: Scores, count: int) -> dict[str, Any]:
    windows = scaled[:count]
    scores, seconds = scorer(windows), []
    for _ in range(REPEATS):
        began = time.process_time()
        scorer(windows)
        seconds.append(time.process_time() - began)
    off = np.abs(scores[:count] - exact[:count]) / np.maximum(exact[:count], 1e-9)
    rate = len(scores) / statistics.median(seconds)
    return {"form": name, "windows_per_second": rate, "largest_relative_error": float(off.max())}


def _by(scorer: Scorer, size: int) -> Scorer:
    return lambda windows: np.concatenate(
        [scorer(windows[start : start + size]) for start in range(0, len(windows) - size + 1, size)]
    )


def _torch(network: Autoencoder) -> Scorer:
    def score(windows: Windows) -> Scores:
        with torch.inference_mode():
            return _errors(windows, network(torch.from_numpy(windows)).numpy())

    return score


def _onnx(graph: Path) -> Scorer:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda windows: _errors(windows, session.run(None, {name: windows})[0])


def _quantised(graph: Path) -> Path:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - slow to import

    small = graph.with_suffix(".int8.onnx")
    quantize_dynamic(graph, small, weight_type=QuantType.QInt8)
    onnx.checker.check_model(str(small))
    return small


def _openvino(graph: Path, precision: str) -> Scorer:
    import openvino  # noqa: PLC0415 - where it is installed

    core = openvino.Core()
    model = core.compile_model(
        core.read_model(graph), "CPU", {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": precision}
    )
    return lambda windows: _errors(windows, model(windows)[0])


def _errors(windows: Windows, told: Windows) -> Scores:
    errors: Scores = np.square(windows.astype(np.float64) - told).reshape(len(windows), -1).mean(axis=1)
    return errors


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=2_048)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args()
    found = measure(options.windows)
    if options.json:
        print(json.dumps({"graph": GRAPH, "results": found}))
        return
    for one in found:
        print(
            f"{one['form']:44} {one['windows_per_second']:9,.0f} windows/s  error {one['largest_relative_error']:.1e}"
        )


if __name__ == "__main__":
    main()
