"""Replays a node's telemetry up to an anomaly, through the windows and detectors of a worker, without publishing.

Where the replay starts decides whether its score is the worker's to the bit. From a snapshot that a worker saved, or
from the very beginning of the partition, it is; from a place in between, windows are the same and what a detector
learned before that place is missing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from detectors.following import NodeFollower
from detectors.scoring import StreamScorer
from schemas.codec import RecordCodec
from schemas.outputs import Anomaly
from streams.changelog import Changelog
from streams.config import StateConfig
from streams.errors import ReplayImpossibleError, TopicUnreadableError
from streams.past_state import Wanted, state_before
from streams.records import by_topic
from streams.spans import Reader, Say, Span

__all__ = ["Origin", "ReplayPlan", "Replayed", "is_silence", "replay_node"]

CHUNK: Final = 5_000  # records decoded at once
AFTER_SILENCE: Final = 1_000_000  # records looked at behind a silence for the node's return
TELEMETRY: Final = "replaying telemetry"

Origin = Literal["snapshot", "beginning", "later"]


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """How to replay.

    Attributes:
        group: consumer group of the workers, whose state it is.
        state_topic: where snapshots are; ``None`` to do without.
        warm_up_ms: how much telemetry to read before the anomaly where there is no snapshot, by Kafka's clock; ``None``
            for all that is kept.
        max_bytes: larger records are dead letters, as in the worker.
    """

    group: str
    state_topic: str | None
    warm_up_ms: int | None
    max_bytes: int


class Replayed(NamedTuple):
    """What came of it.

    Attributes:
        follower: the node's windows, up to the anomaly's.
        origin: where the replay started: at a snapshot, at the beginning of the partition, or at a later place.
        start: first offset that was read.
        records: that were read.
        snapshot_refused: why a snapshot was not used, "" where one was, or none was there.
    """

    follower: NodeFollower
    origin: Origin
    start: int
    records: int
    snapshot_refused: str


def replay_node(reader: Reader, scorer: StreamScorer, anomaly: Anomaly, plan: ReplayPlan, say: Say) -> Replayed:
    """Bring back what a worker had of a node when it published an anomaly.

    Args:
        reader: of committed records.
        scorer: empty windows and detectors of the stream.
        anomaly: as published; of a silence, the replay goes on until it is certain.
        plan: how.
        say: told how many records are read, and of how many.

    Raises:
        TopicUnreadableError: the telemetry's topic is not there, or cannot be read.
        ReplayImpossibleError: the anomaly's records are gone, or the topic holds others.
    """
    source = anomaly.source
    if source.partition not in reader.partitions(source.topic):
        raise ReplayImpossibleError(f"topic {source.topic} has no partition {source.partition} any more")
    kept = reader.kept(source.topic, source.partition)
    codec = RecordCodec(scorer.stream, max_bytes=plan.max_bytes)
    message = _source_record(reader, anomaly, kept, codec)
    changelog = Changelog(
        source.topic, scorer, group=plan.group, topic=plan.state_topic or "", config=StateConfig(enabled=False)
    )
    start, refused = _put_back(reader, changelog, scorer, anomaly, kept, plan, say)
    origin: Origin = "snapshot"
    if start is None:
        start = _warm_start(reader, anomaly, message, kept, plan)
        origin = "beginning" if start == 0 else "later"
    silent = is_silence(scorer, anomaly)
    follower = NodeFollower(
        scorer,
        source.partition,
        anomaly.node_id,
        keep=scorer.detectors[0].window,
        until_ms=anomaly.window_start_ms if silent else None,
    )
    end = kept.end if silent else source.offset + 1
    messages = reader.read(source.topic, [Span(source.partition, start, end)], TELEMETRY, say)
    records = _follow(messages, follower, codec, _is_over(anomaly, follower) if silent else lambda _: False)
    return Replayed(follower, origin, start, records, refused)


def is_silence(scorer: StreamScorer, anomaly: Anomaly) -> bool:
    """Tell whether an anomaly is a silence, which has no window of values."""
    return scorer.silence is not None and anomaly.detector == scorer.silence.name


def _source_record(reader: Reader, anomaly: Anomaly, kept: Span, codec: RecordCodec) -> Message:
    """Return the record that the anomaly was made from."""
    source = anomaly.source
    place = f"{source.topic}[{source.partition}] offset {source.offset}"
    if source.offset < kept.start:
        raise ReplayImpossibleError(
            f"the telemetry expired: {place} is gone, the topic's retention keeps offset {kept.start} and later"
        )
    span = Span(source.partition, source.offset, min(source.offset + 1, kept.end))
    found = list(reader.read(source.topic, [span], TELEMETRY, lambda _stage, _done, _total: None))
    if codec.decode([each.key() for each in found], [each.value() for each in found]).keys != [anomaly.node_id]:
        raise ReplayImpossibleError(f"{place} is no record of {anomaly.node_id}: was the topic made anew since?")
    return found[0]


def _put_back(
    reader: Reader, changelog: Changelog, scorer: StreamScorer, anomaly: Anomaly, kept: Span, plan: ReplayPlan, say: Say
) -> tuple[int | None, str]:
    """Put back a snapshot from before the window; return where to read on, or ``None`` and why there is none."""
    if plan.state_topic is None:
        return None, ""
    source = anomaly.source
    rhythm_ms = scorer.detectors[0].window * scorer.step_ms if is_silence(scorer, anomaly) else 0
    wanted = Wanted(
        group=plan.group,
        topic=source.topic,
        partition=source.partition,
        node=anomaly.node_id,
        kept_from=kept.start,
        offset=source.offset,
        before_ms=anomaly.window_start_ms - rhythm_ms,
        rules=scorer.store.rules,
    )
    try:
        saved = state_before(reader, plan.state_topic, wanted, say)
    except TopicUnreadableError as error:
        return None, str(error)
    if saved is None:
        return None, f"{plan.state_topic} has no snapshot from before the anomaly any more"
    restored = changelog.restore(source.partition, saved, source.offset)
    if restored.start is None or restored.refused:
        scorer.drop_partition(source.partition)
        return None, f"the snapshot cannot be used: {restored.cold or 'it is damaged'}"
    return restored.start, ""


def _warm_start(reader: Reader, anomaly: Anomaly, message: Message, kept: Span, plan: ReplayPlan) -> int:
    """Return the offset from which to read where there is no snapshot."""
    kind, at_ms = message.timestamp()
    if plan.warm_up_ms is None or kind == TIMESTAMP_NOT_AVAILABLE:
        return kept.start
    found = reader.since(anomaly.source.topic, int(at_ms) - plan.warm_up_ms, [anomaly.source.partition])
    return max(kept.start, min([span.start for span in found] + [anomaly.source.offset]))


def _is_over(anomaly: Anomaly, follower: NodeFollower) -> Callable[[int], bool]:
    """Tell when enough was read behind a silence: it was told, and the node is back or long not."""
    told_at: list[int] = []

    def over(records: int) -> bool:
        if not told_at and any(each.silence.last_ms == anomaly.window_start_ms for each in follower.silences):
            told_at.append(records)
        back = any(at > anomaly.window_start_ms for at in follower.returns)
        return bool(told_at) and (back or records - told_at[0] >= AFTER_SILENCE)

    return over


def _follow(
    messages: Iterator[Message], follower: NodeFollower, codec: RecordCodec, is_over: Callable[[int], bool]
) -> int:
    """Take in records, some at a time; return how many."""
    records = 0
    chunk: list[Message] = []

    def take() -> None:
        for each in by_topic(chunk):
            decoded = codec.decode(each.keys, each.values)
            follower.follow(decoded, each.offsets[decoded.index])
        chunk.clear()

    for message in messages:
        chunk.append(message)
        records += 1
        if len(chunk) == CHUNK:
            take()
            if is_over(records):
                return records
    take()
    return records
