"""Runs the demo from start to final table."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from streams.config import KafkaConfig
from vigil.demo.pump import Pump
from vigil.demo.results import DemoReport, Found, Measured, find_fault, judge
from vigil.demo.scenario import Scenario, make_scenario
from vigil.demo.screen import Moment
from vigil.demo.stage import Stage, set_up
from vigil.demo.watcher import Watcher
from vigil.errors import ServiceError

__all__ = ["DemoOptions", "run_demo"]

LOOK_SECONDS: Final = 0.1
STALLED_SECONDS: Final = 30.0
SHOWN: Final = 500
RATE_SECONDS: Final = 1.0

Show = Callable[[Moment], None]


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to play, and where.

    Attributes:
        nodes: members of consensus clusters, about.
        minutes: event time of the consensus stream.
        seed: the same seed plays the same fleets and faults.
        live_seconds: wall time of the part with the faults.
        kafka: servers of the user's own; embedded ones when ``None``.
        redis_url: Redis of the user's own.
        worker_arguments: how the worker reaches the user's own servers.
    """

    nodes: int = 54
    minutes: float = 16.0
    seed: int = 7
    live_seconds: float = 14.0
    kafka: KafkaConfig | None = None
    redis_url: str | None = None
    worker_arguments: list[str] = field(default_factory=list)


def run_demo(options: DemoOptions, show: Show) -> DemoReport:
    """Play the demo; everything started is stopped again, whatever happens.

    Args:
        options: what to play.
        show: called several times a second with what is known.

    Raises:
        EmbeddedError: the embedded servers cannot be started.
        ServiceError: Kafka or the worker failed.
    """
    began = time.monotonic()
    show(_opening("starting Kafka, Redis and a worker"))
    with set_up(options.kafka, options.redis_url, options.worker_arguments) as stage:
        scenario = make_scenario(options.nodes, options.minutes, options.seed, time.time_ns() // 1_000_000)
        with Watcher(stage.kafka) as watcher, Pump(scenario, stage.kafka, options.live_seconds) as pump:
            play = _Progress(scenario, stage, watcher, pump, show)
            rate = play.catch_up()
            pump.begin_live()
            play.until_done()
            _, dead_letters = watcher.counts()
            found = watcher.anomalies()
        measured = Measured(play.processed, rate, dead_letters, time.monotonic() - began)
    return judge(scenario, found, measured)


class _Progress:
    """Follows the worker until it has processed everything."""

    def __init__(self, scenario: Scenario, stage: Stage, watcher: Watcher, pump: Pump, show: Show) -> None:
        self.processed = 0
        self._scenario = scenario
        self._stage = stage
        self._watcher = watcher
        self._pump = pump
        self._show = show
        self._moved = time.monotonic()
        self._all_read = False
        self._rate = 0.0
        self._rate_from = (time.monotonic(), 0)

    def catch_up(self) -> float:
        """Wait until the history is processed; returns records a second, first one sent to last one committed."""
        began = time.monotonic()
        while not self._pump.history_sent.is_set() or self.processed < self._pump.sent:
            self._look("learning what is usual, flat out")
        return self.processed / (time.monotonic() - began)

    def until_done(self) -> None:
        """Wait until every record is processed and everything published has been read."""
        while not (self._pump.done.is_set() and self.processed >= self._scenario.records and self._all_read):
            self._look("live, faults are being injected")

    def _look(self, phase: str) -> None:
        time.sleep(LOOK_SECONDS)
        self._stage.worker.check()
        if self._pump.error is not None:
            raise self._pump.error
        counters = self._stage.worker.counters()
        processed = int(counters.get("dwcp_metrics_processed_total", 0))
        published = (
            int(counters.get("dwcp_anomalies_detected_total", 0)),
            int(counters.get("vigil_dead_letters_total", 0)),
        )
        read = self._watcher.counts()
        self._all_read = read == published
        self._note_progress(processed)
        self._show(self._moment(phase, read))

    def _note_progress(self, processed: int) -> None:
        now = time.monotonic()
        if processed > self.processed or not self._pump.done.is_set():
            self._moved = now
        elif now - self._moved > STALLED_SECONDS:
            raise ServiceError(
                f"the worker stands still at {processed} of {self._pump.sent} records sent", hint="`vigil doctor`"
            )
        self.processed = max(self.processed, processed)
        since, count = self._rate_from
        if now - since >= RATE_SECONDS:
            self._rate = (self.processed - count) / (now - since)
            self._rate_from = (now, self.processed)

    def _moment(self, phase: str, read: tuple[int, int]) -> Moment:
        plays = self._scenario.plays.values()
        return Moment(
            phase=phase,
            records=self.processed,
            total=self._scenario.records,
            per_second=self._rate,
            nodes=sum(len(play.simulation.nodes) for play in plays),
            dead_letters=read[1],
            anomalies=read[0],
            newest=self._watcher.newest(SHOWN),
            faults=self._faults(),
        )

    def _faults(self) -> list[Found]:
        """List the faults whose first record has been sent."""
        found = self._watcher.anomalies()
        return [
            find_fault(play, fault, found.get(name, ()))
            for name, play in self._scenario.plays.items()
            for fault in play.simulation.faults
            if fault.start_ms <= self._pump.event_ms.get(name, 0)
        ]


def _opening(phase: str) -> Moment:
    return Moment(phase, 0, 0, 0.0, 0, 0, 0, (), ())
