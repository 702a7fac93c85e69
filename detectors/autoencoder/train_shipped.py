"""Make the shipped artefact from the reference generator alone: ``python -m detectors.autoencoder.train_shipped``.

About 12 minutes on one idle core of a small machine. The same seed gives the same data and, on the same kind of machine
with the same library versions, the same weights. Figures on fresh data of the generator go into the metadata.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
import numpy as np

from detectors.artefacts import shipped
from detectors.autoencoder.checkpoint import NAME as CHECKPOINT_NAME
from detectors.autoencoder.data import windows_in_sequence
from detectors.autoencoder.evaluate import evaluate_reference
from detectors.autoencoder.fitting import EpochReport, Recipe
from detectors.autoencoder.training import train_autoencoder
from detectors.reference import FIELDS, normal_windows
from features.batch import WindowBatch

WINDOWS = 12_500


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print one line an epoch, write the artefact."""
    options = _parse(arguments)
    rng = np.random.default_rng(options.seed)
    source = f"reference generator, normal rows, {options.windows} windows without overlap, seed {options.seed}"
    windows = windows_in_sequence(normal_windows(rng, options.windows), source=source)
    trained = train_autoencoder(
        windows,
        FIELDS,
        recipe=Recipe(seed=options.seed),
        max_epochs=options.max_epochs,
        on_epoch=_print_epoch,
        checkpoints=options.checkpoints,
        resume=options.resume and (options.checkpoints / CHECKPOINT_NAME).exists(),
    )
    detector = trained.detector
    figures = evaluate_reference(
        detector.name,
        lambda each: detector.score(WindowBatch.stack(each)),
        detector.threshold,
        windows=options.test_windows,
    )
    metrics = {**detector.metadata.metrics, "reference_generator": asdict(figures)}
    detector.metadata = msgspec.structs.replace(detector.metadata, metrics=metrics)
    metadata = trained.save(options.directory)
    sys.stdout.write(f"{metadata.model_version} in {options.directory}, threshold {metadata.threshold.value:.6f}\n")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m detectors.autoencoder.train_shipped", description=__doc__)
    parser.add_argument("--directory", type=Path, default=shipped("autoencoder"), help="where the artefact goes")
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/autoencoder"), help="where checkpoints go")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint, if there is one")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="windows to train and validate on")
    parser.add_argument("--test-windows", type=int, default=20_000, help="windows to measure on")
    parser.add_argument("--max-epochs", type=int, default=24, help="epochs at most")
    parser.add_argument("--seed", type=int, default=0, help="of data and weights")
    return parser.parse_args(arguments)


def _print_epoch(report: EpochReport) -> None:
    mark = " *" if report.improved else ""
    sys.stdout.write(
        f"epoch {report.epoch:2}/{report.max_epochs}  training {report.training_loss:.6f}  "
        f"validation {report.validation_loss:.6f}  rate {report.learning_rate:.2g}  {report.seconds:.0f} s{mark}\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
