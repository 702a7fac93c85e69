"""The service around the alert core: collects anomalies, lets time pass, writes rows and alerts, tells sinks."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry

from detectors.alerts import Policy
from streams.alerting.alertmanager import Alertmanager
from streams.alerting.config import AlertingConfig
from streams.alerting.controls import Controls, ControlsReader
from streams.alerting.delivery import Delivery
from streams.alerting.faust_app import make_app, make_topic, read_from
from streams.alerting.health import ServiceHealth
from streams.alerting.ledger import Ledger
from streams.alerting.metrics import AlertMetrics
from streams.alerting.names import Names, count_partitions, names_of
from streams.alerting.redis_alerts import RedisAlerts
from streams.alerting.sinks import Sink
from streams.alerting.timekeeper import Timekeeper, Timing
from streams.alerting.webhook import Webhook
from streams.alerting.writer import Writer
from streams.config import KafkaConfig, RedisConfig
from streams.errors import WorkerFatal
from streams.http import HealthServer
from streams.redis_client import async_redis_client

__all__ = ["AlertService"]

log = structlog.get_logger("vigil.alerts")

TOPIC_PAUSE_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 5.0
LAST_WORDS_SECONDS: Final = 5.0
WRITE_SHARE: Final = 3.0  # times that collecting lasts as long as writing did
LONGEST_LINGER_SECONDS: Final = 1.0

T = TypeVar("T")


class AlertService:
    """One instance of the alert service. Make it on the event loop, ``run`` it once.

    Args:
        kafka: where, as whom, and the names of topics.
        config: how.
        redis: where the view of alerts is kept; none when ``None``.
        policy: of alerts.
        registry: where the metrics go; one of its own when ``None``.

    Raises:
        StreamsConfigError: settings that cannot work.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        config: AlertingConfig,
        redis: RedisConfig | None = None,
        *,
        policy: Policy | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._kafka, self._config, self._redis = kafka, config, redis
        self.metrics = AlertMetrics(registry or CollectorRegistry())
        self._ledger = Ledger(policy)
        self._inbox: asyncio.Queue[tuple[int, Any]] = asyncio.Queue(2 * config.batch_max)
        self._assignment = 0  # counts them; what was read under an earlier one is read again
        self._lock = asyncio.Lock()
        self._stop, self._timed = asyncio.Event(), asyncio.Event()
        self._timing: Timing | None = None
        self._looked = self._wrote_s = self._unready_s = 0.0
        self._thread = ThreadPoolExecutor(1, "alert-clock")
        self._health = ServiceHealth(config.healthy_s, self._facts)
        self._server: HealthServer | None = None

    def stop(self) -> None:
        """Ask to stop: what was collected is written first."""
        self._stop.set()

    async def run(self) -> None:
        """Work until asked to stop.

        Raises:
            Exception: whatever it cannot go on after. Nothing that was not written is committed then: end the process
                without closing anything, and start it again.
        """
        self._serve()
        names = await self._wait_for_topics()
        if names is None:
            return
        keeper = Timekeeper(self._kafka, self._config, names.anomalies)
        reader = ControlsReader(self._kafka, names.controls)
        controls = await self._in_thread(reader.read_all)
        self._ledger.weigh(controls.levels())
        app = self._assemble(names, keeper)
        deliveries = [
            Delivery(one, self._kafka, self._config, names.alerts, controls=controls, metrics=self.metrics)
            for one in self._sinks()
        ]
        log.info("starting", clock=self._config.clock, group=self._config.group_id, partitions=names.partitions)
        work, timing = asyncio.create_task(self._work()), asyncio.create_task(self._keep_time(keeper, reader))
        started = asyncio.create_task(app.start())  # it waits for partitions, for ever if need be
        for one in (await asyncio.wait([started, timing], return_when=asyncio.FIRST_COMPLETED))[0]:
            one.result()
        telling = [asyncio.create_task(one.run()) for one in deliveries]
        asked, crashed = asyncio.create_task(self._stop.wait()), asyncio.create_task(app.wait_until_stopped())
        done, _ = await asyncio.wait([work, timing, *telling, asked, crashed], return_when=asyncio.FIRST_COMPLETED)
        for one in done - {asked}:
            one.result()
            raise WorkerFatal(f"Faust ended by itself: {app.crash_reason!r}")
        timing.cancel()
        await app.stop()  # waits until what was collected is written and its offsets are committed
        work.cancel()
        for delivery in deliveries:
            delivery.stop()
        if telling:
            await asyncio.wait(telling, timeout=LAST_WORDS_SECONDS)
        await asyncio.gather(work, timing, return_exceptions=True)
        await self._in_thread(keeper.close)
        await self._in_thread(reader.close)
        log.info("stopped", anomalies=self._ledger.taken)

    def close(self) -> None:
        """Let go of the port and the thread."""
        if self._server is not None:
            self._server.close()
        self._thread.shutdown(wait=False)

    def _sinks(self) -> Iterator[Sink]:
        sinks = self._config.sinks
        for url in sinks.alertmanagers:
            yield Alertmanager(url, sinks)
        for url in sinks.webhooks:
            yield Webhook(url, sinks)
        if self._redis is not None:
            yield RedisAlerts(self._redis, async_redis_client(self._redis))

    def _assemble(self, names: Names, keeper: Timekeeper) -> Any:
        app = make_app(self._kafka, self._config, names.partitions)
        state = make_topic(app, names.state, names.partitions)
        table = app.Table("alerts", changelog_topic=state, key_type=bytes, value_type=bytes)
        self._writer = Writer(table, make_topic(app, names.alerts), names.alert_partitions, self.metrics)

        async def collect(stream: Any) -> None:
            async for event in stream.noack().events():
                await self._inbox.put((self._assignment, event))

        async def restored(*_: Any, **__: Any) -> None:
            assigned = [each.partition for each in app.consumer.assignment() if each.topic == names.anomalies]
            ends = await self._in_thread(lambda: keeper.follower.ends(assigned))
            await self._restore(ends, await self._in_thread(lambda: keeper.follower.committed(assigned)))
            read_from(app, names.anomalies, self._ledger.starts())

        app.agent(make_topic(app, names.anomalies, names.partitions), name="anomalies")(collect)
        app.on_rebalance_complete.connect(restored, weak=False)
        return app

    async def _restore(self, ends: dict[int, int], committed: dict[int, int]) -> None:
        async with self._lock:
            self._assignment += 1
            unsent = self._ledger.assign(ends, self._writer.rows(), committed)
            self._writer.forget(self._ledger.foreign)
            if unsent.alerts:
                log.warning("publishing what a crash may have left unpublished", alerts=len(unsent.alerts))
            await self._writer.write(unsent)
        self._health.waiting = ""
        log.info("partitions", held=sorted(ends))

    async def _work(self) -> None:
        """Take in anomalies, batch by batch; a batch's offsets are committed after it is written, never before."""
        await self._timed.wait()  # without a time to let pass, anomalies of hours would wait here instead of in Kafka
        while True:
            events = await self._collect()
            async with self._lock:
                held = [each for assignment, each in events if assignment == self._assignment]
                for each in held:
                    self._ledger.take(each.message.partition, each.message.offset, each.value)
                began = time.monotonic()
                await self._pass_time()
                self._wrote_s = time.monotonic() - began
            for each in held:
                each.ack()

    async def _collect(self) -> list[tuple[int, Any]]:
        """Collect a batch; the longer the last one took to write, the longer, so that a storm is few large writes."""
        events = [await self._inbox.get()]
        slow_s = min(WRITE_SHARE * self._wrote_s, LONGEST_LINGER_SECONDS)
        deadline = time.monotonic() + max(self._config.linger_s, slow_s)
        while len(events) < self._config.batch_max:
            if not self._inbox.empty():
                events.append(self._inbox.get_nowait())
                continue
            left = deadline - time.monotonic()
            try:
                events.append(await asyncio.wait_for(self._inbox.get(), max(0.0, left)))
            except TimeoutError:
                break
        return events

    async def _keep_time(self, keeper: Timekeeper, reader: ControlsReader) -> None:
        """Let event time pass, also while no anomaly comes, and heed what people say."""
        away, heeded = False, -1
        while True:
            began = time.monotonic()
            try:
                self._timing = await self._in_thread(keeper.read) or self._timing
                away = False
                if self._timing is not None:
                    self._timed.set()
            except KafkaException as error:
                if not away:
                    log.warning("event time stands still: waiting for Kafka", error=error.args[0].str())
                away = True
            await self._in_thread(reader.poll)
            async with self._lock:
                if not self._health.waiting:
                    if reader.controls.version != heeded:
                        heeded = reader.controls.version
                        self._heed(reader.controls)
                    await self._pass_time()
            self._health.beat()
            self.metrics.looks.inc()
            self._look()
            await asyncio.sleep(self._config.tick_s)
            if not away:
                self._check_ready(time.monotonic() - began)

    def _check_ready(self, seconds: float) -> None:
        """End where partitions do not come though Kafka answers: Faust's client may have given up, and says nothing.

        Raises:
            WorkerFatal: for longer than ``stuck_exit_s``, of the time in which Kafka answered.
        """
        self._unready_s = self._unready_s + seconds if self._health.waiting else 0.0
        if 0 < self._config.stuck_exit_s < self._unready_s:
            raise WorkerFatal(f"{self._health.waiting}, for {self._unready_s:.0f} s in which Kafka answered")

    async def _pass_time(self) -> None:
        """Decide what can be decided and write what changed; the caller holds the lock."""
        if self._timing is not None and self._ledger.advance(self._timing.now_ms, self._timing.needed):
            self.metrics.event_time.set(self._timing.now_ms / 1000)
        await self._writer.write(self._ledger.writes())

    def _heed(self, controls: Controls) -> None:
        """Take over levels and acknowledgements; one of a change that is not the newest makes no difference."""
        self._ledger.weigh(controls.levels())
        self.metrics.told(controls.feedback())
        for one in controls.acknowledgements():
            if self._ledger.acknowledge(one.fingerprint, one.change):
                log.info("acknowledged", alert=one.fingerprint, by=one.by, comment=one.comment)

    def _look(self) -> None:
        ledger = self._ledger
        totals = {"taken": ledger.taken, "repeated": ledger.repeated, "unreadable": ledger.unreadable}
        self.metrics.count({**totals, "overflow": ledger.overflow()})
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self.metrics.look(ledger.planes())

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _wait_for_topics(self) -> Names | None:
        """Wait until the topics exist; ``None`` when asked to stop before."""
        said = ""
        while not self._stop.is_set():
            names = names_of(self._kafka, await self._in_thread(lambda: count_partitions(self._kafka)))
            if isinstance(names, Names):
                return names
            if names != said:
                log.error(names, fix="vigil doctor says what is wrong; vigil topics create makes topics")
            said = names
            self._health.beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), TOPIC_PAUSE_SECONDS)
        return None

    def _serve(self) -> None:
        config, health = self._config, self._health
        if config.http_port is not None:
            self._server = HealthServer(
                config.http_host,
                config.http_port,
                registry=self.metrics.registry,
                healthy=health.healthy,
                ready=health.ready,
            )
            self._server.start()

    def _facts(self) -> Iterator[tuple[str, Any]]:
        yield "partitions", sorted(self._ledger.partitions)
        yield "event_time_ms", None if self._timing is None else self._timing.now_ms
