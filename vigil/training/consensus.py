"""Make the shipped consensus artefact: ``python -m vigil.training.consensus [--out models/consensus]``.

Fits on simulated fleets without a fault, so that anyone can make it again; a few minutes on two cores. Nodes of real
clusters are all new to it: none of the simulated ones is kept as known.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from detectors.artefacts import shipped
from detectors.consensus.detector import ConsensusDetector
from detectors.consensus.fit import FitSettings, NormalSteps, fit_consensus
from schemas.streams import CONSENSUS
from vigil.simulator import ConsensusFleet, simulate_consensus

CLUSTERS = 48
STEPS = 7_200
SEED = 5_000
START_MS = 1_760_000_000_000


def simulated_steps(clusters: int = CLUSTERS, steps: int = STEPS, seed: int = SEED) -> NormalSteps:
    """Simulate fault-free telemetry of ``clusters`` clusters, ``steps`` seconds long."""
    run = simulate_consensus(ConsensusFleet(clusters), steps, seed, START_MS)
    used = tuple(place for place, name in enumerate(CONSENSUS.features) if name not in CONSENSUS.codes)
    return NormalSteps(CONSENSUS.features, run.node_ids(), run.ts_ms, run.matrix(), used, (True,) * len(used))


def make(out: Path, console: Console) -> ConsensusDetector:
    """Simulate, fit and write the artefact, with a progress bar."""
    steps = simulated_steps()
    console.print(f"{len(steps.rows):,} simulated steps of {len(set(steps.keys))} nodes")
    with Progress(console=console) as bar:
        task = bar.add_task("fitting", total=None)
        detector = fit_consensus(
            steps, FitSettings(know_nodes=False), lambda done, total: bar.update(task, completed=done, total=total)
        )
    detector.save(out)
    return detector


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m vigil.training.consensus", description=__doc__)
    parser.add_argument("--out", type=Path, default=shipped("consensus"), help="where the artefact goes")
    out = parser.parse_args(arguments).out
    console = Console()
    detector = make(out, console)
    console.print(f"{detector.version} written to {out}, threshold {detector.threshold:.4f}")


if __name__ == "__main__":
    main()
