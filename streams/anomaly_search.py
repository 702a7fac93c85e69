"""Finds one anomaly among all that were published: by its id, or by the fingerprint of the alert that it began."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from detectors.alerts.evidence import ratio
from detectors.alerts.plane import scope_name
from schemas.codec import decode_anomaly
from schemas.errors import RecordError
from schemas.outputs import Anomaly, alert_fingerprint
from streams.errors import AnomalyAmbiguousError
from streams.spans import Reader, Say, Span

__all__ = ["Search", "find_anomaly"]

HOUR_MS: Final = 3_600_000
STAGES_MS: Final = (HOUR_MS, 24 * HOUR_MS)
"""How far back is looked first: who asks at night asks about what was just said."""
DIGITS: Final = 32
READING: Final = "looking for the anomaly"


class _Names(msgspec.Struct, gc=False):
    """What names an anomaly and its alert: read of every record, the rest only of the one that is looked for."""

    id: str
    ts_ms: int
    node_id: str
    cluster: str | None = None


_names: Final = msgspec.json.Decoder(_Names)


@dataclass(frozen=True, slots=True)
class Search:
    """What was found, and where it was looked for.

    Attributes:
        anomaly: ``None`` when it is not there.
        alert: whether the name is the fingerprint of an alert, and the anomaly is the one that it began with.
        topic: of the anomalies.
        partitions: of it.
        records: committed ones that were looked at.
        unreadable: of those, no anomalies.
        since_ms: how far back was looked, by Kafka's clock; ``None`` for all that is kept.
        seconds: how long it took.
    """

    anomaly: Anomaly | None
    alert: bool
    topic: str
    partitions: int
    records: int
    unreadable: int
    since_ms: int | None
    seconds: float


def find_anomaly(reader: Reader, topic: str, name: str, *, since_ms: int | None, say: Say) -> Search:
    """Look for an anomaly in the newest hour first, then in a day, then in all.

    Args:
        reader: of committed records.
        topic: of the anomalies.
        name: the first digits, or all, of an anomaly's id or of an alert's fingerprint. Of the anomalies that an alert
            began with at one time, the one furthest above its threshold is taken.
        since_ms: how far back at most, by Kafka's clock, Unix epoch in milliseconds; ``None`` for all that is kept.
        say: told how many records are read, and of how many.

    Raises:
        TopicUnreadableError: the topic is not there, or cannot be read.
        AnomalyAmbiguousError: several begin with these digits.
    """
    began, partitions = time.monotonic(), reader.partitions(topic)
    looked = _Look(name)
    for spans in _stages(reader, topic, partitions, since_ms):
        for message in reader.read(topic, spans, READING, say):
            looked.at(message.value() or b"")
            if looked.certain:
                break
        if looked.found:
            break
    anomaly, alert = looked.chosen()
    seconds = time.monotonic() - began
    return Search(anomaly, alert, topic, len(partitions), looked.records, looked.unreadable, since_ms, seconds)


class _Look:
    """What was seen so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records = self.unreadable = 0
        self.found: dict[str, tuple[Anomaly, bool]] = {}
        self.certain = False

    def at(self, value: bytes) -> None:
        self.records += 1
        try:
            named = _names.decode(value)
            alert = alert_fingerprint(scope_name(named), named.ts_ms)
            if named.id.startswith(self.name):
                self.found[named.id] = decode_anomaly(value), False
                self.certain = len(self.name) == DIGITS
            elif alert.startswith(self.name):
                anomaly, known = decode_anomaly(value), self.found.get(alert)
                if known is None or ratio(known[0]) < ratio(anomaly):
                    self.found[alert] = anomaly, True
        except (RecordError, msgspec.DecodeError):
            self.unreadable += 1

    def chosen(self) -> tuple[Anomaly | None, bool]:
        if len(self.found) > 1:
            named = ", ".join(sorted(self.found)[:3])
            raise AnomalyAmbiguousError(f"{len(self.found)} anomalies or alerts begin with {self.name}: {named}")
        return next(iter(self.found.values()), (None, False))


def _stages(reader: Reader, topic: str, partitions: Sequence[int], since_ms: int | None) -> Iterator[list[Span]]:
    """Yield the newest part of every partition, then the part before it, and so on, none of them twice."""
    now_ms = time.time_ns() // 1_000_000
    starts = [now_ms - back for back in STAGES_MS if since_ms is None or now_ms - back > since_ms]
    ends = {number: reader.kept(topic, number) for number in partitions}
    upper = {number: span.end for number, span in ends.items()}
    for start_ms in [*starts, since_ms]:
        lower = {number: span.start for number, span in ends.items()}
        if start_ms is not None:
            lower = upper | {span.partition: span.start for span in reader.since(topic, start_ms, partitions)}
        yield [Span(number, lower[number], upper[number]) for number in partitions]
        upper = {number: min(lower[number], upper[number]) for number in partitions}
