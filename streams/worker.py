"""The worker: read a batch, score it, commit it in one transaction, show it in Redis; again until asked to stop."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import FrameType
from typing import ClassVar

import structlog
from confluent_kafka import Producer, TopicPartition
from prometheus_client import CollectorRegistry

from detectors.scoring import StreamScorer
from schemas.topics import STATE
from streams.changelog import changelogs
from streams.config import KafkaConfig, RedisConfig, WorkerConfig
from streams.dead_letters import ENVELOPE_BYTES
from streams.errors import StreamsConfigError, WorkerFatal
from streams.fencing import Fencing
from streams.holdings import Holdings
from streams.kafka import consumer_properties, producer_properties
from streams.lifecycle import Drained, Failed, Lifecycle, Opened, StopRequested
from streams.limits import LimitWatch
from streams.monitor import Monitor
from streams.outputs import Outputs
from streams.processor import Batch, Processor
from streams.publisher import BatchAbandonedError, Publisher, RecordTooLargeError
from streams.recovery import Recovery, RecoveryEvents
from streams.redis_view import RedisView
from streams.source import Partition, Records, Source
from streams.stopping import StopRequest
from streams.view_repair import ViewRepair
from streams.watchdog import LogEnds, Watchdog, WatchdogEvents, stacks

__all__ = ["Worker", "run"]

log = structlog.get_logger("vigil.worker")

TOPIC_PAUSE_SECONDS = 1.0
HANG_SECONDS = 10.0  # what the bound of a stop may take longer: the parts that are closed one after the other


class Worker:
    """One member of the consumer group, in the thread that calls ``run``.

    Args:
        scorers: the streams to read, with their detectors.
        config: how to run.
        kafka: where to read and publish.
        redis: where to keep the live view; ``None`` for no view.
        registry: where the metrics go; a registry of its own when ``None``.

    Raises:
        StreamsConfigError: settings that cannot work.
    """

    publisher_class: ClassVar[type[Publisher]] = Publisher
    """How batches are published; what exactly-once costs is measured against another one."""

    def __init__(
        self,
        scorers: Sequence[StreamScorer],
        config: WorkerConfig,
        kafka: KafkaConfig,
        redis: RedisConfig | None = None,
        *,
        registry: CollectorRegistry | None = None,
    ) -> None:
        by_topic = {kafka.topic(each.stream.name, each.stream.topic): each for each in scorers}
        if not scorers or len(by_topic) != len(scorers):
            raise StreamsConfigError("a worker reads at least one stream, and each stream from a topic of its own")
        transactional_id = kafka.transactional_id()
        self.name = kafka.group_instance_id or transactional_id
        self.registry = registry or CollectorRegistry()
        self._config = config
        self._stop = StopRequest(config.shutdown_s)
        state = kafka.topic("state", STATE.name)
        logs = changelogs(by_topic, group=kafka.group_id, topic=state, config=config.state)
        self._processor = Processor(by_topic, max_record_bytes=config.max_record_bytes, changelogs=logs)
        self._limits = LimitWatch(config.limits)
        self._outputs = Outputs(kafka, dead_letter_max_bytes=config.dead_letter_max_bytes, worker=transactional_id)
        properties = consumer_properties(kafka, statistics_s=config.statistics_s)
        largest = config.dead_letter_max_bytes + ENVELOPE_BYTES
        producing = partial(producer_properties, kafka, message_max_bytes=largest)
        self.monitor = Monitor(
            config,
            self.registry,
            self._processor,
            lifecycle=lambda: self.lifecycle,
            source=lambda: self._source.state,
            restoring=lambda: self._holdings.restoring,
        )
        self._holdings = Holdings(self._processor, self._limits, stop=self._stop, alive=self.monitor.health.beat)
        if config.state.enabled:
            self._holdings.recovery = Recovery(
                properties,
                group=kafka.group_id,
                topic=state,
                within_s=kafka.max_poll_interval_ms / 2000,
                stop=self._stop,
                fencing=Fencing(transactional_id, lambda name: Producer(producing(transactional_id=name))),
                events=RecoveryEvents(self.monitor.restored, self._unstable, self.monitor.health.beat),
            )
        self._source = Source(
            properties,
            list(by_topic),
            on_assigned=self._holdings.assigned,
            on_revoked=self._holdings.revoked,
        )
        self.monitor.metrics.worker.info({"name": self.name, "group": kafka.group_id})
        self._publisher = self.publisher_class(
            producing(transactional_id=transactional_id),
            stop=self._stop,
            count=self.monitor.metrics.ended,
            alive=self.monitor.health.beat,
        )
        self._watchdog = Watchdog(
            self.monitor.looks,
            LogEnds(properties),
            stuck_s=config.stuck_s,
            exit_s=config.stuck_exit_s or None,
            events=WatchdogEvents(self.monitor.metrics.stuck.set, self._give_up),
        )
        self._failure = ""
        self._ended = threading.Event()
        self.on_hang: Callable[[], None] = lambda: None
        """Called, on another thread, when the worker had to end and did not."""
        self._repair = None
        if redis is not None:
            self.monitor.view = RedisView(
                redis, worker=self.name, events=self.monitor.metrics, counters=self.monitor.counters
            )
            self._repair = ViewRepair(self.monitor.view, self._processor.silences)

    @property
    def lifecycle(self) -> Lifecycle:
        """Phase and partitions held."""
        return self._holdings.lifecycle

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of ``/metrics``, ``None`` without a server."""
        return self.monitor.server.address if self.monitor.server is not None else None

    def stop(self) -> None:
        """Ask to stop: finish the batch, commit, leave the group, write Redis. For any thread or signal handler."""
        self._stop.request()

    def run(self) -> None:
        """Work until asked to stop.

        Raises:
            WorkerFatal: the process must end with a non-zero status and be started again.
        """
        try:
            self._work()
        except BaseException as error:
            self._holdings.handle(Failed(str(error) or repr(error)))
            raise
        finally:
            self._close()
            self._ended.set()

    def _work(self) -> None:
        if self.monitor.server is not None:
            self.monitor.server.start()
        if self.monitor.view is not None:
            self.monitor.view.start()
        self._watchdog.start()
        try:
            self._open()
            while not self._stop.requested:
                self._turn()
                self.monitor.turned()
            self._save()
            self._holdings.handle(StopRequested())
        except BatchAbandonedError as reason:
            # Asked to stop while Kafka is away: what was not committed is read again by whoever gets the partitions.
            log.warning("stopping with an unfinished batch", reason=str(reason))
        if self._failure:
            raise WorkerFatal(self._failure)

    def _open(self) -> None:
        """Fence earlier workers of the same name, wait for the topics, join the group."""
        health, last = self.monitor.health, None
        health.waiting = "waiting for Kafka"
        # The consumer first: it hears why a broker refuses it, and raises where waiting is of no use.
        while not self._stop.requested and self._source.missing_topics() is None:
            health.beat()
            self._stop.pause(TOPIC_PAUSE_SECONDS)
        self._publisher.open()
        while not self._stop.requested:
            missing = self._source.missing_topics(self._outputs.topics)
            health.beat()
            if missing == [] and (count := self._source.count_partitions(self._outputs.anomalies)):
                self._outputs.anomaly_partitions = count
                health.waiting = ""
                recovery = self._holdings.recovery
                if recovery is not None and not recovery.possible(self._source.missing_topics):
                    self._holdings.recovery = None
                self._holdings.handle(Opened())
                self._source.join()
                return
            if missing is not None and missing != last:
                log.error("topics do not exist", topics=missing, fix="vigil topics create")
            health.waiting = f"topics do not exist: {', '.join(missing)}" if missing else "waiting for Kafka"
            last = missing
            self._stop.pause(TOPIC_PAUSE_SECONDS)

    def _turn(self) -> None:
        """One batch."""
        began = time.perf_counter()
        records = self._source.read(self._config.batch_max, wait=self._config.idle_s, linger=self._config.linger_s)
        self.monitor.health.beat()
        read = time.perf_counter()
        if self._holdings.unstable:
            self._commit_again()
        if not records:
            self.monitor.metrics.spent({"idle": read - began})
            self._publisher.serve()
            return
        self.monitor.busy = True
        self._work_through(records, read - began)
        self.monitor.busy = False

    def _work_through(self, records: Sequence[Records], consume_s: float) -> None:
        batch = self._processor.process(records)
        self.monitor.replayed(batch, records)
        if not batch.offsets:
            return
        self._limits.check(batch, self.monitor.metrics.limit.inc)
        processed = time.perf_counter()
        try:
            self._publish(batch)
        except BatchAbandonedError as reason:
            if self._stop.overdue:
                raise
            log.warning("batch abandoned, its partitions are read again from what is committed", reason=str(reason))
            self._holdings.abandon(batch, self._source)
            return
        published = time.perf_counter()
        self.monitor.committed(batch)
        if self.monitor.view is not None:
            self.monitor.view.offer(batch.verdicts, batch.columns)
        if self._repair is not None:
            self._repair.committed(batch.offsets, self.lifecycle.held)
        self.monitor.health.beat()
        seconds = {"consume": consume_s, "publish": published - processed, "view": time.perf_counter() - published}
        self.monitor.metrics.spent(seconds)

    def _save(self) -> None:
        """Save every window that changed, so that whoever has the partitions next need not read records again."""
        batch = self._processor.unsaved()
        if batch.offsets and not self._stop.overdue:
            self._publish(batch)
            self.monitor.committed(batch)

    def _publish(self, batch: Batch) -> None:
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in batch.offsets.items()]
        while True:
            try:
                self._publisher.publish(self._outputs.records(batch), offsets, self._source)
            except RecordTooLargeError as error:
                # The dead-letter topic takes less than configured: cut more, since the source still has the whole.
                if not batch.dead_letters or not self._outputs.shrink():
                    raise WorkerFatal(f"Kafka takes no record of this batch, for its size: {error}") from error
                log.warning("the dead-letter topic takes less", max_bytes=self._outputs.dead_letter_max_bytes)
            else:
                return

    def _unstable(self, offsets: Mapping[Partition, int]) -> None:
        self._holdings.unstable.update(offsets)
        self.monitor.metrics.unstable.inc(len(offsets))

    def _commit_again(self) -> None:
        """Commit what the state topic said is committed; the end of this transaction ends what Kafka left open too."""
        offsets = [TopicPartition(topic, number, at) for (topic, number), at in self._holdings.unstable.items()]
        try:
            self._publisher.publish([], offsets, self._source)
        except BatchAbandonedError as reason:
            log.warning("offsets are not committed again yet", reason=str(reason))
            if self._stop.overdue:
                raise
        else:
            self._holdings.unstable.clear()

    def _give_up(self, reason: str) -> None:
        """End, from the watchdog's thread; the loop may hang where it cannot see that."""
        log.critical("ending", reason=reason)
        self._failure = reason
        self._stop.request()
        if not self._ended.wait(self._config.shutdown_s + HANG_SECONDS):
            log.critical("the worker hangs", stacks=stacks())
            self.on_hang()

    def _close(self) -> None:
        """Leave in order, each part even when an earlier one fails; everything waits for a bounded time only."""
        with ExitStack() as last_first:
            last_first.callback(self._watchdog.close)
            if self.monitor.server is not None:
                last_first.callback(self.monitor.server.close)
            last_first.callback(self._holdings.handle, Drained())
            last_first.callback(self._close_view)
            last_first.callback(self._publisher.close)
            last_first.callback(self._source.close)
        counted = self.monitor
        log.info("stopped", records=counted.records, anomalies=counted.anomalies, dead_letters=counted.dead_letters)

    def _close_view(self) -> None:
        view = self.monitor.view
        if view is not None and not view.close(timeout=self._config.shutdown_s / 2):
            log.warning("Redis did not take the last verdicts; each node's next step repairs the view")


def run(worker: Worker) -> int:
    """Run a worker in the main thread until SIGTERM or SIGINT; a second signal ends it the hard way.

    Returns:
        Exit status: 0 after a clean stop, 1 when the worker cannot go on.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        worker.stop()
        signal.signal(number, signal.SIG_DFL)

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    worker.on_hang = lambda: os._exit(1)
    try:
        worker.run()
    except WorkerFatal as error:
        log.critical("the worker cannot go on", reason=str(error))
        return 1
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
    return 0
