"""How many nodes a worker on this machine holds, at what rate: a few seconds' measurement, and the arithmetic."""

import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from detectors.catalogue import load_detectors
from detectors.protocol import Detector
from detectors.scoring import StreamScorer
from schemas.streams import CONSENSUS, Stream
from streams.config import WorkerConfig
from streams.processor import Processor
from streams.source import Records
from vigil.progress import Say, say_nothing
from vigil.simulator import Simulation
from vigil.simulator.consensus import ConsensusFleet, simulate_consensus
from vigil.simulator.nodes import NodeFleet, simulate_nodes

__all__ = ["Answer", "Measured", "answer", "measure"]

START_MS: Final = 1_760_000_000_000
MEMBERS: Final = 5
MEASURED_NODES: Final = 1_000
WARM_STEPS: Final = 32  # until every window is complete
TIMED_STEPS: Final = 60
BATCH: Final = WorkerConfig().batch_max  # records, as a worker that is behind takes them
OUTSIDE: Final = 1.3  # CPU of a whole worker by CPU of what is measured here: Kafka's client, commits, Redis
BUSY: Final = 0.7  # of a core that is planned for; the rest is for bursts, rebalances and catching up
WORKER_BYTES: Final = 220_000_000  # a worker without nodes: interpreter, libraries, models, Kafka's buffers
MEMORY_SHARE: Final = 0.8  # of the machine's memory that is planned for


@dataclass(frozen=True, slots=True)
class Measured:
    """What one worker does on one core of this machine.

    Attributes:
        stream: which telemetry.
        cpu_us_per_record: of decoding, windows, scoring and what follows, Kafka and Redis allowed for.
        bytes_per_node: that a node's window, baselines and name take.
    """

    stream: str
    cpu_us_per_record: float
    bytes_per_node: float

    @property
    def records_per_second(self) -> float:
        """What a whole core would do."""
        return 1e6 / self.cpu_us_per_record


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether a fleet fits on this machine.

    Attributes:
        measured: what one worker does.
        nodes: asked for.
        records_per_second: that they publish.
        workers: needed, each with ``BUSY`` of a core.
        bytes_per_worker: memory of each.
        cores: of the machine.
        memory_bytes: of the machine.
        fits: whether cores and memory suffice.
        reason: why not; empty where it fits.
    """

    measured: Measured
    nodes: int
    records_per_second: float
    workers: int
    bytes_per_worker: float
    cores: int
    memory_bytes: int
    fits: bool
    reason: str


def measure(
    stream: Stream, detectors: Sequence[Detector] | None = None, say: Say = say_nothing, batch: int = BATCH
) -> Measured:
    """Let a worker's own code score a simulated fleet, without Kafka and Redis.

    Args:
        stream: ``CONSENSUS`` or the node metrics.
        detectors: to run; the stream's shipped ones when ``None``.
        say: told how far it is.
        batch: records scored together.
    """
    used = load_detectors(stream) if detectors is None else detectors
    batches = list(_batches(stream, _simulated(stream, batch), batch))
    scorer = StreamScorer(stream, used)
    processor = Processor({stream.topic: scorer})
    timed, began = 0, 0.0
    for place, records in enumerate(batches):
        if timed == 0 and place * batch >= WARM_STEPS * MEASURED_NODES:
            began = time.process_time()
        if began:
            timed += len(records)
        processor.process([records])
        say("measuring", place + 1, len(batches))
    seconds = time.process_time() - began
    return Measured(stream.name, OUTSIDE * 1e6 * seconds / timed, _bytes_per_node(stream, used))


def answer(measured: Measured, nodes: int, rate: float, cores: int = 0, memory_bytes: int = 0) -> Answer:
    """Say whether a fleet fits.

    Args:
        measured: what one worker does here.
        nodes: of the fleet.
        rate: records a second of each node.
        cores: to use; all of the machine when 0.
        memory_bytes: to use; all of the machine when 0.
    """
    cores, memory_bytes = cores or os.cpu_count() or 1, memory_bytes or machine_memory()
    records = nodes * rate
    workers = max(1, math.ceil(records / (BUSY * measured.records_per_second)))
    per_worker = WORKER_BYTES + measured.bytes_per_node * math.ceil(nodes / workers)
    reasons = []
    if workers > cores:
        reasons.append(f"it takes {workers} workers, a core each, and there are {cores}")
    if workers * per_worker > MEMORY_SHARE * memory_bytes:
        needed, there = workers * per_worker / 1e9, MEMORY_SHARE * memory_bytes / 1e9
        reasons.append(f"it takes {needed:.1f} GB, and {there:.1f} GB can be planned for")
    reason = "; ".join(reasons)
    return Answer(measured, nodes, records, workers, per_worker, cores, memory_bytes, not reason, reason)


def machine_memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _simulated(stream: Stream, batch: int) -> Simulation:
    steps = WARM_STEPS + max(TIMED_STEPS, 2 * batch // MEASURED_NODES)
    if stream.name == CONSENSUS.name:
        fleet = ConsensusFleet(clusters=MEASURED_NODES // MEMBERS, members=MEMBERS)
        return simulate_consensus(fleet, steps, 1, START_MS)
    return simulate_nodes(NodeFleet(nodes=MEASURED_NODES), steps, 1, START_MS, 0.0)


def _batches(stream: Stream, simulation: Simulation, size: int) -> Iterator[Records]:
    records = list(simulation.records())
    for start in range(0, len(records), size):
        part = records[start : start + size]
        yield Records(
            stream.topic,
            np.zeros(len(part), dtype=np.int32),
            np.arange(start, start + len(part), dtype=np.int64),
            [record.key for record in part],
            [record.value for record in part],
        )


def _bytes_per_node(stream: Stream, detectors: Sequence[Detector]) -> float:
    """Return the memory that a node takes, by what is reserved for it and what its name and its entries add."""
    nodes = 50_000
    scorer = StreamScorer(stream, detectors, capacity=nodes)
    before = _resident_bytes()
    keys = [f"cluster-{place // MEMBERS:06d}-n{place % MEMBERS}" for place in range(nodes)]
    rows = np.ones((nodes, len(stream.features)), dtype=np.float32)
    scorer.store.append(np.zeros(nodes, np.int32), keys, np.full(nodes, START_MS, np.int64), rows)
    return max(_resident_bytes() - before, scorer.store.nbytes) / nodes


def _resident_bytes() -> int:
    """Return this process's resident memory; 0 where the system does not tell (then only what is reserved counts)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0
