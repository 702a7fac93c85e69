"""What the alert service holds of its partitions, and what is to be written of it. No Kafka here.

A partition's anomalies go into a plane of its own. Each batch writes the anomalies that are new, and the scopes of
which something was decided: every anomaly is written once, however long it waits. A scope's row is written before its
alerts are published and carries them until they are, so that a crash between the two repeats them byte for byte and
loses none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from detectors.alerts import AlertPlane, Policy
from detectors.alerts.plane import scope_name
from schemas.errors import UNREADABLE
from schemas.outputs import Alert, Anomaly
from streams.alerting.rows import Decided, Progress, Waiting, decode_row, encode_row, progress_key, row_key

__all__ = ["Ledger", "Writes"]

NOTHING: Final = -1
CATCH_UP_MS: Final = 60_000  # half of what waits at most, see ``Policy.undecided_s``
CATCH_UP_STEP_MS: Final = 5_000
AGREEING: Final = 3


@dataclass(slots=True)
class Writes:
    """What to write, in this order: rows, alerts, settled rows.

    Attributes:
        rows: partition, key and value; a value of ``None`` deletes.
        alerts: changes to publish, in order for each fingerprint.
        settled: rows again, once their alerts are published, and what is no longer needed then.
    """

    rows: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    settled: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)


class _Fresh(NamedTuple):
    """An anomaly that is neither written nor decided: event time, offset, and the record."""

    ts_ms: int
    offset: int
    value: bytes


@dataclass(slots=True)
class _Held:
    """One partition.

    Attributes:
        plane: of its anomalies.
        offset: newest anomaly taken.
        saved: newest anomaly that the rows are known to have.
        now_ms, decided: event time up to which all is decided that had been taken to this offset.
        newest: event time of the three nodes that are furthest.
        applied: newest offset that the rows had of each scope when they came back.
        fresh: anomalies not written yet, by scope.
        waiting: written anomalies by scope: key of the row, event time and offset of its newest.
        changes: decided and not handed out.
    """

    plane: AlertPlane
    offset: int = NOTHING
    saved: int = NOTHING
    now_ms: int = 0
    decided: int = NOTHING
    newest: dict[str, int] = field(default_factory=dict)
    applied: dict[str, int] = field(default_factory=dict)
    fresh: dict[str, list[_Fresh]] = field(default_factory=dict)
    waiting: dict[str, dict[bytes, tuple[int, int]]] = field(default_factory=dict)
    changes: list[Alert] = field(default_factory=list)


class Ledger:
    """The partitions of one instance.

    Args:
        policy: of every plane.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self._policy = policy
        self._levels: Mapping[str, float] = {}
        self._limit_ms = 0
        self._held: dict[int, _Held] = {}
        self._decoder = msgspec.json.Decoder(Anomaly)
        self.taken = 0
        """Anomalies taken in."""
        self.repeated = 0
        """Anomalies that a row had in it already, read again after a restart."""
        self.foreign: list[bytes] = []
        """Rows of partitions that are others', as of the last assignment; they change there, so they are forgotten."""
        self.unreadable = 0
        """Records that are no anomaly; passed over."""

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions held."""
        return frozenset(self._held)

    def assign(
        self, ends: Mapping[int, int], rows: Mapping[bytes, bytes], committed: Mapping[int, int] | None = None
    ) -> Writes:
        """Hold these partitions and no others, as their rows say.

        Args:
            ends: partitions to hold from now on, with the offset behind their newest anomaly. A row that claims to know
                more is of an earlier topic of this name: its alerts stay, its offset does not.
            rows: the whole table; rows of other partitions are left out.
            committed: offset that the group goes on from, for partitions whose progress is not in the rows. What is
                below is in the rows; of what is above, a crash may have left some, so that time must not pass before
                it was read again.

        Returns:
            What a crash left unpublished.

        Raises:
            ValueError: a row cannot be read.
        """
        start = committed or {}
        self._held = {number: _Held(AlertPlane(self._policy), start.get(number, 0) - 1) for number in ends}
        self._find_progress(ends, rows)
        self.weigh(self._levels)
        self.foreign = []
        unsent, waiting, over = Writes(), list[tuple[bytes, Waiting]](), list[tuple[int, bytes, bytes | None]]()
        decided: dict[str, tuple[int, int]] = {}
        for key, value in sorted(rows.items()):
            row = decode_row(value)
            held = self._held.get(row.partition)
            if held is None:
                self.foreign.append(key)
                continue
            if isinstance(row, Progress):
                continue
            if row.offset < ends[row.partition]:
                held.applied[row.name] = max(held.applied.get(row.name, NOTHING), row.offset)
            if isinstance(row, Waiting):
                waiting.append((key, row))
                continue
            decided[row.name] = (row.decided_ms, row.decided_offset)
            if row.scope is not None:
                held.plane.restore(row.scope)
            if row.unsent or row.scope is None:
                unsent.alerts += row.unsent
                over.append((row.partition, key, _settled(row)))
        for key, row in waiting:
            decided_ms, offset = decided.get(row.name, (NOTHING, NOTHING))
            # What came after time had passed was not decided then, however old it is.
            if not self._wait_again(key, row, decided_ms if row.offset <= offset else NOTHING):
                unsent.settled.append((row.partition, key, None))
        unsent.settled += over
        return unsent

    def starts(self) -> dict[int, int]:
        """Return the offset to read each partition from after ``assign``: the one behind what its rows have.

        Not what the group committed: how Faust counts what is acknowledged is no business of what a crash may lose.
        """
        return {number: held.offset + 1 for number, held in self._held.items()}

    def take(self, partition: int, offset: int, value: bytes | None) -> None:
        """Take in one record of the anomalies; one that is no anomaly is counted and passed over."""
        held = self._held[partition]
        if offset <= held.offset:
            self.repeated += 1
            return
        held.offset = offset
        try:
            anomaly = self._decoder.decode(value or b"")
        except UNREADABLE:
            self.unreadable += 1
            return
        name = scope_name(anomaly)
        if offset <= held.applied.get(name, NOTHING):
            self.repeated += 1
            return
        held.plane.observe(anomaly)
        held.fresh.setdefault(name, []).append(_Fresh(anomaly.ts_ms, offset, value or b""))
        self._catch_up(held, anomaly)
        self.taken += 1

    def advance(self, now_ms: int, needed: Mapping[int, int]) -> bool:
        """Let event time pass where all anomalies before it are in.

        Args:
            now_ms: event time, epoch, milliseconds.
            needed: newest offset of each partition that has to be taken before.

        Returns:
            Whether time passed in all partitions.
        """
        self._limit_ms = now_ms
        ready = [held for number, held in self._held.items() if held.offset >= needed.get(number, NOTHING)]
        for held in ready:
            _pass(held, now_ms)
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
            writes.alerts += held.changes
            # First what waits: a scope's row says that all below its offset is in the rows.
            self._add_waiting(writes, number, held)
            self._add_decided(writes, number, held)
            held.changes = []
            if held.offset > held.saved:
                held.saved = held.offset
                writes.rows.append((number, progress_key(number), encode_row(Progress(number, held.offset))))
        return writes

    def overflow(self) -> int:
        """Count the anomalies that were only counted, for more came than wait."""
        return sum(held.plane.overflow for held in self._held.values())

    def planes(self) -> Iterable[AlertPlane]:
        """Give each partition's plane."""
        return [held.plane for held in self._held.values()]

    def _find_progress(self, ends: Mapping[int, int], rows: Mapping[bytes, bytes]) -> None:
        """Begin behind what the rows have; a row that claims to know more than there is is of an earlier topic."""
        for number, held in self._held.items():
            value = rows.get(progress_key(number))
            if value is not None:
                row = decode_row(value)
                if isinstance(row, Progress) and row.offset < ends[number]:
                    held.offset = held.saved = row.offset

    def _catch_up(self, held: _Held, anomaly: Anomaly) -> None:
        """Let event time pass while reading what was missed: nothing that is much older is to be expected there.

        Of three nodes and more the second furthest counts: one wrong clock is no time.
        """
        newest = held.newest
        newest[anomaly.node_id] = max(newest.get(anomaly.node_id, 0), anomaly.ts_ms)
        if len(newest) > AGREEING:
            del newest[min(newest, key=newest.__getitem__)]
        reached = sorted(newest.values(), reverse=True)
        to_ms = min(reached[len(reached) // AGREEING] - CATCH_UP_MS, self._limit_ms)
        if to_ms >= held.now_ms + CATCH_UP_STEP_MS:
            _pass(held, to_ms)

    def _wait_again(self, key: bytes, row: Waiting, decided_ms: int) -> bool:
        """Observe the anomalies of a row that are not decided; whether there are any."""
        held, newest_ms = self._held[row.partition], NOTHING
        for value in row.anomalies:
            anomaly = self._decoder.decode(value)
            if anomaly.ts_ms > decided_ms:
                newest_ms = max(newest_ms, anomaly.ts_ms)
                held.plane.observe(anomaly)
        if newest_ms == NOTHING:
            return False
        held.waiting.setdefault(row.name, {})[key] = (newest_ms, row.offset)
        return True

    def _add_decided(self, writes: Writes, number: int, held: _Held) -> None:
        """Add the scopes of which something was decided; afterwards the anomalies that no longer wait can go."""
        unsent: dict[str, list[Alert]] = {}
        for change in held.changes:
            unsent.setdefault(_scope_of(change), []).append(change)
        for name in held.plane.touched():
            told = tuple(unsent.get(name, ()))
            scope, key = held.plane.scope(name), row_key(name)
            row = Decided(name, number, held.offset, held.now_ms, held.decided, scope, told)
            writes.rows.append((number, key, encode_row(row)))
            waiting = held.waiting.pop(name, {})
            for one, (newest_ms, offset) in waiting.items():
                if newest_ms <= held.now_ms and offset <= held.decided:
                    writes.settled.append((number, one, None))
                else:
                    held.waiting.setdefault(name, {})[one] = (newest_ms, offset)
            if told or row.scope is None:  # the row goes last: what waits without it would be decided once more
                writes.settled.append((number, key, _settled(row)))

    def _add_waiting(self, writes: Writes, number: int, held: _Held) -> None:
        """Add what came since and is not decided already."""
        for name, fresh in held.fresh.items():
            key = row_key(name, fresh[-1].offset)
            row = Waiting(name, number, fresh[-1].offset, tuple(msgspec.Raw(one.value) for one in fresh))
            held.waiting.setdefault(name, {})[key] = (max(one.ts_ms for one in fresh), fresh[-1].offset)
            writes.rows.append((number, key, encode_row(row)))
        held.fresh = {}


def _pass(held: _Held, to_ms: int) -> None:
    """Let time pass in a partition; what is decided by it need not be written as waiting."""
    held.changes += held.plane.advance(to_ms)
    held.now_ms, held.decided = max(held.now_ms, to_ms), held.offset
    left = {name: [one for one in fresh if one.ts_ms > held.now_ms] for name, fresh in held.fresh.items()}
    held.fresh = {name: fresh for name, fresh in left.items() if fresh}


def _settled(row: Decided) -> bytes | None:
    return None if row.scope is None else encode_row(msgspec.structs.replace(row, unsent=()))


def _scope_of(change: Alert) -> str:
    """Name the scope of an alert: without a cluster, its only member is the scope."""
    return f"node:{change.node_id}" if change.cluster is None else f"cluster:{change.cluster}"
