"""The service around the alert core: collects anomalies, lets time pass, writes rows and alerts, tells sinks."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry

from detectors.alerts import Policy
from schemas.codec import encode
from schemas.topics import ALERTS, ALERTS_STATE, ANOMALIES
from streams.alerting.config import AlertingConfig
from streams.alerting.faust_app import Names, make_app, make_topic
from streams.alerting.ledger import Ledger, Writes
from streams.alerting.metrics import AlertMetrics
from streams.alerting.timekeeper import Timekeeper, Timing
from streams.config import KafkaConfig
from streams.errors import StreamsConfigError
from streams.http import HealthServer, Probe
from streams.topics import admin_client

__all__ = ["AlertService", "run"]

log = structlog.get_logger("vigil.alerts")

TOPIC_PAUSE_SECONDS: Final = 1.0
STOP_SECONDS: Final = 20.0
LOOK_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 5.0

T = TypeVar("T")


class AlertService:
    """One instance of the alert service. ``run`` it once.

    Args:
        kafka: where, as whom, and the names of topics.
        config: how.
        policy: of alerts.
        registry: where the metrics go; one of its own when ``None``.

    Raises:
        StreamsConfigError: settings that cannot work.
    """

    def __init__(
        self,
        kafka: KafkaConfig,
        config: AlertingConfig,
        *,
        policy: Policy | None = None,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self._kafka, self._config = kafka, config
        self.metrics = AlertMetrics(registry or CollectorRegistry())
        self._ledger = Ledger(policy)
        self._inbox: asyncio.Queue[Any] = asyncio.Queue(2 * config.batch_max)
        self._lock = asyncio.Lock()
        self._stop = asyncio.Event()
        self._timing: Timing | None = None
        self._beat = time.monotonic()
        self._restored = False
        self._looked = 0.0
        self._thread = ThreadPoolExecutor(1, "alert-clock")
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
        app = self._assemble(names, keeper)
        log.info("starting", clock=self._config.clock, group=self._config.group_id, partitions=names.partitions)
        await app.start()
        tasks = [asyncio.create_task(one) for one in (self._work(), self._keep_time(keeper))]
        asked = asyncio.create_task(self._stop.wait())
        crashed = asyncio.create_task(app.wait_until_stopped())
        done, _ = await asyncio.wait([*tasks, asked, crashed], return_when=asyncio.FIRST_COMPLETED)
        for one in done - {asked}:
            one.result()
            raise app.crash_reason or RuntimeError("Faust ended by itself")
        tasks[1].cancel()
        await app.stop()
        tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._in_thread(keeper.close)
        log.info("stopped", anomalies=self._ledger.taken)

    def close(self) -> None:
        """Let go of the port and the thread."""
        if self._server is not None:
            self._server.close()
        self._thread.shutdown(wait=False)

    def _assemble(self, names: Names, keeper: Timekeeper) -> Any:
        app = make_app(self._kafka, self._config, names)
        state = make_topic(app, names.state, names.partitions)
        self._table = app.Table("alerts", changelog_topic=state, key_type=bytes, value_type=bytes)
        self._alerts = make_topic(app, names.alerts)

        async def collect(stream: Any) -> None:
            async for event in stream.noack().events():
                await self._inbox.put(event)

        async def restored(*_: Any, **__: Any) -> None:
            assigned = [each.partition for each in app.consumer.assignment() if each.topic == names.anomalies]
            await self._restore(await self._in_thread(lambda: keeper.follower.ends(assigned)))

        app.agent(make_topic(app, names.anomalies, names.partitions), name="anomalies")(collect)
        self._on_restored = app.on_rebalance_complete.connect(restored, weak=False)
        return app

    async def _restore(self, ends: dict[int, int]) -> None:
        async with self._lock:
            unsent = self._ledger.assign(ends, dict(self._table.data.items()))
            if unsent.alerts:
                log.warning("publishing what a crash may have left unpublished", alerts=len(unsent.alerts))
            await self._write(unsent)
            self._restored = True
        log.info("partitions", held=sorted(ends))

    async def _work(self) -> None:
        """Take in anomalies, batch by batch; Faust commits a batch's offsets after it is written."""
        while True:
            events = [await self._inbox.get()]
            deadline = time.monotonic() + self._config.linger_s
            while len(events) < self._config.batch_max and (left := deadline - time.monotonic()) > 0:
                try:
                    events.append(await asyncio.wait_for(self._inbox.get(), left))
                except TimeoutError:
                    break
            async with self._lock:
                held = [each for each in events if each.message.partition in self._ledger.partitions]
                for each in held:
                    self._ledger.take(each.message.partition, each.message.offset, each.value)
                await self._pass_time()
            for each in held:
                each.ack()

    async def _keep_time(self, keeper: Timekeeper) -> None:
        """Let event time pass, also while no anomaly comes."""
        away = False
        while True:
            try:
                self._timing = await self._in_thread(keeper.read) or self._timing
                away = False
            except KafkaException as error:
                if not away:
                    log.warning("event time stands still: waiting for Kafka", error=error.args[0].str())
                away = True
            async with self._lock:
                await self._pass_time()
            self._beat = time.monotonic()
            self._look()
            await asyncio.sleep(self._config.tick_s)

    async def _pass_time(self) -> None:
        """Decide what can be decided and write what changed; the caller holds the lock."""
        if self._timing is not None and self._ledger.advance(self._timing.now_ms, self._timing.needed):
            self.metrics.event_time.set(self._timing.now_ms / 1000)
        await self._write(self._ledger.writes())

    async def _write(self, writes: Writes) -> None:
        """Write rows, then alerts, then the rows without them; each is in Kafka before the next begins."""
        if not writes.rows and not writes.alerts:
            return
        with self.metrics.write.time():
            await self._write_rows(writes.rows)
            sent = [await self._alerts.send(key=one.fingerprint.encode(), value=encode(one)) for one in writes.alerts]
            await asyncio.gather(*sent)
            await self._write_rows(writes.settled)
        self.metrics.published(writes.alerts)
        for one in writes.alerts:
            log.info(
                "alert", status=one.status, severity=one.severity, summary=one.summary, fingerprint=one.fingerprint
            )

    async def _write_rows(self, rows: Sequence[tuple[int, bytes, bytes | None]]) -> None:
        written: list[Awaitable[Any]] = []
        for partition, key, value in rows:
            if value is None:
                self._table.data.pop(key, None)
            else:
                self._table.data[key] = value
            written.append(self._table.send_changelog(partition, key, value))
        await asyncio.gather(*written)

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
        anomalies = self._kafka.topic("anomalies", ANOMALIES.name)
        alerts = self._kafka.topic("alerts", ALERTS.name)
        state = self._kafka.topic("alerts-state", ALERTS_STATE.name)
        said = ""
        while not self._stop.is_set():
            counts = await self._in_thread(self._count_partitions)
            missing = [name for name in (anomalies, alerts, state) if not counts.get(name)]
            if not missing:
                if counts[state] != counts[anomalies]:
                    raise StreamsConfigError(
                        f"topic {state} has {counts[state]} partitions and {anomalies} {counts[anomalies]}: they must "
                        f"have as many, delete {state} and run vigil topics create"
                    )
                return Names(anomalies, alerts, state, counts[anomalies])
            waiting = f"topics do not exist: {', '.join(missing)}" if counts else "waiting for Kafka"
            if waiting != said:
                log.error(waiting, fix="vigil topics create") if counts else log.warning(waiting)
            said = waiting
            self._beat = time.monotonic()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), TOPIC_PAUSE_SECONDS)
        return None

    def _count_partitions(self) -> dict[str, int]:
        try:
            topics = admin_client(self._kafka).list_topics(timeout=ANSWER_SECONDS).topics
        except KafkaException:
            return {}
        return {name: len(topic.partitions) for name, topic in topics.items() if topic.error is None}

    def _serve(self) -> None:
        if self._config.http_port is None:
            return
        self._server = HealthServer(
            self._config.http_host,
            self._config.http_port,
            registry=self.metrics.registry,
            healthy=self._healthy,
            ready=self._ready,
        )
        self._server.start()

    def _healthy(self) -> Probe:
        age = time.monotonic() - self._beat
        facts = {"seconds_since_turn": round(age, 3)}
        if age > self._config.healthy_s:
            return Probe(False, (f"the service has not turned for {age:.0f} s",), facts)
        return Probe(True, (), facts)

    def _ready(self) -> Probe:
        reasons = list(self._healthy().reasons)
        if not self._restored:
            reasons.append("what is remembered of alerts is not back yet")
        event_ms = self._timing.now_ms if self._timing is not None else None
        facts = {"partitions": sorted(self._ledger.partitions), "event_time_ms": event_ms}
        return Probe(not reasons, tuple(reasons), facts)


def run(make: Callable[[], AlertService]) -> int:
    """Run a service in the main thread until SIGTERM or SIGINT.

    Args:
        make: makes it, on the event loop.

    Returns:
        Exit status 0 after a clean stop. When it cannot go on, or does not stop in time, the process ends with status 1
        on the spot: nothing that was not written may be committed.
    """

    async def main() -> None:
        service, loop = make(), asyncio.get_running_loop()

        def ask() -> None:
            service.stop()
            loop.call_later(STOP_SECONDS, _end, "it did not stop in time")

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ask)
        try:
            await service.run()
        except StreamsConfigError:
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, the process has to end here
            _end(f"{type(error).__name__}: {error}")
        finally:
            service.close()

    asyncio.run(main())
    return 0


def _end(reason: str) -> None:
    log.critical("the alert service cannot go on", reason=reason)
    os._exit(1)
