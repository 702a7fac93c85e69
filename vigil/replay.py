"""Replays a recording into Kafka at the pace its event times give, faster, or flat out."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from vigil.disturbance import Disturbance, Outgoing, disturbed
from vigil.publisher import Publisher

__all__ = ["Pace", "ReplaySummary", "rebased", "repeated", "replay"]

AWAKE_SECONDS = 0.5  # longest sleep: progress and Ctrl-C stay alive


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast event time passes.

    Attributes:
        speed: event seconds a second, ``None`` as fast as Kafka takes them.
        live_ms: event time that is now; what is before it is history, sent flat out. The first record when ``None``.
    """

    speed: float | None = 1.0
    live_ms: int | None = None


class ReplaySummary(msgspec.Struct, frozen=True):
    """What a replay sent.

    Attributes:
        topic: where to.
        records: records sent, broken ones and duplicates included.
        duplicates: of those, sent a second time.
        malformed: of those, broken, by kind.
        missing: records of the recording that were held back.
        nodes: number of nodes.
        first_ts_ms, last_ts_ms: event times, ``None`` when nothing was sent.
        seconds: how long it took.
        records_per_second: records / seconds.
    """

    topic: str
    records: int
    duplicates: int
    malformed: dict[str, int]
    missing: int
    nodes: int
    first_ts_ms: int | None
    last_ts_ms: int | None
    seconds: float
    records_per_second: float


def replay(
    records: Iterable[tuple[bytes, bytes, int]],
    publisher: Publisher,
    *,
    pace: Pace | None = None,
    disturbance: Disturbance | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> ReplaySummary:
    """Publish records in event-time order.

    Args:
        records: key, value and ts_ms, ascending in ts_ms.
        publisher: where to; it is flushed at the end.
        pace: how fast; flat out when not given.
        disturbance: what goes wrong on the way; nothing when not given.
        on_progress: called with the number of records read so far, now and then.
    """
    tally = _Tally()
    started = time.monotonic()
    outgoing = disturbed(tally.reading(records, on_progress), disturbance or Disturbance())
    for one in _paced(outgoing, pace or Pace(None)):
        publisher.send(one.key, one.value, node=one.node)
        tally.sent(one)
    publisher.flush()
    seconds = time.monotonic() - started
    return tally.summary(publisher.topic, seconds)


def rebased(records: Iterable[tuple[bytes, bytes, int]], start_ms: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Shift event times so that the first record is at ``start_ms``, in the bodies too."""
    shift: int | None = None
    for key, value, ts_ms in records:
        if shift is None:
            shift = start_ms - ts_ms
        body: dict[str, Any] = msgspec.json.decode(value)
        body["ts_ms"] = ts_ms + shift
        yield key, msgspec.json.encode(body), ts_ms + shift


def repeated(
    records: Callable[[], Iterable[tuple[bytes, bytes, int]]], round_ms: int
) -> Iterator[tuple[bytes, bytes, int]]:
    """Give the same records for ever, event time going on by ``round_ms`` a round.

    Args:
        records: starts one round.
        round_ms: from the first record of a round to the first of the next, milliseconds.
    """
    start_ms: int | None = None
    while True:
        for record in records() if start_ms is None else rebased(records(), start_ms):
            if start_ms is None:
                start_ms = record[2]
            yield record
        if start_ms is None:
            return
        start_ms += round_ms


def _paced(outgoing: Iterable[Outgoing], pace: Pace) -> Iterator[Outgoing]:
    if pace.speed is None:
        yield from outgoing
        return
    first_ms: float | None = pace.live_ms
    started = time.monotonic()
    for one in outgoing:
        if first_ms is None:
            first_ms = one.send_ms
        due = started + (one.send_ms - first_ms) / 1000.0 / pace.speed
        while (wait := due - time.monotonic()) > 0:
            time.sleep(min(wait, AWAKE_SECONDS))
        yield one


class _Tally:
    """Counts what was read and sent."""

    def __init__(self) -> None:
        self.read = 0
        self.records = 0
        self.kinds: Counter[str] = Counter()
        self.nodes: set[bytes] = set()
        self.first: int | None = None
        self.last: int | None = None

    def reading(
        self, records: Iterable[tuple[bytes, bytes, int]], on_progress: Callable[[int], None] | None
    ) -> Iterator[tuple[bytes, bytes, int]]:
        for record in records:
            self.read += 1
            if on_progress is not None and self.read % 256 == 0:
                on_progress(self.read)
            yield record
        if on_progress is not None:
            on_progress(self.read)

    def sent(self, one: Outgoing) -> None:
        self.records += 1
        self.nodes.add(one.node)
        if one.kind:
            self.kinds[one.kind] += 1
        self.first = one.ts_ms if self.first is None else min(self.first, one.ts_ms)
        self.last = one.ts_ms if self.last is None else max(self.last, one.ts_ms)

    def summary(self, topic: str, seconds: float) -> ReplaySummary:
        duplicates = self.kinds.pop("duplicate", 0)
        return ReplaySummary(
            topic=topic,
            records=self.records,
            duplicates=duplicates,
            malformed=dict(sorted(self.kinds.items())),
            missing=self.read + duplicates - self.records,
            nodes=len(self.nodes),
            first_ts_ms=self.first,
            last_ts_ms=self.last,
            seconds=round(seconds, 3),
            records_per_second=round(self.records / seconds, 1) if seconds > 0 else 0.0,
        )
