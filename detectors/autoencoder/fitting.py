"""Fit the network: Adam, a learning rate that falls on plateaus, early stopping, and a place to go on from.

Each epoch's randomness is a function of the seed and the epoch's number alone. So a run that was interrupted and goes
on from its checkpoint ends with the same weights, to the bit, as one that was not.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.autoencoder.network import Autoencoder


class DivergedError(ArithmeticError):
    """The loss is no longer a number: the weights are of no use."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to fit; by default as the reference does (SPEC section 3).

    Attributes:
        seed: of initial weights, dropout and the order of windows.
        batch_size: windows in a gradient step.
        learning_rate: of Adam, at the start.
        plateau_factor: the learning rate's factor on a plateau.
        plateau_patience: epochs without improvement that make a plateau.
        patience: epochs without improvement after which fitting stops.
        min_improvement: relative fall of the validation loss that counts as an improvement.
        threshold_quantile: the threshold is this quantile of the validation windows' scores.
    """

    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 1e-3
    plateau_factor: float = 0.5
    plateau_patience: int = 2
    patience: int = 6
    min_improvement: float = 1e-3
    threshold_quantile: float = 0.99

    def __post_init__(self) -> None:
        """Raise ``ValueError`` naming the setting that is out of range."""
        bounds = {
            "seed": self.seed >= 0,
            "batch_size": self.batch_size >= 1,
            "learning_rate": 0 < self.learning_rate < 1,
            "plateau_factor": 0 < self.plateau_factor < 1,
            "plateau_patience": self.plateau_patience >= 0,
            "patience": self.patience >= 1,
            "min_improvement": 0 <= self.min_improvement < 1,
            "threshold_quantile": 0.5 <= self.threshold_quantile < 1,
        }
        wrong = [name for name, right in bounds.items() if not right]
        if wrong:
            raise ValueError(f"{wrong[0]} {getattr(self, wrong[0])} is out of range: see the defaults of Recipe")


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What an epoch came to.

    Attributes:
        epoch: its number, from 1.
        max_epochs: where fitting stops at the latest.
        training_loss: mean squared error over scaled cells, with dropout, averaged while the weights moved.
        validation_loss: the same without dropout, on validation windows, after the epoch.
        learning_rate: that the epoch was run with.
        improved: the validation loss is the best so far.
        seconds: wall-clock time.
    """

    epoch: int
    max_epochs: int
    training_loss: float
    validation_loss: float
    learning_rate: float
    improved: bool
    seconds: float


@dataclass(slots=True)
class Fit:
    """A fit under way or done: the network, its optimiser, the best weights so far and the history."""

    network: Autoencoder
    optimiser: torch.optim.Adam
    plateau: torch.optim.lr_scheduler.ReduceLROnPlateau
    best: dict[str, Tensor] = field(default_factory=dict)
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[EpochReport] = field(default_factory=list)


def start_fit(features: int, window: int, recipe: Recipe) -> Fit:
    """Initialise network and optimiser from the recipe's seed."""
    with _seeded(recipe.seed, 0):
        network = Autoencoder(features, window)
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, factor=recipe.plateau_factor, patience=recipe.plateau_patience, threshold=recipe.min_improvement
    )
    return Fit(network, optimiser, plateau)


def run_fit(
    fit: Fit,
    training: NDArray[np.float32],
    validation: NDArray[np.float32],
    recipe: Recipe,
    *,
    max_epochs: int,
    on_epoch: Callable[[EpochReport], None] | None = None,
    save: Callable[[Fit], None] | None = None,
) -> Autoencoder:
    """Fit until the validation loss no longer falls, or ``max_epochs``; leave the best weights in the network.

    Args:
        fit: from ``start_fit`` or a checkpoint; moved on in place.
        training: float32 (n, window, F), scaled.
        validation: float32 (m, window, F), scaled, later in time.
        recipe: the rule.
        max_epochs: epochs in all, those before the checkpoint included.
        on_epoch: told after each epoch.
        save: called after each epoch to write a checkpoint.

    Returns:
        The network with its best weights, in evaluation mode.

    Raises:
        DivergedError: the loss is not finite any more.
    """
    train, held_out = torch.from_numpy(training), torch.from_numpy(validation)
    with single_threaded():
        while len(fit.history) < max_epochs and len(fit.history) - fit.best_epoch < recipe.patience:
            report = _run_epoch(fit, train, held_out, recipe, max_epochs)
            if not math.isfinite(report.training_loss + report.validation_loss):
                raise DivergedError(
                    f"the loss is {report.training_loss} in epoch {report.epoch}: lower learning_rate "
                    f"({recipe.learning_rate}) or look for values far beyond the rest in the training data"
                )
            fit.history.append(report)
            if save is not None:
                save(fit)
            if on_epoch is not None:
                on_epoch(report)
    if fit.best:
        fit.network.load_state_dict(fit.best)
    return fit.network.eval()


@contextmanager
def single_threaded() -> Iterator[None]:
    """Compute on one thread, so that sums are added in one order; the caller's setting is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _seeded(seed: int, epoch: int) -> Iterator[None]:
    """Make torch's global generator a function of seed and epoch; the caller's own state is put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 1))
        yield


def _run_epoch(fit: Fit, training: Tensor, validation: Tensor, recipe: Recipe, max_epochs: int) -> EpochReport:
    started = time.monotonic()
    epoch = len(fit.history) + 1
    rate = float(fit.optimiser.param_groups[0]["lr"])
    with _seeded(recipe.seed, epoch):
        training_loss = _train(fit, training, recipe.batch_size)
    validation_loss = _mean_error(fit.network, validation)
    fit.plateau.step(validation_loss)
    improved = validation_loss < fit.best_loss * (1 - recipe.min_improvement)
    if improved:
        fit.best_loss, fit.best_epoch = validation_loss, epoch
        fit.best = {name: value.detach().clone() for name, value in fit.network.state_dict().items()}
    return EpochReport(epoch, max_epochs, training_loss, validation_loss, rate, improved, time.monotonic() - started)


def _train(fit: Fit, windows: Tensor, batch_size: int) -> float:
    fit.network.train()
    total = 0.0
    for chosen in torch.split(torch.randperm(len(windows)), batch_size):
        batch = windows[chosen]
        fit.optimiser.zero_grad()
        loss = nn.functional.mse_loss(fit.network(batch), batch)
        torch.autograd.backward(loss)
        fit.optimiser.step()
        total += loss.item() * len(batch)
    return total / len(windows)


def _mean_error(network: Autoencoder, windows: Tensor) -> float:
    network.eval()
    total = 0.0
    with torch.inference_mode():
        for batch in torch.split(windows, 256):
            total += nn.functional.mse_loss(network(batch), batch).item() * len(batch)
    return total / len(windows)
