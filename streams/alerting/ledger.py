"""What the alert service holds of its partitions, and what is to be written of it. No Kafka here.

A partition's anomalies go into a plane of its own. What changes becomes rows, one a scope, and alerts; a row is written
before its alerts are published and carries them until they are, so that a crash between the two repeats them byte for
byte and loses none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from detectors.alerts import AlertPlane, Policy
from detectors.alerts.plane import scope_name
from detectors.alerts.state import Saved
from schemas.outputs import Alert, Anomaly
from streams.alerting.rows import Row, decode_row, encode_row, row_key

__all__ = ["Ledger", "Writes"]

NOTHING: Final = -1


@dataclass(slots=True)
class Writes:
    """What to write, in this order: rows, alerts, settled rows.

    Attributes:
        rows: partition, key and value; a value of ``None`` deletes.
        alerts: changes to publish, in order for each fingerprint.
        settled: rows again, once their alerts are published.
    """

    rows: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    settled: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)


@dataclass(slots=True)
class _Held:
    """One partition: its plane, the newest offset taken, and what rows had seen when they came back."""

    plane: AlertPlane
    offset: int = NOTHING
    applied: dict[str, int] = field(default_factory=dict)


class Ledger:
    """The partitions of one instance.

    Args:
        policy: of every plane.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy
        self._levels: Mapping[str, float] = {}
        self._held: dict[int, _Held] = {}
        self._changes: dict[int, list[Alert]] = {}
        self._decoder = msgspec.json.Decoder(Anomaly)
        self.taken = 0
        """Anomalies taken in."""
        self.repeated = 0
        """Anomalies that a row had in it already, read again after a restart."""
        self.unreadable = 0
        """Records that are no anomaly; passed over."""

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions held."""
        return frozenset(self._held)

    def assign(self, ends: Mapping[int, int], rows: Mapping[bytes, bytes]) -> Writes:
        """Hold these partitions and no others, as their rows say.

        Args:
            ends: partitions to hold from now on, with the offset behind their newest anomaly. A row that claims to know
                more is of an earlier topic of this name: its alerts stay, its offset does not.
            rows: the whole table; rows of other partitions are left out.

        Returns:
            What a crash left unpublished.

        Raises:
            ValueError: a row cannot be read.
        """
        self._held = {number: _Held(AlertPlane(self._policy)) for number in ends}
        self._changes = {}
        self.weigh(self._levels)
        unsent = Writes()
        for key, value in sorted(rows.items()):
            row = decode_row(value)
            held = self._held.get(row.partition)
            if held is None:
                continue
            held.plane.restore(row.saved)
            if row.offset < ends[row.partition]:
                held.applied[key.decode()] = row.offset
                held.offset = max(held.offset, row.offset)
            if row.unsent:
                unsent.alerts += row.unsent
                unsent.settled.append((row.partition, key, encode_row(msgspec.structs.replace(row, unsent=()))))
        return unsent

    def take(self, partition: int, offset: int, value: bytes | None) -> None:
        """Take in one record of the anomalies; one that is no anomaly is counted and passed over."""
        held = self._held[partition]
        held.offset = max(held.offset, offset)
        try:
            anomaly = self._decoder.decode(value or b"")
        except msgspec.MsgspecError:
            self.unreadable += 1
            return
        if offset <= held.applied.get(scope_name(anomaly), NOTHING):
            self.repeated += 1
            return
        held.plane.observe(anomaly)
        self.taken += 1

    def advance(self, now_ms: int, needed: Mapping[int, int]) -> bool:
        """Let event time pass where all anomalies before it are in.

        Args:
            now_ms: event time, epoch, milliseconds.
            needed: newest offset of each partition that has to be taken before.

        Returns:
            Whether time passed in all partitions.
        """
        ready = [number for number, held in self._held.items() if held.offset >= needed.get(number, NOTHING)]
        for number in ready:
            changes = self._held[number].plane.advance(now_ms)
            if changes:
                self._changes.setdefault(number, []).extend(changes)
        return len(ready) == len(self._held)

    def weigh(self, levels: Mapping[str, float]) -> None:
        """Take over the levels from which nodes open alerts."""
        self._levels = levels
        for held in self._held.values():
            held.plane.levels = levels

    def acknowledge(self, fingerprint: str, change: str) -> bool:
        """Say that a person has an alert, as of a change; whether that makes a difference."""
        return any(held.plane.acknowledge(fingerprint, change) for held in self._held.values())

    def writes(self) -> Writes:
        """Return all that changed since the last call."""
        writes = Writes()
        for number, held in self._held.items():
            changes = self._changes.pop(number, [])
            writes.alerts += changes
            self._add_rows(writes, number, held, changes)
        return writes

    def overflow(self) -> int:
        """Count the anomalies that were only counted, for more came than wait."""
        return sum(held.plane.overflow for held in self._held.values())

    def planes(self) -> Iterable[AlertPlane]:
        """Give each partition's plane."""
        return [held.plane for held in self._held.values()]

    def _add_rows(self, writes: Writes, number: int, held: _Held, changes: list[Alert]) -> None:
        unsent: dict[str, list[Alert]] = {}
        for change in changes:
            unsent.setdefault(_scope_of(change), []).append(change)
        for name in held.plane.touched():
            saved, key = held.plane.saved(name), row_key(name)
            settled = None if saved is None else encode_row(Row(number, held.offset, saved))
            told = tuple(unsent.get(name, ()))
            if told:
                writes.rows.append((number, key, encode_row(Row(number, held.offset, saved or Saved(), told))))
                writes.settled.append((number, key, settled))
            else:
                writes.rows.append((number, key, settled))


def _scope_of(change: Alert) -> str:
    """Name the scope of an alert: without a cluster, its only member is the scope."""
    return f"node:{change.node_id}" if change.cluster is None else f"cluster:{change.cluster}"
