"""What a sink has not been told yet: the newest state of each alert, and nothing more. Pure: no clock, no network.

An unreachable sink delays and never drops: what waits is bounded by the number of alerts, not of changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from schemas.outputs import Alert
from streams.alerting.told import Told

__all__ = ["Backlog", "Entry"]

REMEMBERED: Final = 10_000  # alerts whose last told change is remembered, so that a repeat is told once
FIRST_RETRY_SECONDS: Final = 0.5


@dataclass(slots=True)
class Entry:
    """One alert's newest state, and where it stands in the topic.

    Attributes:
        alert: the change.
        partition, offset: of its record.
        due: when to tell it, monotonic seconds.
        told: whether it was, and waits to be told again.
        attempts: that failed since it changed.
        held: whether a silence keeps it back.
    """

    alert: Alert
    partition: int
    offset: int
    due: float
    told: bool = False
    attempts: int = 0
    held: bool = False


class Backlog:
    """The alerts that a sink has to be told of.

    Args:
        resend_s: open alerts are told again after so long; never when ``None``.
        retry_s: longest wait before a refused alert is tried again.
    """

    def __init__(self, *, resend_s: float | None = None, retry_s: float = 30.0) -> None:
        self._resend_s, self._retry_s = resend_s, retry_s
        self._entries: dict[str, Entry] = {}
        self._told: dict[str, str] = {}

    def put(
        self, alert: Alert, partition: int, offset: int, now: float, *, told: bool = False, heard: bool = True
    ) -> None:
        """Take in a record of the topic.

        Args:
            alert: what it says.
            partition, offset: where it is.
            now: monotonic seconds.
            told: whether the sink was told before this process began.
            heard: whether the sink may have been told of this alert before, whatever its state.
        """
        name = alert.fingerprint
        if not heard:
            self._told.pop(name, None)
        entry = self._entries.get(name)
        if self._told.get(name) == alert.id:  # a repeat of what was told
            if entry is not None and entry.alert.id == alert.id:
                entry.offset = offset
            return
        if told:
            self._remember(alert)
        self._entries.pop(name, None)
        if not told or self._stays(alert):
            self._entries[name] = Entry(alert, partition, offset, now, told=told)

    def due(self, now: float, most: int) -> list[Entry]:
        """Return what is to be told now, longest waiting first."""
        return sorted((one for one in self._entries.values() if one.due <= now), key=lambda one: one.due)[:most]

    def done(self, entry: Entry, now: float) -> None:
        """Say that the sink took it."""
        self._remember(entry.alert)
        if self._entries.get(entry.alert.fingerprint) is not entry:
            return
        if self._stays(entry.alert) and self._resend_s is not None:
            entry.told, entry.attempts, entry.due = True, 0, now + self._resend_s
        else:
            del self._entries[entry.alert.fingerprint]

    def hold(self, entry: Entry, until: float) -> bool:
        """Leave an alert that is silenced alone for a while; whether it was not before.

        The end of an alert of which the sink was never told is nothing to tell.
        """
        if entry.alert.status != "firing" and entry.alert.fingerprint not in self._told:
            del self._entries[entry.alert.fingerprint]
        was_held, entry.held, entry.due = entry.held, True, until
        return not was_held

    def was_told(self, alert: Alert) -> bool:
        """Whether the sink knows of an alert, whatever its state."""
        return alert.fingerprint in self._told

    def failed(self, entry: Entry, now: float) -> None:
        """Say that the sink did not take it."""
        entry.attempts += 1
        entry.due = now + min(self._retry_s, FIRST_RETRY_SECONDS * 2 ** min(entry.attempts - 1, 20))

    def told(self, partition: int, position: int) -> Told:
        """Return what a later process has to know of this partition, having read to ``position``."""
        live = (one for one in self._entries.values() if one.partition == partition)
        return Told.of(position, ((one.offset, one.told, self.was_told(one.alert)) for one in live))

    def drop(self, partition: int) -> None:
        """Forget a partition that is another instance's now."""
        for name in [name for name, one in self._entries.items() if one.partition == partition]:
            del self._entries[name]

    def open_alerts(self) -> Iterator[Alert]:
        """Give the alerts that are firing."""
        return (one.alert for one in self._entries.values() if one.alert.status == "firing")

    @property
    def waiting(self) -> int:
        """Alerts whose newest state was not told."""
        return sum(not one.told for one in self._entries.values())

    def _stays(self, alert: Alert) -> bool:
        return self._resend_s is not None and alert.status == "firing"

    def _remember(self, alert: Alert) -> None:
        self._told.pop(alert.fingerprint, None)
        self._told[alert.fingerprint] = alert.id
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
