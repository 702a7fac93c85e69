"""Prometheus metrics of a worker; each is documented in docs/operations/metrics.md. Never a node id as a label."""

from collections.abc import Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from features.appended import StepStatus
from schemas.errors import ErrorCode
from schemas.outputs import Severity
from streams.changelog import Restored
from streams.processor import Batch
from streams.score_histogram import ScoreHistogram

__all__ = ["WorkerMetrics"]

DELAY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600)
RELIABILITY = "reliability"
SCORE_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
BATCH_BUCKETS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)


class WorkerMetrics:
    """Counts what a worker did. One instance a worker, on a registry of its own.

    Args:
        registry: where the metrics live; passed in, so that two workers in one process do not clash.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._define_kept(registry)
        self._define_records(registry)
        self._define_state(registry)
        self._define_plumbing(registry)

    def _define_kept(self, registry: CollectorRegistry) -> None:
        """Define the three names that DWCP's existing dashboards use."""
        self.anomalies = Counter(
            "dwcp_anomalies_detected_total",
            "Anomalies published.",
            ("detector", "severity"),
            registry=registry,
        )
        self.delay = Histogram(
            "dwcp_anomaly_detection_latency_seconds",
            "From an anomaly's event time to its commit in Kafka.",
            buckets=DELAY_BUCKETS,
            registry=registry,
        )
        self.processed = Counter(
            "dwcp_metrics_processed_total",
            "Records read and committed, unusable ones included.",
            ("topic",),
            registry=registry,
        )

    def _define_records(self, registry: CollectorRegistry) -> None:
        """Define what becomes of records and steps."""
        self.dead_letters = Counter(
            "vigil_dead_letters_total", "Records that could not be used.", ("topic", "code"), registry=registry
        )
        self.steps = Counter(
            "vigil_steps_total", "Good records by what the window store did.", ("stream", "status"), registry=registry
        )
        self.gaps = Counter(
            "vigil_steps_carried_total",
            "Missing steps filled by the last known values.",
            ("stream",),
            registry=registry,
        )
        self.restarts = Counter(
            "vigil_window_restarts_total", "Windows begun again after a long gap.", ("stream",), registry=registry
        )
        self.scored = Counter(
            "vigil_windows_scored_total", "Windows scored.", ("stream", "detector"), registry=registry
        )

        self.reliability = Histogram(
            "vigil_reliability_score",
            "Probability that a node is in an incident or close to one: newest verdict of each node in a batch.",
            buckets=SCORE_BUCKETS,
            registry=registry,
        )
        self.scores = ScoreHistogram(registry)

    def _define_state(self, registry: CollectorRegistry) -> None:
        """Define what is kept of windows, and what comes back."""
        self.states = Counter("vigil_state_records_total", "Records written to the state topic.", registry=registry)
        self.restored_nodes = Counter(
            "vigil_restored_nodes_total", "Nodes whose windows came back.", ("stream",), registry=registry
        )
        self.refused_states = Counter(
            "vigil_refused_snapshots_total", "Snapshots that could not be used.", ("stream",), registry=registry
        )
        self.cold = Counter(
            "vigil_cold_partitions_total",
            "Partitions whose windows did not come back.",
            ("stream",),
            registry=registry,
        )
        self.restore_seconds = Counter(
            "vigil_restore_seconds_total", "Time spent inside rebalances bringing windows back.", registry=registry
        )
        self.unstable = Counter(
            "vigil_unstable_offsets_total",
            "Partitions that went on from the state topic: a transaction over the group's offsets did not end.",
            registry=registry,
        )
        self.replays = Counter(
            "vigil_replayed_records_total",
            "Records read again to bring windows back, without verdicts.",
            ("topic",),
            registry=registry,
        )

    def _define_plumbing(self, registry: CollectorRegistry) -> None:
        """Define batches, transactions, stages, Redis."""
        self.batch = Histogram("vigil_batch_records", "Records in a batch.", buckets=BATCH_BUCKETS, registry=registry)
        self.transactions = Counter(
            "vigil_transactions_total", "Kafka transactions by how they ended.", ("result",), registry=registry
        )
        self.stages = Counter(
            "vigil_stage_seconds_total", "Wall time spent, by stage of the loop.", ("stage",), registry=registry
        )
        self.stuck = Gauge(
            "vigil_stuck_partitions",
            "Partitions that have had unread records, and not moved, for worker.stuck_s.",
            registry=registry,
        )
        self.limit = Counter(
            "vigil_dead_letter_limit_total", "Batches with more dead letters than the limits allow.", registry=registry
        )
        self.redis = Counter("vigil_redis_flushes_total", "Writes to Redis.", ("result",), registry=registry)
        self.redis_dropped = Counter(
            "vigil_redis_dropped_nodes_total",
            "Nodes whose newest verdict was forgotten because Redis was away too long.",
            registry=registry,
        )
        self.redis_seconds = Counter(
            "vigil_redis_seconds_total", "Time the writer thread spent in Redis.", registry=registry
        )
        self.models = Gauge(
            "vigil_model_info",
            "Models in use; the value is 1.",
            ("stream", "detector", "model_version"),
            registry=registry,
        )
        self.worker = Info("vigil_worker", "Who this worker is.", registry=registry)

    def committed(self, batch: Batch, now_ms: float) -> None:
        """Count a batch that is now in Kafka.

        Args:
            batch: what was committed.
            now_ms: wall-clock time of the commit, Unix epoch in milliseconds.
        """
        self.batch.observe(batch.size)
        for topic, count in batch.counts.records.items():
            self.processed.labels(topic).inc(count)
        for (topic, code), count in batch.counts.dead_letters.items():
            self.dead_letters.labels(topic, code).inc(count)
        for stream, steps in batch.counts.steps.items():
            for status, count in steps.by_status.items():
                self.steps.labels(stream, StepStatus(status).name.lower()).inc(count)
            self.gaps.labels(stream).inc(steps.gaps)
            self.restarts.labels(stream).inc(steps.restarts)
        for (stream, detector), count in batch.counts.windows.items():
            self.scored.labels(stream, detector).inc(count)
        for anomaly in batch.anomalies:
            self.anomalies.labels(anomaly.detector, anomaly.severity).inc()
            self.delay.observe(max(0.0, (now_ms - anomaly.ts_ms) / 1000))
        for columns in batch.columns:
            self.scores.observe(columns)
            if columns.about.detector == RELIABILITY:
                for score in columns.newest().scores.tolist():  # once a node and batch
                    self.reliability.observe(score)
        self.states.inc(len(batch.states))
        self.spent(batch.seconds)

    def expect(self, detector: str) -> None:
        """Begin a detector's counters at 0: one that begins at 1 has no increase."""
        for severity in get_args(get_args(Severity)[0]):
            self.anomalies.labels(detector, severity).inc(0)

    def expect_topic(self, topic: str) -> None:
        """Begin a topic's dead letters at 0, whatever will be wrong with them."""
        for code in ErrorCode:
            self.dead_letters.labels(topic, code).inc(0)

    def replayed(self, batch: Batch) -> None:
        """Count records that only brought windows back."""
        for topic, count in batch.replayed.items():
            self.replays.labels(topic).inc(count)
        if not batch.offsets:
            self.spent(batch.seconds)

    def restored(self, partitions: Mapping[tuple[str, int], Restored], seconds: float) -> None:
        """Count what came back, by stream and partition, and the time it took."""
        self.restore_seconds.inc(seconds)
        for (stream, _), one in partitions.items():
            self.restored_nodes.labels(stream).inc(one.nodes)
            self.refused_states.labels(stream).inc(one.refused)
            self.cold.labels(stream).inc(bool(one.cold))

    def ended(self, result: str) -> None:
        """Count a transaction by how it ended."""
        self.transactions.labels(result).inc()

    def spent(self, seconds: Mapping[str, float]) -> None:
        """Add wall time to stages."""
        for stage, value in seconds.items():
            self.stages.labels(stage).inc(value)

    def redis_flushed(self, nodes: int, seconds: float) -> None:  # noqa: ARG002 -- part of ViewEvents
        """Count a write to Redis."""
        self.redis.labels("ok").inc()
        self.redis_seconds.inc(seconds)

    def redis_failed(self) -> None:
        """Count a write that Redis did not take."""
        self.redis.labels("failed").inc()

    def redis_lost(self, nodes: int) -> None:
        """Count verdicts forgotten while Redis was away."""
        self.redis_dropped.inc(nodes)
