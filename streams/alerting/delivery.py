"""Tells one sink of the alerts in the topic, in a consumer group of its own, until it has taken each."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Final

import aiohttp
import msgspec
import structlog

from schemas.errors import UNREADABLE
from schemas.outputs import Alert
from streams.alerting.backlog import FIRST_RETRY_SECONDS, Backlog, Entry
from streams.alerting.config import AlertingConfig
from streams.alerting.controls import Controls
from streams.alerting.metrics import AlertMetrics
from streams.alerting.sinks import Sink, SinkAwayError, SinkRefusedError
from streams.alerting.subscription import Record, Subscription
from streams.config import KafkaConfig

__all__ = ["Delivery"]

log = structlog.get_logger("vigil.alerts")

HOLD_SECONDS: Final = 1.0
HELD_MOST: Final = 1_000


class Delivery:
    """One sink's reader of the alerts topic.

    Whoever comes next finds in the topic what has to be told, and in the commit what was: it is committed after each
    call that the sink took, before the next. So a kill repeats the call that was under way, and no other.

    Args:
        sink: whom to tell.
        kafka: where, and as whom.
        config: names and times.
        topic: of the alerts.
        controls: what people said, as it is now.
        metrics: where to count.
    """

    def __init__(
        self,
        sink: Sink,
        kafka: KafkaConfig,
        config: AlertingConfig,
        topic: str,
        *,
        controls: Controls,
        metrics: AlertMetrics,
    ) -> None:
        self._sink, self._config, self._topic, self._metrics = sink, config, topic, metrics
        self._controls, self._controls_told = controls, -1
        self._backlog = Backlog(resend_s=sink.resend_s, retry_s=config.sinks.retry_s)
        self._decoder = msgspec.json.Decoder(Alert)
        self._stopping = False
        self._away_until, self._failures = 0.0, 0
        self._subscription = Subscription(sink, kafka, config, topic, told=self._backlog.told, lost=self._lose)

    async def run(self) -> None:
        """Tell until asked to stop; then commit what was told and leave the group."""
        self._subscription.open()
        self._metrics.sink_up.labels(self._sink.name).set(1)
        timeout = aiohttp.ClientTimeout(total=self._config.sinks.timeout_s)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not self._stopping:
                for record in await asyncio.to_thread(self._subscription.read):
                    self._take(record)
                if self._subscription.is_current:
                    await self._tell(session)
                await asyncio.to_thread(self._subscription.commit)
                self._metrics.waiting.labels(self._sink.name).set(self._backlog.waiting)
        await asyncio.to_thread(self._subscription.close)

    def stop(self) -> None:
        """Ask to stop."""
        self._stopping = True

    def _take(self, record: Record) -> None:
        number, offset = record.partition, record.offset
        try:
            alert = self._decoder.decode(record.value)
        except UNREADABLE as error:
            log.warning("no alert, passed over", topic=self._topic, part=number, offset=offset, error=str(error))
            return
        self._backlog.put(alert, number, offset, time.monotonic(), told=record.told, heard=record.heard)

    def _lose(self, partition: int) -> None:
        self._backlog.drop(partition)
        self._sink.forget()

    async def _tell(self, session: aiohttp.ClientSession) -> None:
        """Tell what is due; one that is away is left alone for a while."""
        while time.monotonic() >= self._away_until:
            due: list[Entry] = []
            try:
                await self._tell_controls(session)
                due = self._due()
                if not due:
                    return
                await self._tell_some(session, due)
            except SinkAwayError as error:
                self._note_away(due, str(error))
                return
            if self._failures:
                log.info("the sink is back", sink=self._sink.name, waiting=self._backlog.waiting)
            self._failures = 0
            self._metrics.sink_up.labels(self._sink.name).set(1)

    async def _tell_controls(self, session: aiohttp.ClientSession) -> None:
        """Tell what people said before anything else: a silence has to be there before what it silences."""
        version = self._controls.version
        if version == self._controls_told:
            return
        try:
            await self._sink.tell_controls(session, self._controls)
        except SinkRefusedError as error:
            log.warning("the sink refuses a silence", sink=self._sink.name, error=str(error))
        self._controls_told = version

    def _due(self) -> list[Entry]:
        """Choose what to tell now; what is silenced waits, where the sink would tell somebody."""
        due = []
        for entry in self._backlog.due(time.monotonic(), HELD_MOST):
            silence = None if self._sink.takes_silenced else self._controls.silence_of(entry.alert, _wall_ms())
            if silence is None or (entry.alert.status != "firing" and self._backlog.was_told(entry.alert)):
                due.append(entry)
            elif self._backlog.hold(entry, time.monotonic() + HOLD_SECONDS):
                said = {"by": silence.by, "comment": silence.comment, "silence": silence.id}
                log.info("silenced", sink=self._sink.name, alert=entry.alert.fingerprint, **said)
                self._metrics.deliveries.labels(self._sink.name, "silenced").inc()
        return due[: self._sink.most]

    async def _tell_some(self, session: aiohttp.ClientSession, entries: Sequence[Entry]) -> None:
        """Tell some at once; when they are refused, each alone, so that one does not hold up the others."""
        try:
            await self._sink.tell(session, [one.alert for one in entries])
        except SinkRefusedError as error:
            if len(entries) > 1:
                for one in entries:
                    await self._tell_some(session, [one])
                return
            [entry] = entries
            self._backlog.failed(entry, time.monotonic())
            self._metrics.deliveries.labels(self._sink.name, "refused").inc()
            refused = entry.alert.fingerprint
            log.warning("the sink refuses an alert", sink=self._sink.name, alert=refused, error=str(error))
            return
        for one in entries:
            self._backlog.done(one, time.monotonic())
        self._metrics.deliveries.labels(self._sink.name, "ok").inc(len(entries))
        await asyncio.to_thread(self._subscription.commit)

    def _note_away(self, entries: Sequence[Entry], error: str) -> None:
        if not self._failures:
            log.warning("the sink is away, what it has to know waits", sink=self._sink.name, error=error)
        self._failures += 1
        pause = min(self._config.sinks.retry_s, FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 20))
        self._away_until = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 -- spreads attempts
        self._metrics.sink_up.labels(self._sink.name).set(0)
        self._metrics.deliveries.labels(self._sink.name, "away").inc(len(entries))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
