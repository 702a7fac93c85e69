"""Writes what the ledger wants written, each part in Kafka before the next begins."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any

import structlog

from schemas.codec import encode
from schemas.outputs import Alert
from schemas.topics import partition_of
from streams.alerting.ledger import Writes
from streams.alerting.metrics import AlertMetrics

__all__ = ["Writer"]

log = structlog.get_logger("vigil.alerts")


class Writer:
    """Rows into the table's changelog, alerts into their topic.

    Args:
        table: Faust's table.
        alerts: Faust's topic of the alerts.
        partitions: of that topic. All alerts of a scope share one, so that their order holds.
        metrics: where to count.
    """

    def __init__(self, table: Any, alerts: Any, partitions: int, metrics: AlertMetrics) -> None:
        self._table, self._alerts, self._partitions, self._metrics = table, alerts, partitions, metrics

    def rows(self) -> dict[bytes, bytes]:
        """Return the whole table."""
        return dict(self._table.data.items())

    def forget(self, keys: Iterable[bytes]) -> None:
        """Forget rows without deleting them: Faust reads a partition's rows again when it comes back."""
        for key in keys:
            self._table.data.pop(key, None)

    async def write(self, writes: Writes) -> None:
        """Write rows, then alerts, then the rows without them.

        Raises:
            Exception: Kafka did not take something in time; nothing after it is written.
        """
        if not writes.rows and not writes.alerts:
            return
        with self._metrics.write.time():
            await self._write_rows(writes.rows)
            await asyncio.gather(*[await self._send(one) for one in writes.alerts])
            await self._write_rows(writes.settled)
        self._metrics.published(writes.alerts)
        for one in writes.alerts:
            log.info("alert", status=one.status, severity=one.severity, alert=one.fingerprint, summary=one.summary)

    async def _send(self, alert: Alert) -> Awaitable[Any]:
        partition = partition_of(alert.cluster, alert.node_id, self._partitions)
        sent: Awaitable[Any] = await self._alerts.send(
            key=alert.fingerprint.encode(), value=encode(alert), partition=partition
        )
        return sent

    async def _write_rows(self, rows: Sequence[tuple[int, bytes, bytes | None]]) -> None:
        written: list[Awaitable[Any]] = []
        for partition, key, value in rows:
            if value is None:
                self._table.data.pop(key, None)
            else:
                self._table.data[key] = value
            written.append(self._table.send_changelog(partition, key, value))
        await asyncio.gather(*written)
