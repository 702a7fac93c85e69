"""The model as bytes: a safetensors file of float64 arrays, checked for shape and sense when it is read."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from detectors.artefacts import ArtefactError
from detectors.consensus.baseline import BaselineRule
from detectors.consensus.model import VIEW_OF, ConsensusModel, NodeModel
from detectors.consensus.parts import GROUPS, Calibration, Forecast, Metric, Nearest

Arrays = Mapping[str, NDArray[Any]]
FILE: Final = "model.safetensors"
METRIC: Final = tuple(field.name for field in fields(Metric))
RULE: Final = tuple(field.name for field in fields(BaselineRule) if field.name != "scale")


def encode_model(model: ConsensusModel) -> bytes:
    """Return the model as bytes; every number comes back to the bit."""
    arrays: dict[str, NDArray[Any]] = {
        "columns": model.columns,
        "log": model.log,
        "scale": model.rule.scale,
        "weights": model.weights,
        "rule": np.array([float(getattr(model.rule, name)) for name in RULE]),
    }
    for number, each in enumerate(model.models):
        arrays |= {f"{number}.{name}": array for name, array in _node_arrays(each).items()}
    if model.known:
        arrays["known.model"] = np.array([number for number, _ in model.known.values()], dtype=np.int64)
        arrays["known.location"] = np.stack([location for _, location in model.known.values()])
        names = msgspec.json.encode(list(model.known))
        arrays["known.names"] = np.frombuffer(names, dtype=np.uint8)
    return bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def decode_model(directory: Path, encoded: bytes) -> ConsensusModel:
    """Read a model back. Raises ``ArtefactError`` when arrays are missing, misshapen or not finite."""
    try:
        arrays = load(encoded)
        return _decoded(arrays)
    except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError, IndexError, TypeError) as error:
        raise ArtefactError(directory, f"{FILE} is not a consensus model ({error!r})", "train it again") from error


def _node_arrays(model: NodeModel) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "nearest.places": model.nearest.places,
        "nearest_long.places": model.nearest_long.places,
        "forecast.weights": model.forecast.weights,
        "calibrations": np.array([[model.calibrations[n].median, model.calibrations[n].high] for n in VIEW_OF]),
    }
    metrics = {"alone": model.alone} | {name: getattr(model, name).metric for name in VIEW_OF}
    for name, metric in metrics.items():
        arrays |= {f"{name}.{each}": getattr(metric, each) for each in METRIC}
    return arrays


def _decoded(arrays: Arrays) -> ConsensusModel:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            raise ValueError(f"{name} holds values that are not finite")
    columns, scale = arrays["columns"], arrays["scale"]
    _shaped(arrays, "log", columns.shape)
    _shaped(arrays, "scale", columns.shape)
    if np.any(scale <= 0.0):
        raise ValueError("scale must be positive")
    values = dict(zip(RULE, _shaped(arrays, "rule", (len(RULE),)).tolist(), strict=True))
    whole = {name: int(values[name]) for name in ("memory", "settle", "prior_weight", "relearn")}
    rule = BaselineRule(scale, clip=values["clip"], floor=values["floor"], far=values["far"], **whole)
    count = 1 + max((int(name.partition(".")[0]) for name in arrays if name.endswith(".calibrations")), default=-1)
    models = tuple(
        _node_model({k.partition(".")[2]: v for k, v in arrays.items() if k.startswith(f"{number}.")}, len(columns))
        for number in range(count)
    )
    if not models:
        raise ValueError("it holds no model")
    return ConsensusModel(
        columns.astype(np.int64),
        arrays["log"].astype(np.bool_),
        rule,
        models,
        _known(arrays, count, len(columns)),
        _weights(arrays),
    )


def _node_model(arrays: Arrays, width: int) -> NodeModel:
    calibrations = _shaped(arrays, "calibrations", (len(VIEW_OF), 2))
    if np.any(calibrations[:, 1] <= calibrations[:, 0]):
        raise ValueError("calibrations must rise")
    lags = arrays["forecast.weights"].shape[0]
    _shaped(arrays, "forecast.weights", (lags, width))
    return NodeModel(
        _metric(arrays, "alone", width),
        Nearest(_metric(arrays, "nearest", 3 * width), _places(arrays, "nearest.places", 3 * width)),
        Nearest(_metric(arrays, "nearest_long", 3 * width), _places(arrays, "nearest_long.places", 3 * width)),
        Forecast(arrays["forecast.weights"], _metric(arrays, "forecast", width)),
        {name: Calibration(float(low), float(high)) for name, (low, high) in zip(VIEW_OF, calibrations, strict=True)},
    )


def _weights(arrays: Arrays) -> NDArray[np.float64]:
    weights = _shaped(arrays, "weights", (len(VIEW_OF),))
    if np.any(weights < 0.0) or not np.isclose(weights.sum(), 1.0):
        raise ValueError("weights must not be negative, and sum to 1")
    return weights


def _metric(arrays: Arrays, part: str, size: int) -> Metric:
    centre, spread = (_shaped(arrays, f"{part}.{name}", (size,)) for name in ("centre", "spread"))
    if np.any(spread <= 0.0):
        raise ValueError(f"{part}.spread must be positive")
    return Metric(centre, spread, _shaped(arrays, f"{part}.whitening", (size, size)))


def _places(arrays: Arrays, name: str, size: int) -> NDArray[np.float64]:
    places = _shaped(arrays, name, (len(arrays[name]), size))
    if len(places) < 1 or len(places) % GROUPS:
        raise ValueError(f"{name} has {len(places)} rows, not a multiple of {GROUPS}")
    return places


def _known(arrays: Arrays, models: int, width: int) -> dict[str, tuple[int, NDArray[np.float64]]]:
    if "known.names" not in arrays:
        return {}
    names = msgspec.json.decode(arrays["known.names"].tobytes(), type=list[str])
    numbers = _shaped(arrays, "known.model", (len(names),))
    locations = _shaped(arrays, "known.location", (len(names), width))
    if np.any(numbers < 0) or np.any(numbers >= models):
        raise ValueError("known.model names a model that is not there")
    return {name: (int(number), place) for name, number, place in zip(names, numbers, locations, strict=True)}


def _shaped(arrays: Arrays, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if arrays[name].shape != shape:
        raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}")
    return arrays[name]
