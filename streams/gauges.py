"""Prometheus gauges of what a worker holds now, read at a scrape; documented in docs/operations/metrics.md."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.source import Partition

__all__ = ["StateCollector", "StreamState", "WorkerState"]


@dataclass(frozen=True, slots=True)
class StreamState:
    """What a stream holds now.

    Attributes:
        nodes: nodes with windows in memory.
        store_bytes: memory of the window store.
        step_seconds: step that the windows are built for.
        observed_seconds: median interval between a node's steps, ``None`` before enough were seen.
        mismatch: whether the two are so far apart that it was logged.
        silent: nodes that have stopped reporting and are not forgotten yet.
    """

    nodes: int
    silent: int
    store_bytes: int
    step_seconds: float
    observed_seconds: float | None
    mismatch: bool


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What a worker holds now, read at the time of a scrape."""

    lag: Mapping[Partition, int]
    backlog_seconds: float
    partitions: int
    broker_up: bool
    redis_waiting: int
    redis_up: bool | None
    streams: Mapping[str, StreamState]


class StateCollector(Collector):
    """Gauges read at scrape time, so that nothing has to keep them current.

    Args:
        state: reads the worker's state; called on the server's thread.
    """

    def __init__(self, state: Callable[[], WorkerState]) -> None:
        self._state = state

    def describe(self) -> list[Metric]:
        """Nothing to say before the first scrape (so that registering does not read the state)."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        state = self._state()
        lag = GaugeMetricFamily(
            "vigil_consumer_lag_records", "Committed records not yet read.", labels=("topic", "partition")
        )
        for (topic, partition), records in state.lag.items():
            lag.add_metric((topic, str(partition)), records)
        yield lag
        yield GaugeMetricFamily(
            "vigil_backlog_seconds",
            "Time until the backlog is worked off at the pace of the last seconds; 0 without one, +Inf while it grows.",
            value=state.backlog_seconds,
        )
        yield GaugeMetricFamily("vigil_assigned_partitions", "Partitions this worker has.", value=state.partitions)
        yield GaugeMetricFamily("vigil_broker_up", "1 while a broker connection stands.", value=state.broker_up)
        if state.redis_up is not None:
            yield GaugeMetricFamily("vigil_redis_up", "1 when the last write to Redis went well.", value=state.redis_up)
        yield GaugeMetricFamily(
            "vigil_redis_waiting_nodes", "Nodes whose newest verdict is not in Redis yet.", value=state.redis_waiting
        )
        yield from _stream_gauges(state.streams)


def _stream_gauges(streams: Mapping[str, StreamState]) -> Iterator[Metric]:
    windows = GaugeMetricFamily("vigil_windows_held", "Nodes with windows in memory.", labels=("stream",))
    silent = GaugeMetricFamily(
        "vigil_silent_nodes", "Nodes that stopped reporting, until they are back or forgotten.", labels=("stream",)
    )
    size = GaugeMetricFamily("vigil_window_store_bytes", "Memory of the window store.", labels=("stream",))
    step = GaugeMetricFamily("vigil_step_seconds", "Step that the windows are built for.", labels=("stream",))
    observed = GaugeMetricFamily(
        "vigil_step_observed_seconds", "Median interval between the steps of a node.", labels=("stream",)
    )
    mismatch = GaugeMetricFamily(
        "vigil_step_mismatch",
        "1 while nodes publish at another rate than the windows are built for.",
        labels=("stream",),
    )
    for name, stream in streams.items():
        windows.add_metric((name,), stream.nodes)
        silent.add_metric((name,), stream.silent)
        size.add_metric((name,), stream.store_bytes)
        step.add_metric((name,), stream.step_seconds)
        mismatch.add_metric((name,), stream.mismatch)
        if stream.observed_seconds is not None:
            observed.add_metric((name,), stream.observed_seconds)
    yield from (windows, silent, size, step, observed, mismatch)
