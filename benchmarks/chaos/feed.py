"""The recorded stream: a simulated fleet's telemetry, with what real producers do to it, at an even pace."""

import threading
import time
from collections.abc import Iterator
from typing import Final

from vigil.disturbance import Disturbance, Outgoing, disturbed
from vigil.errors import ServiceError
from vigil.publisher import Publisher
from vigil.simulator.consensus import ConsensusFleet, simulate_consensus

__all__ = ["Feed"]

START_MS: Final = 1_750_000_000_000
STRETCH_STEPS: Final = 600
FAULTS_AN_HOUR: Final = 60.0
PATIENCE_SECONDS: Final = 120.0


class Feed:
    """Publishes steps of a fleet until it is told to stop; the same seed gives the same records.

    Args:
        bootstrap: Kafka, past the proxies: the producers are not what is tested.
        topic: where to.
        clusters: of the fleet; members by turns 3, 5, 3 and 7.
        steps_per_s: steps of every node a second.
        seed: of everything.
    """

    def __init__(self, bootstrap: str, topic: str, *, clusters: int, steps_per_s: float, seed: int) -> None:
        self._properties = {"bootstrap.servers": bootstrap, "acks": "all", "message.timeout.ms": 300_000}
        self._topic = topic
        self._fleet = ConsensusFleet(clusters=clusters)
        self._pace = steps_per_s
        self._seed = seed
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self.records = 0
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End at the next step, and wait until every record has arrived; raises what went wrong."""
        self._stopping.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            with self._publisher() as publisher:
                self._publish(publisher)
        except BaseException as error:  # noqa: BLE001 -- raised again by stop
            self.error = error

    def _publisher(self) -> Publisher:
        """Open one; a topic that was made a moment ago may not be known to every broker yet."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return Publisher(self._topic, self._properties)
            except ServiceError:
                if time.monotonic() > deadline or self._stopping.wait(0.5):
                    raise

    def _publish(self, publisher: Publisher) -> None:
        began = time.monotonic()
        for one in self._records():
            due = began + (one.send_ms - START_MS) / 1000 / self._pace
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                return
            publisher.send(one.key, one.value, node=one.node)
            self.records += 1

    def _records(self) -> Iterator[Outgoing]:
        how = Disturbance(disorder_s=2.0, duplicates=0.01, missing=0.002, malformed=0.005, seed=self._seed)
        yield from disturbed(self._stretches(), how)

    def _stretches(self) -> Iterator[tuple[bytes, bytes, int]]:
        stretch = 0
        while True:
            start_ms = START_MS + stretch * STRETCH_STEPS * 1000
            yield from _stretch(self._fleet, self._seed, start_ms, stretch)
            stretch += 1


def _stretch(fleet: ConsensusFleet, seed: int, start_ms: int, stretch: int) -> Iterator[tuple[bytes, bytes, int]]:
    simulation = simulate_consensus(fleet, STRETCH_STEPS, seed, start_ms, FAULTS_AN_HOUR, stretch=stretch)
    for record in simulation.records():
        yield record.key, record.value, record.ts_ms
