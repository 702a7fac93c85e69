"""What a worker shows of itself: metrics, health, and its counters in Redis."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector

from streams.backlog import Backlog, Pace
from streams.changelog import Restored
from streams.config import WorkerConfig
from streams.gauges import StateCollector, StreamState, WorkerState
from streams.health import Health
from streams.http import HealthServer
from streams.lifecycle import Lifecycle
from streams.metrics import WorkerMetrics
from streams.processor import Batch, Processor
from streams.redis_view import RedisView
from streams.source import Partition, Records
from streams.standstill import Look
from streams.statistics import SourceState

__all__ = ["Monitor"]

log = structlog.get_logger("vigil.worker")


class Monitor:
    """Counts for Prometheus, answers for the orchestrator.

    Args:
        config: where to listen.
        registry: where the metrics go.
        processor: whose windows are shown.
        lifecycle: reads the worker's phase and partitions.
        source: reads what the Kafka client says about itself.
        restoring: tells whether windows are being brought back.
    """

    def __init__(
        self,
        config: WorkerConfig,
        registry: CollectorRegistry,
        processor: Processor,
        *,
        lifecycle: Callable[[], Lifecycle],
        source: Callable[[], SourceState],
        restoring: Callable[[], bool] = lambda: False,
    ) -> None:
        self.metrics = WorkerMetrics(registry)
        self.health = Health(stale_after_s=config.healthy_s)
        self.view: RedisView | None = None
        self.records = self.anomalies = self.dead_letters = 0
        self.busy = False
        """Whether a batch is in work."""
        self.backlog = Backlog()
        self.on_pace: Callable[[Pace], None] = lambda _: None
        """Told after every turn how far the worker is behind: a progress bar."""
        self._positions: dict[Partition, int] = {}
        self._processor = processor
        self._lifecycle = lifecycle
        self._source = source
        for topic, scorer in processor.scorers.items():
            self.metrics.expect_topic(topic)
            for detector in scorer.detectors:
                self.metrics.models.labels(scorer.stream.name, detector.name, detector.version).set(1)
                self.metrics.expect(detector.name)
        registry.register(StateCollector(self.state))
        ProcessCollector(registry=registry)
        self.server = None
        if config.http_port is not None:
            self.server = HealthServer(
                config.http_host,
                config.http_port,
                registry=registry,
                healthy=self.health.healthy,
                ready=lambda: self.health.ready(self._lifecycle(), self._source(), restoring=restoring()),
            )

    def committed(self, batch: Batch) -> None:
        """Count a batch that is now in Kafka."""
        self._positions.update(batch.offsets)
        self.records += batch.size
        self.anomalies += len(batch.anomalies)
        self.dead_letters += len(batch.dead_letters)
        self.metrics.committed(batch, time.time() * 1000)

    def turned(self) -> None:
        """After every turn of the loop: see how far the worker is behind, and say so now and then."""
        held, now, was = self._lifecycle().held, time.monotonic(), self.backlog.pace.behind
        lag = sum(records for each, records in self._source().lag.items() if each in held)
        pace = self.backlog.observe(lag, self.records, now)
        if self.backlog.due(now):
            left = None if math.isinf(pace.seconds_left) else round(pace.seconds_left)
            log.info("catching up", lag=lag, records_per_second=round(pace.records_per_second), seconds_left=left)
        elif was and not pace.behind:
            log.info("caught up", records=self.records)
        self.on_pace(pace)

    def replayed(self, batch: Batch, records: Sequence[Records]) -> None:
        """Count the records of a batch that only brought windows back; ``records`` is all that was read for it."""
        self.metrics.replayed(batch)
        if batch.replayed:
            ends = {each: end for one in records for each, end in one.ends().items() if each not in batch.offsets}
            self._positions.update(ends)

    def looks(self) -> dict[Partition, Look]:
        """Return where each partition held is, for the watchdog; for any thread."""
        source = self._source()
        return {
            each: Look(self._positions.get(each), 0 if self.busy else source.passed.get(each, 0), None)
            for each in self._lifecycle().held
        }

    def restored(self, partitions: Mapping[Partition, Restored], seconds: float) -> None:
        """Count what came back of partitions just assigned."""
        streams = {topic: scorer.stream.name for topic, scorer in self._processor.scorers.items()}
        self.metrics.restored({(streams[topic], number): one for (topic, number), one in partitions.items()}, seconds)

    def counters(self) -> dict[str, int | float]:
        """Return the worker's counters since its start, for the view in Redis."""
        held, lag = self._lifecycle().held, self._source().lag
        return {
            "records": self.records,
            "anomalies": self.anomalies,
            "dead_letters": self.dead_letters,
            "nodes": sum(len(scorer.store) for scorer in self._processor.scorers.values()),
            "partitions": len(held),
            "lag": sum(lag.get(each, 0) for each in held),
            "records_per_second": round(self.backlog.pace.records_per_second, 1),
            "updated_ms": int(time.time() * 1000),
        }

    def state(self) -> WorkerState:
        """Return what the worker holds now, for the gauges."""
        held, source = self._lifecycle().held, self._source()
        return WorkerState(
            lag={each: lag for each, lag in source.lag.items() if each in held},
            partitions=len(held),
            backlog_seconds=self.backlog.pace.seconds_left,
            broker_up=source.broker_up,
            redis_waiting=self.view.waiting if self.view is not None else 0,
            redis_up=self.view.up if self.view is not None else None,
            streams={
                scorer.stream.name: _stream_state(self._processor, topic)
                for topic, scorer in self._processor.scorers.items()
            },
        )


def _stream_state(processor: Processor, topic: str) -> StreamState:
    store, cadence = processor.scorers[topic].store, processor.cadences.get(topic)
    interval = cadence.interval_ms if cadence is not None else None
    return StreamState(
        nodes=len(store),
        silent=store.silent_nodes,
        store_bytes=store.nbytes,
        step_seconds=store.rules.step_ms / 1000,
        observed_seconds=None if interval is None else interval / 1000,
        mismatch=cadence is not None and cadence.mismatch,
    )
