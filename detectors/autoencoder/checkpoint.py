"""Checkpoints: everything a fit needs to go on, in one safetensors file, replaced as a whole after each epoch.

Tensors hold the weights, the best weights and Adam's moments; the file's own metadata holds the rest as JSON, with a
checksum over the tensors. Never a pickle.
"""

import hashlib
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from detectors.autoencoder.fitting import EpochReport, Fit, Recipe, start_fit

NAME: Final = "autoencoder.checkpoint.safetensors"
MAX_BYTES: Final = 256 * 1024 * 1024
VERSION: Final = 1
_PLATEAU: Final = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


class CheckpointError(Exception):
    """A checkpoint is missing, damaged, or of another training run."""


class _State(msgspec.Struct, frozen=True):
    """The part of a fit that is no tensor, and what the fit was of."""

    version: int
    data_sha256: str
    recipe: dict[str, Any]
    features: int
    window: int
    learning_rate: float
    plateau: dict[str, float]
    best_loss: float
    best_epoch: int
    history: list[EpochReport]
    tensors_sha256: str


def write_checkpoint(path: Path, fit: Fit, recipe: Recipe, data_sha256: str) -> None:
    """Write a fit after an epoch; the file that was there stays until the new one is whole. Raises ``OSError``."""
    tensors = {f"weights.{name}": value for name, value in fit.network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in fit.best.items()}
    moments = fit.optimiser.state_dict()["state"]
    tensors |= {f"adam.{at}.{name}": value for at, each in moments.items() for name, value in each.items()}
    plateau = fit.plateau.state_dict()
    state = _State(
        version=VERSION,
        data_sha256=data_sha256,
        recipe=asdict(recipe),
        features=fit.network.features,
        window=fit.network.window,
        learning_rate=float(fit.optimiser.param_groups[0]["lr"]),
        plateau={name: float(plateau[name]) for name in _PLATEAU},
        best_loss=fit.best_loss,
        best_epoch=fit.best_epoch,
        history=fit.history,
        tensors_sha256=_digest(tensors),
    )
    content = save({n: t.contiguous() for n, t in tensors.items()}, {"state": msgspec.json.encode(state).decode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".staged-", delete=False) as stream:
        staged = Path(stream.name)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    staged.replace(path)


def read_checkpoint(path: Path, recipe: Recipe, data_sha256: str, features: int, window: int) -> Fit:
    """Read a fit back, ready to go on with the next epoch.

    Raises:
        CheckpointError: the file is missing or damaged, or belongs to other data, another recipe or another shape.
    """
    content = _read(path)
    try:
        tensors = load(content)
        state = msgspec.json.decode(_header_state(content), type=_State)
    except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}): delete it and start again") from error
    if state.version != VERSION or state.tensors_sha256 != _digest(tensors):
        raise CheckpointError(f"checkpoint {path} is damaged or of another release: delete it and start again")
    _check_same_run(path, state, recipe, data_sha256, (features, window))
    fit = start_fit(features, window, recipe)
    try:
        fit.network.load_state_dict(_strip(tensors, "weights."))
        _restore_optimiser(fit, state, _strip(tensors, "adam."))
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"checkpoint {path} does not fit the network: delete it and start again") from error
    fit.best = _strip(tensors, "best.")
    fit.best_loss, fit.best_epoch, fit.history = state.best_loss, state.best_epoch, list(state.history)
    return fit


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"checkpoint {path} is larger than {MAX_BYTES} bytes: it is not one of ours")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read ({error}): start without resuming") from error


def _header_state(content: bytes) -> str:
    """Return the JSON kept in the file's metadata; ``safetensors.torch.load`` gives only tensors."""
    length = int.from_bytes(content[:8], "little")
    header = msgspec.json.decode(content[8 : 8 + length], type=dict[str, Any])
    state = header["__metadata__"]["state"]
    return str(state)


def _check_same_run(path: Path, state: _State, recipe: Recipe, data_sha256: str, shape: tuple[int, int]) -> None:
    def refuse(what: str, then: object, now: object) -> NoReturn:
        raise CheckpointError(
            f"checkpoint {path} is of another run: its {what} was {then}, now {now}; give the same, or start again"
        )

    if (state.features, state.window) != shape:
        refuse("features and window", (state.features, state.window), shape)
    for name, now in asdict(recipe).items():
        if state.recipe.get(name) != now:
            refuse(name, state.recipe.get(name), now)
    if state.data_sha256 != data_sha256:
        refuse("training data", state.data_sha256[:12], data_sha256[:12])


def _restore_optimiser(fit: Fit, state: _State, moments: dict[str, Tensor]) -> None:
    by_parameter: dict[int, dict[str, Tensor]] = {}
    for name, value in moments.items():
        at, moment = name.split(".", 1)
        by_parameter.setdefault(int(at), {})[moment] = value
    own = fit.optimiser.state_dict()
    own["state"] = by_parameter
    own["param_groups"][0]["lr"] = state.learning_rate
    fit.optimiser.load_state_dict(own)
    kept = {name: int(value) if name != "best" else value for name, value in state.plateau.items()}
    fit.plateau.load_state_dict({**fit.plateau.state_dict(), **kept})


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        flat = value.detach().to(torch.float64) if value.is_floating_point() else value.detach()
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(np.ascontiguousarray(flat.cpu().numpy()).tobytes())
    return digest.hexdigest()
