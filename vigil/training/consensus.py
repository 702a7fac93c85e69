"""Train the consensus detector; ``python -m vigil.training.consensus [--report DIR]`` makes the shipped one.

That fits on simulated fleets without a fault, so that anyone can make it again; some minutes on one core. Nodes of
real clusters are all new to it: none of the simulated ones is kept as known.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import Progress

from detectors.artefacts import library_versions, shipped
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.fit import FitError, FitSettings, NormalSteps, fit_consensus
from detectors.evaluation.held_out import (
    HELD_OUT,
    SHARE,
    Course,
    follow,
    held_out_figures,
    held_out_text,
    later_part,
)
from detectors.evaluation.training_report import write_training_report
from detectors.thresholds import ThresholdError
from schemas.streams import CONSENSUS
from vigil.progress import Say, say_nothing
from vigil.simulator import ConsensusFleet, simulate_consensus

__all__ = ["Trained", "simulated_steps", "train_consensus"]

CLUSTERS = 48
STEPS = 28_800  # hours: a leader changes once a day without harm, and drift takes its time
SEED = 5_000
START_MS = 1_760_000_000_000
LIBRARIES: Final = ("numpy", "safetensors", "vigil-dwcp")


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted detector and how it was tried out.

    Attributes:
        detector: fitted on all steps; its metadata's metrics hold ``HELD_OUT``.
        tried: fitted on the steps before the cut; the detector itself where they were too few for one.
        course: how ``tried`` went over all steps.
    """

    detector: ConsensusDetector
    tried: ConsensusDetector
    course: Course

    @property
    def held_out(self) -> dict[str, Any]:
        """What ``tried`` achieved after the cut; only ``skipped``, a text, where that could not be measured."""
        found: dict[str, Any] = self.detector.metadata.metrics[HELD_OUT]
        return found


def train_consensus(steps: NormalSteps, settings: FitSettings, say: Say = say_nothing) -> Trained:
    """Fit the detector, and measure its false alarms on the last fifth of the steps by a fit on those before.

    Nothing is random and nothing is iterative: the same steps give the same detector, to the bit.

    Args:
        steps: normal telemetry in log order.
        settings: the user's choices.
        say: told what is being done, and how far it is.

    Raises:
        FitError: no node has a whole window of steps.
        ThresholdError: the recording is too short for a threshold.
    """
    detector = fit_consensus(steps, settings, partial(say, "fitting on all steps"))
    later = later_part(steps.ts_ms)
    try:
        tried = fit_consensus(steps.take(~later), settings, partial(say, f"fitting on the first {1 - SHARE:.0%}"))
        skipped = ""
    except (FitError, ThresholdError) as error:
        tried, later, skipped = detector, np.zeros_like(later), f"the first {1 - SHARE:.0%} alone are too few: {error}"
    course = follow(tried, steps, later, settings.step_ms, partial(say, f"trying it on the last {SHARE:.0%}"))
    if not skipped and not course.judged.any():
        skipped = f"no verdict in the last {SHARE:.0%}"
    found: dict[str, Any] = {"skipped": skipped}
    if not skipped:
        asked = settings.false_alarms_per_node_day
        found = {"share": SHARE, **held_out_figures(course, tried.threshold, asked, settings.step_ms)}
    detector.metadata = msgspec.structs.replace(
        detector.metadata,
        metrics={**detector.metadata.metrics, HELD_OUT: found},
        versions={**detector.metadata.versions, **library_versions(*LIBRARIES)},
    )
    return Trained(detector, tried, course)


def simulated_steps(clusters: int = CLUSTERS, steps: int = STEPS, seed: int = SEED) -> NormalSteps:
    """Simulate fault-free telemetry of ``clusters`` clusters, ``steps`` seconds long."""
    run = simulate_consensus(ConsensusFleet(clusters), steps, seed, START_MS)
    used = tuple(place for place, name in enumerate(CONSENSUS.features) if name not in CONSENSUS.codes)
    return NormalSteps(CONSENSUS.features, run.node_ids(), run.ts_ms, run.matrix(), used, (True,) * len(used))


def make(out: Path, console: Console) -> Trained:
    """Simulate, fit and write the artefact, with a progress bar."""
    steps = simulated_steps()
    console.print(f"{len(steps.rows):,} simulated steps of {len(set(steps.keys))} nodes")
    with Progress(console=console) as bar:
        task = bar.add_task("", total=None)

        def say(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        trained = train_consensus(steps, FitSettings(know_nodes=False), say)
    trained.detector.save(out)
    return trained


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m vigil.training.consensus", description=__doc__)
    parser.add_argument("--out", type=Path, default=shipped("consensus"), help="where the artefact goes")
    parser.add_argument("--report", type=Path, help="where plots and a page of figures go; none without")
    options = parser.parse_args(arguments)
    console = Console()
    trained = make(options.out, console)
    detector = trained.detector
    console.print(f"{detector.version} written to {options.out}, threshold {detector.threshold:.4f}")
    console.print(held_out_text(trained.held_out))
    if options.report is not None:
        page, *_ = write_training_report(detector, trained.tried, trained.course, options.report)
        console.print(f"report: {page}")


if __name__ == "__main__":
    main()
