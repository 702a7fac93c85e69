"""False alarms in simulation: fleets without a fault that training never saw, for as long as you like."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.artefacts import shipped
from detectors.catalogue import detector_class
from detectors.evaluation.fault_free import (
    Alarms,
    Run,
    fault_free_figures,
    find_alarms,
    first_verdicts,
    join_alarms,
)
from detectors.offline import Steps, open_store, score_steps
from detectors.protocol import Detector, Scores
from detectors.thresholds import MS_PER_DAY
from schemas.streams import CONSENSUS
from vigil.errors import InputError
from vigil.evaluation import asked_rate
from vigil.progress import Say, say_nothing
from vigil.simulator import ConsensusFleet, simulate_consensus
from vigil.training.consensus import SEED as TRAINING_SEED
from vigil.training.consensus import START_MS

__all__ = ["FaultFree", "Part", "measure_fault_free", "parts_of"]

SEED: Final = 31_000
MEMBERS: Final = (3, 5, 3, 7)  # of the clusters, in turn
ROWS_AT_ONCE: Final = 1_500_000  # of a stretch; about 300 bytes each while they are simulated
STRETCH_STEPS: Final = 7 * MS_PER_DAY // CONSENSUS.step_ms


@dataclass(frozen=True, slots=True)
class FaultFree:
    """What to measure.

    Attributes:
        detector: its name; one of the consensus stream.
        days: event time to simulate, of every node.
        nodes: members of the fleet, in clusters of ``MEMBERS``; the last cluster's are cut to fit.
        seed: of the simulation, never that of training.
        artefact: folder of the artefact, the shipped one when ``None``.
    """

    detector: str
    days: float = 1.0
    nodes: int = 30
    seed: int = SEED
    artefact: Path | None = None

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return round(self.days * MS_PER_DAY / CONSENSUS.step_ms)


@dataclass(frozen=True, slots=True)
class Part:
    """Clusters that are simulated together.

    Attributes:
        fleet: these clusters.
        first: number of the first node.
        nodes: how many of its nodes are measured.
    """

    fleet: ConsensusFleet
    first: int
    nodes: int


def measure_fault_free(wanted: FaultFree, say: Say = say_nothing) -> dict[str, Any]:
    """Count the alarms of a detector on a simulated fleet that has no fault, against the asked rate.

    Memory stays bounded, however many nodes and days: clusters are simulated a few at a time, and a week at most.

    Args:
        wanted: what to measure.
        say: told what is being done, and how far it is.

    Raises:
        InputError: the seed is the training's, or the artefact is not of the consensus stream.
        ArtefactError: the artefact is missing or damaged.
    """
    if wanted.seed == TRAINING_SEED:
        raise InputError(f"--seed {wanted.seed}: the shipped artefact was trained on it", hint="give another seed")
    detector = detector_class(wanted.detector).load(wanted.artefact or shipped(wanted.detector))
    if tuple(detector.fields) != CONSENSUS.features:
        raise InputError(
            f"{detector.version} takes {', '.join(detector.fields)}",
            hint="the simulation has the consensus stream's fields; measure a recording of yours instead",
        )
    alarms: list[Alarms] = []
    verdicts: list[int] = []
    for part in parts_of(wanted):
        for start, scores, flagged in _scored(detector, wanted, part, say):
            alarms.append(find_alarms(scores, flagged, node=part.first, step=start))
            if not start:
                verdicts += first_verdicts(scores).tolist()
    run = Run(wanted.nodes, wanted.steps, CONSENSUS.step_ms, detector.levels, asked_rate(detector))
    return {
        "model": detector.name,
        "model_version": detector.version,
        "file": "fault-free simulation",
        "seed": wanted.seed,
        "threshold": detector.threshold,
        **fault_free_figures(join_alarms(alarms), run),
        "first_verdict_after_steps": {"least": min(verdicts), "most": max(verdicts)},
    }


def parts_of(wanted: FaultFree) -> Iterator[Part]:
    """Cut the fleet into parts of whole clusters, as large as ``ROWS_AT_ONCE`` allows, and of one at least."""
    most = ROWS_AT_ONCE // min(wanted.steps, STRETCH_STEPS)
    cluster = node = 0
    while node < wanted.nodes:
        clusters, members = 0, 0
        while node + members < wanted.nodes:
            size = MEMBERS[(cluster + clusters) % len(MEMBERS)]
            if clusters and members + size > most:
                break
            clusters, members = clusters + 1, members + size
        fleet = ConsensusFleet(clusters, MEMBERS, step_ms=CONSENSUS.step_ms, name="calm", first=cluster)
        yield Part(fleet, node, min(members, wanted.nodes - node))
        cluster, node = cluster + clusters, node + members


def _scored(
    detector: Detector, wanted: FaultFree, part: Part, say: Say
) -> Iterator[tuple[int, Scores, NDArray[np.bool_]]]:
    """Yield a part a stretch at a time: its first step, scores float64 (nodes, steps), and what is flagged, bool."""
    store = open_store(detector, len(CONSENSUS.features), CONSENSUS.step_ms)
    total = wanted.nodes * wanted.steps
    for stretch, start in enumerate(range(0, wanted.steps, STRETCH_STEPS)):
        length = min(STRETCH_STEPS, wanted.steps - start)
        done = part.first * wanted.steps + part.nodes * start
        say("simulating", done, total)
        run = simulate_consensus(part.fleet, length, wanted.seed, START_MS + start * CONSENSUS.step_ms, stretch=stretch)
        mine = np.flatnonzero(run.node < part.nodes)
        names = [node.node_id for node in run.nodes]
        node, rows, ts_ms = run.node[mine], run.matrix()[mine], run.ts_ms[mine]
        del run
        steps = Steps([names[place] for place in node.tolist()], ts_ms, rows, CONSENSUS.step_ms)
        found = score_steps(detector, steps, store=store, on_progress=partial(_say_done, say, done, total))
        # Without a fault no member is ever silent: each has all steps, in order of time.
        order = np.argsort(node, kind="stable").reshape(part.nodes, length)
        yield start, found.scores[order], found.flagged[order]


def _say_done(say: Say, before: int, total: int, done: int) -> None:
    say("scoring", before + done, total)
