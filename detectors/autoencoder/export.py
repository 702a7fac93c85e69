"""Write the trained network as an ONNX graph, node by node.

The graph is written by hand rather than traced: it stays the same whatever the exporter of the day does, needs no more
than the ``onnx`` package, keeps the steps on the first axis throughout (as the LSTM operator wants them), and folds
each batch normalisation into one multiply and one add. Dropout has no part in inference. The batch is one tile.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from detectors.autoencoder.network import Attention, Autoencoder, Block

OPSET: Final = 17
IR_VERSION: Final = 8
INPUT: Final = "windows"
OUTPUT: Final = "reconstruction"
_DIRECTIONS: Final = ("", "_reverse")


class _Graph:
    """Nodes and weights in the order they are added; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: NDArray[Any]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output


def export_graph(network: Autoencoder, tile: int) -> bytes:
    """Return the ONNX model, mapping float32 (tile, window, features) scaled to its reconstruction, same shape.

    Args:
        network: the trained network; its running batch statistics are used whatever its mode.
        tile: the fixed number of windows in a call.
    """
    graph = _Graph()
    window, features = network.window, network.features
    steps = graph.node("Transpose", [INPUT], "steps", perm=[1, 0, 2])
    wide = _add_block(graph, "encode_wide", network.encode_wide, steps, tile)
    narrow = _add_block(graph, "encode_narrow", network.encode_narrow, wide, tile)
    pooled = _add_attention(graph, network.attention, narrow)
    latent = _add_linear(graph, "squeeze", network.squeeze, pooled)
    expanded = _add_linear(graph, "expand", network.expand, latent)
    first = graph.node("Unsqueeze", [expanded, graph.weight("first_axis", np.array([0], np.int64))], "one_step")
    shape = graph.weight("repeated_shape", np.array([window, tile, network.expand.out_features], np.int64))
    repeated = graph.node("Expand", [first, shape], "repeated")
    decoded = _add_block(graph, "decode_narrow", network.decode_narrow, repeated, tile)
    decoded = _add_block(graph, "decode_wide", network.decode_wide, decoded, tile)
    out = _add_linear(graph, "output", network.output, decoded)
    graph.node("Transpose", [out], OUTPUT, perm=[1, 0, 2])
    return _serialise(graph, (tile, window, features))


def _serialise(graph: _Graph, shape: tuple[int, int, int]) -> bytes:
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "autoencoder",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vigil",
    )
    onnx.checker.check_model(model, full_check=True)
    encoded: bytes = model.SerializeToString(deterministic=True)
    return encoded


def _add_block(graph: _Graph, name: str, block: Block, steps: str, tile: int) -> str:
    lstm = block.lstm
    hidden = lstm.hidden_size
    weights = [
        graph.weight(f"{name}.W", _stack(lstm, "weight_ih_l0")),
        graph.weight(f"{name}.R", _stack(lstm, "weight_hh_l0")),
        graph.weight(f"{name}.B", np.concatenate([_stack(lstm, "bias_ih_l0"), _stack(lstm, "bias_hh_l0")], axis=1)),
    ]
    raw = graph.node("LSTM", [steps, *weights], f"{name}.lstm", hidden_size=hidden, direction="bidirectional")
    beside = graph.node("Transpose", [raw], f"{name}.beside", perm=[0, 2, 1, 3])
    shape = graph.weight(f"{name}.shape", np.array([block.norm.num_features, tile, 2 * hidden], np.int64))
    joined = graph.node("Reshape", [beside, shape], f"{name}.joined")
    scale, shift = _fold(block.norm)
    scaled = graph.node("Mul", [joined, graph.weight(f"{name}.scale", scale)], f"{name}.scaled")
    return graph.node("Add", [scaled, graph.weight(f"{name}.shift", shift)], f"{name}.normed")


def _add_attention(graph: _Graph, attention: Attention, steps: str) -> str:
    projected = _add_linear(graph, "attention.project", attention.project, steps)
    bent = graph.node("Tanh", [projected], "attention.tanh")
    weighed = _add_linear(graph, "attention.weigh", attention.weigh, bent)
    weights = graph.node("Softmax", [weighed], "attention.weights", axis=0)
    weighted = graph.node("Mul", [steps, weights], "attention.weighted")
    axis = graph.weight("attention.axis", np.array([0], np.int64))
    return graph.node("ReduceSum", [weighted, axis], "attention.pooled", keepdims=0)


def _add_linear(graph: _Graph, name: str, linear: nn.Linear, rows: str) -> str:
    weight = graph.weight(f"{name}.weight", _numpy(linear.weight).T)
    product = graph.node("MatMul", [rows, weight], f"{name}.product")
    return graph.node("Add", [product, graph.weight(f"{name}.bias", _numpy(linear.bias))], f"{name}.sum")


def _stack(lstm: nn.LSTM, name: str) -> NDArray[np.float32]:
    """Stack both directions' parameter, its gates moved from torch's order (i, f, g, o) to ONNX's (i, o, f, c)."""
    directions = []
    for suffix in _DIRECTIONS:
        i, f, g, o = np.split(_numpy(getattr(lstm, name + suffix)), 4)
        directions.append(np.concatenate([i, o, f, g]))
    return np.stack(directions)


def _fold(norm: nn.BatchNorm1d) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the normalisation of each time position as a factor and a summand, float32 (window, 1, 1)."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("the batch normalisation keeps no running statistics: nothing to export")
    factor = _numpy(norm.weight).astype(np.float64) / np.sqrt(_numpy(variance).astype(np.float64) + norm.eps)
    summand = _numpy(norm.bias) - _numpy(mean) * factor
    return factor.astype(np.float32)[:, None, None], summand.astype(np.float32)[:, None, None]


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().cpu().numpy(), dtype=np.float32)
