"""Sends a clean recording as real nodes would: out of order, twice, with holes and with broken records."""

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

from schemas.errors import ErrorCode
from vigil.errors import InputError
from vigil.malformed import KINDS, break_record

__all__ = ["Disturbance", "Outgoing", "disturbed"]


class Outgoing(NamedTuple):
    """One record on its way to Kafka.

    Attributes:
        send_ms: event time at which it is sent; not before its own ``ts_ms``.
        key: Kafka key.
        value: Kafka value.
        ts_ms: event time of the record it was made from, milliseconds.
        node: key of the record it was made from, which chooses the partition.
        kind: ``""`` for a good record, ``"duplicate"``, or the way it is broken (``vigil.malformed.KINDS``).
        code: the error code a broken record's dead letter must carry, ``None`` for the others.
    """

    send_ms: float
    key: bytes | None
    value: bytes | None
    ts_ms: int
    node: bytes
    kind: str = ""
    code: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class Disturbance:
    """How much goes wrong between a node and Kafka.

    Attributes:
        disorder_s: every record is held up for a time drawn between 0 and this, seconds.
        duplicates: probability that a record is sent once more.
        missing: probability that a record is never sent.
        malformed: probability that a record is sent broken instead, in a way drawn from all kinds.
        nodes: keys of the nodes that suffer from it; empty means all.
        seed: the same seed does the same.

    Raises:
        InputError: a probability is outside 0..1 or the hold-up negative.
    """

    disorder_s: float = 0.0
    duplicates: float = 0.0
    missing: float = 0.0
    malformed: float = 0.0
    nodes: frozenset[bytes] = frozenset()
    seed: int = 0

    @property
    def harmless(self) -> bool:
        """Whether nothing goes wrong at all."""
        return not (self.disorder_s or self.duplicates or self.missing or self.malformed)

    def __post_init__(self) -> None:
        for name in ("duplicates", "missing", "malformed"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise InputError(f"--{name} {getattr(self, name)}: not a probability", hint="give 0.01 for 1 %")
        if self.disorder_s < 0:
            raise InputError(f"--disorder {self.disorder_s}: negative", hint="give seconds, such as 3")


def disturbed(records: Iterable[tuple[bytes, bytes, int]], disturbance: Disturbance) -> Iterator[Outgoing]:
    """Put records on their way, in the order they are sent.

    Memory holds the records of ``disorder_s`` seconds, not the recording.

    Args:
        records: key, value and ts_ms, ascending in ts_ms.
        disturbance: what goes wrong.
    """
    if disturbance.harmless:
        yield from (Outgoing(ts_ms, key, value, ts_ms, key) for key, value, ts_ms in records)
        return
    rng = random.Random(disturbance.seed)  # noqa: S311 - a rehearsal, not a secret
    waiting: list[tuple[float, int, Outgoing]] = []
    order = count()  # equal times leave in the order they came
    for key, value, ts_ms in records:
        while waiting and waiting[0][0] <= ts_ms:
            yield heapq.heappop(waiting)[2]
        if disturbance.nodes and key not in disturbance.nodes:
            heapq.heappush(waiting, (ts_ms, next(order), Outgoing(ts_ms, key, value, ts_ms, key)))
            continue
        for outgoing in _sent(key, value, ts_ms, disturbance, rng):
            heapq.heappush(waiting, (outgoing.send_ms, next(order), outgoing))
    while waiting:
        yield heapq.heappop(waiting)[2]


def _sent(key: bytes, value: bytes, ts_ms: int, how: Disturbance, rng: random.Random) -> Iterator[Outgoing]:
    """Decide what becomes of one record: nothing, itself, itself twice, or a broken one in its place."""
    fate = rng.random()
    if fate < how.missing:
        return
    send_ms = ts_ms + rng.random() * how.disorder_s * 1000.0
    if fate < how.missing + how.malformed:
        broken = break_record(key, value, rng.choice(tuple(KINDS)), rng)
        yield Outgoing(send_ms, broken.key, broken.value, ts_ms, key, broken.kind, broken.code)
        return
    yield Outgoing(send_ms, key, value, ts_ms, key)
    if rng.random() < how.duplicates:
        again_ms = send_ms + rng.random() * how.disorder_s * 1000.0
        yield Outgoing(again_ms, key, value, ts_ms, key, "duplicate")
