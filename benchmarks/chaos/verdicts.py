"""What came out, beside what an undisturbed run over the same log gives."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition
from redis import Redis

from detectors.scoring import StreamScorer
from schemas.codec import decode_anomaly
from schemas.dead_letters import OFFSET, PARTITION
from schemas.outputs import Anomaly
from streams import Processor, Records
from streams.verdicts import NodeVerdict

__all__ = ["Comparison", "Expected", "compare", "compare_anomalies", "read_topic", "undisturbed"]

READ_SECONDS: Final = 120.0
PREFIX: Final = "vigil:"
TELL_CHANGES: Final = frozenset({"silence"})
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Expected:
    """Right answers.

    Attributes:
        anomalies: by id.
        dead_letters: source partition and offset of each.
        view: newest verdict by detector and node.
    """

    anomalies: dict[str, Anomaly]
    dead_letters: set[Place]
    view: dict[tuple[str, str], NodeVerdict]


@dataclass(slots=True)
class Comparison:
    """Every difference, as one line each."""

    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    dead_letters_lost: list[str] = field(default_factory=list)
    dead_letters_repeated: list[str] = field(default_factory=list)
    redis_lost: list[str] = field(default_factory=list)
    redis_changed: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether there is none."""
        return not any(getattr(self, name) for name in self.__slots__)


def read_topic(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[Message]:
    """Read all there is in a topic, each partition in its order.

    Raises:
        TimeoutError: a partition's end is not reached, because a transaction stays open over it.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "chaos-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": isolation,
            "fetch.message.max.bytes": 20_000_000,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    try:
        numbers = list(consumer.list_topics(topic, timeout=30).topics[topic].partitions)
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)[1] for number in numbers
        }
        consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
        return _to_the_ends(consumer, ends)
    finally:
        consumer.close()


def _to_the_ends(consumer: Consumer, ends: dict[int, int]) -> list[Message]:
    found: list[Message] = []
    open_, idle = set(ends), 0.0
    while open_:
        messages = consumer.consume(5000, 0.2)
        idle = 0.0 if any(each.error() is None for each in messages) else idle + 0.2
        if idle > READ_SECONDS:
            raise TimeoutError(f"partitions {sorted(open_)} cannot be read to their ends")
        for each in messages:
            if each.error() is None:
                found.append(each)
            elif (each.offset() or 0) >= ends[int(each.partition() or 0)]:
                open_.discard(int(each.partition() or 0))
    return found


def undisturbed(log: Sequence[Message], topic: str, scorer: StreamScorer) -> Expected:
    """Work through a log in this process, a partition after the other, with nothing going wrong."""
    processor = Processor({topic: scorer})
    expected = Expected({}, set(), {})
    by_partition: dict[int, list[Message]] = {}
    for message in log:
        by_partition.setdefault(int(message.partition() or 0), []).append(message)
    for messages in by_partition.values():
        for start in range(0, len(messages), 5000):
            batch = processor.process([_records(topic, messages[start : start + 5000])])
            expected.anomalies.update((each.id, each) for each in batch.anomalies)
            expected.dead_letters.update((each.partition, each.offset) for each in batch.dead_letters)
            for verdict in chain(batch.verdicts, *batch.columns):
                known = expected.view.get(verdict.key)
                expected.view[verdict.key] = verdict if known is None else known.merged(verdict)
    return expected


def compare(
    expected: Expected, anomalies: Sequence[Message], dead_letters: Sequence[Message], redis: "Redis"
) -> Comparison:
    """Compare everything that was published, and what Redis shows now."""
    found = Comparison()
    compare_anomalies(expected.anomalies, [decode_anomaly(each.value() or b"") for each in anomalies], found)
    letters = Counter(_place(each) for each in dead_letters)
    found.dead_letters_lost += [f"{number}:{offset}" for number, offset in sorted(expected.dead_letters - set(letters))]
    found.dead_letters_repeated += [f"{at[0]}:{at[1]}" for at, n in sorted(letters.items()) for _ in range(n - 1)]
    _compare_view(expected.view, redis, found)
    return found


def compare_anomalies(expected: Mapping[str, Anomaly], published: Iterable[Anomaly], found: Comparison) -> None:
    """Compare what was published with the right answers, by id, and note every difference."""
    seen: set[str] = set()
    for one in published:
        if one.id in seen:
            found.repeated.append(_said(one))
        elif one.id not in expected:
            found.changed.append(f"never expected: {_said(one)}")
        elif msgspec.json.encode(one) != msgspec.json.encode(expected[one.id]):
            found.changed.append(f"{_said(one)}, expected {_said(expected[one.id])}")
        seen.add(one.id)
    found.lost += [_said(one) for one in expected.values() if one.id not in seen]


def _compare_view(view: Mapping[tuple[str, str], NodeVerdict], redis: "Redis", found: Comparison) -> None:
    active: dict[str, set[str]] = {"info": set(), "warning": set(), "critical": set()}
    for (detector, node), verdict in view.items():
        stored: Mapping[Any, Any] = redis.hgetall(f"{PREFIX}verdict:{detector}:{node}")
        if verdict.severity:
            active[verdict.severity].add(f"{detector}:{node}")
        if not stored:
            # What tells changes alone has nothing to say of a node that was quiet since Redis lost everything.
            if verdict.severity or detector not in TELL_CHANGES:
                found.redis_lost.append(f"{detector}:{node}")
            continue
        now = (int(stored["ts_ms"]), float(stored["score"]), stored["severity"])
        right = (verdict.ts_ms, verdict.score, verdict.severity)
        # Of what tells changes only, an end may have been told again, later.
        if now[2] != right[2] or (now != right and detector not in TELL_CHANGES):
            found.redis_changed.append(f"{detector}:{node} shows {now}, expected {right}")
    for severity, members in active.items():
        shown = {str(each) for each in redis.zrange(f"{PREFIX}active:{severity}", 0, -1)}
        found.redis_changed += [f"active:{severity}: {member}" for member in sorted(shown ^ members)]


def _records(topic: str, messages: Sequence[Message]) -> Records:
    return Records(
        topic,
        np.array([each.partition() for each in messages], np.int32),
        np.array([each.offset() for each in messages], np.int64),
        [_bytes(each.key()) for each in messages],
        [_bytes(each.value()) for each in messages],
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _place(letter: Message) -> Place:
    headers: dict[str, Any] = dict(letter.headers() or [])
    return int(headers[PARTITION]), int(headers[OFFSET])


def _said(one: Anomaly) -> str:
    where = f"{one.source.partition}:{one.source.offset}"
    return f"{one.id} {one.detector} {one.node_id} at {where} score {one.score!r}"
