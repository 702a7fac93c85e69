"""Where event time comes from: telemetry that was scored, the anomalies themselves, or this machine.

Anomalies stop when all is well, so they cannot say that time passes: something else has to, or no alert would end.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol

import msgspec
import structlog
from confluent_kafka import Consumer, Message, TopicPartition
from msgspec import Struct

from schemas.errors import UNREADABLE
from streams.alerting.follower import Followed
from streams.config import KafkaConfig
from streams.kafka import client_properties

__all__ = ["AnomalyClock", "Clock", "TelemetryClock", "WallClock"]

log = structlog.get_logger("vigil.alerts")

LAST_RECORDS: Final = 8
SOLO: Final = 2  # of so few nodes nobody can tell whose clock is wrong
READ_SECONDS: Final = 1.0

Partition = tuple[str, int]


class Clock(Protocol):
    """Tells how far event time is. For one thread."""

    def begin(self) -> None:
        """Look at what has been done so far; the anomalies are followed afterwards. Raises ``KafkaException``."""
        ...

    def reached_ms(self, followed: Followed) -> int | None:
        """Return event time, epoch in milliseconds, up to which all anomalies were published; ``None`` unknown."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class WallClock:
    """This machine's clock: right while workers are not behind."""

    def __init__(self) -> None:
        self._now_ms = 0

    def begin(self) -> None:
        """Take the time before the anomalies are followed."""
        self._now_ms = time.time_ns() // 1_000_000

    def reached_ms(self, followed: Followed) -> int | None:  # noqa: ARG002 -- part of Clock
        """Return the time taken."""
        return self._now_ms

    def close(self) -> None:
        """Do nothing."""


class AnomalyClock:
    """The newest anomaly's event time: it stands still when anomalies stop. For rehearsals without telemetry."""

    def begin(self) -> None:
        """Do nothing."""

    def reached_ms(self, followed: Followed) -> int | None:
        """Return the newest event time that was seen."""
        return followed.event_ms or None

    def close(self) -> None:
        """Do nothing."""


class _Timed(Struct):
    ts_ms: int


class TelemetryClock:
    """As far as the workers have scored telemetry, at any speed and in any year.

    What a worker scored is committed together with its anomalies. So event time has reached the newest committed record
    of any partition, and is bounded by those partitions of which something is not scored yet. A partition that nobody
    reads bounds it for ``stall_s`` at most.

    Args:
        kafka: where, and as whom.
        topics: that the workers read.
        group: the workers' consumer group.
        stall_s: see above.
    """

    def __init__(self, kafka: KafkaConfig, topics: Sequence[str], *, group: str, stall_s: float) -> None:
        self._topics = topics
        self._stall_s = stall_s
        self._decoder = msgspec.json.Decoder(_Timed)
        self._scored: dict[Partition, int] = {}
        self._moved: dict[Partition, float] = {}
        self._times: dict[Partition, int] = {}
        self._behind: set[Partition] = set()
        self._ignored: set[Partition] = set()
        # Neither a member nor a reader of committed data only: how far the group is must not wait for a transaction.
        self._consumer = Consumer(
            {
                **client_properties(kafka, "consumer"),
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_uncommitted",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "fetch.message.max.bytes": 65_536,
                "queued.max.messages.kbytes": 4_096,
            }
        )

    def begin(self) -> None:
        """See how far the workers are. Raises ``KafkaException``."""
        ends = dict(self._ends())
        scored = self._committed(list(ends))
        now = time.monotonic()
        moved = {tp: offset for tp, offset in scored.items() if offset != self._scored.get(tp)}
        self._moved |= dict.fromkeys(moved, now)
        self._scored |= moved
        self._behind = {tp for tp, end in ends.items() if scored.get(tp, 0) < end}
        for tp in self._behind:
            self._moved.setdefault(tp, now)
        self._read_times({tp: offset for tp, offset in moved.items() if offset > 0})

    def reached_ms(self, followed: Followed) -> int | None:  # noqa: ARG002 -- part of Clock
        """Return how far event time is; ``None`` while no worker has scored anything."""
        if not self._times:
            return None
        now = time.monotonic()
        stalled = {tp for tp in self._behind if now - self._moved[tp] > self._stall_s}
        for topic, number in stalled - self._ignored:
            log.warning("telemetry that nobody scores does not hold event time up any longer", topic=topic, part=number)
        self._ignored = stalled
        bounds = [self._times.get(tp, 0) for tp in self._behind - stalled]
        return min([max(self._times.values()), *bounds]) or None

    def close(self) -> None:
        """Let go of Kafka."""
        self._consumer.close()

    def _ends(self) -> Iterator[tuple[Partition, int]]:
        known = self._consumer.list_topics(timeout=READ_SECONDS * 5).topics
        for topic in self._topics:
            if topic not in known or known[topic].error is not None:
                continue
            for number in known[topic].partitions:
                low, end = self._consumer.get_watermark_offsets(TopicPartition(topic, number), READ_SECONDS * 5)
                if end > low:
                    yield (topic, number), end

    def _committed(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        asked = [TopicPartition(*tp) for tp in partitions]
        found = self._consumer.committed(asked, READ_SECONDS * 5) if asked else []
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}

    def _read_times(self, offsets: dict[Partition, int]) -> None:
        """Read the last records before these offsets."""
        if not offsets:
            return
        starts = [TopicPartition(*tp, max(0, offset - LAST_RECORDS)) for tp, offset in offsets.items()]
        self._consumer.assign(starts)
        found: dict[Partition, dict[bytes, int]] = defaultdict(dict)
        left, deadline = set(offsets), time.monotonic() + READ_SECONDS
        while left and time.monotonic() < deadline:
            for message in self._consumer.consume(LAST_RECORDS * len(offsets), 0.02):
                topic, number, offset = message.topic(), message.partition(), message.offset()
                if topic is None or number is None or offset is None:
                    continue
                if message.error() is None and offset < offsets[topic, number]:
                    self._note(found[topic, number], message)
                if offset >= offsets[topic, number] - 1:  # an error is the end of the partition, behind the last one
                    left.discard((topic, number))
        self._consumer.unassign()
        for tp, times in ((tp, times) for tp, times in found.items() if times):
            self._times[tp] = max(self._times.get(tp, 0), _agreed(times.values()))
        for tp in left:  # not read in time: read again at the next look
            self._scored.pop(tp, None)

    def _note(self, times: dict[bytes, int], message: Message) -> None:
        """Keep a node's newest time."""
        try:
            at_ms = self._decoder.decode(message.value() or b"").ts_ms
        except UNREADABLE:
            return  # a dead letter has no time
        node = bytes(message.key() or b"")
        times[node] = max(times.get(node, 0), at_ms)


def _agreed(times: Collection[int]) -> int:
    """Return the newest time, or the second where there are three nodes and more: one wrong clock is no time."""
    newest = sorted(times, reverse=True)
    return newest[1] if len(newest) > SOLO else newest[0]
