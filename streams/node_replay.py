"""Replays a node's telemetry up to an anomaly, through the windows and detectors of a worker, without publishing.

Where the replay starts decides whether its score is the worker's to the bit. From a snapshot that a worker saved, or
from the very beginning of the partition, it is. From a place in between windows are the same; what a detector had
learned of the node is taken from a later snapshot, or learned from what is read.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from detectors.following import NodeFollower
from detectors.protocol import NodeState
from detectors.scoring import StreamScorer
from schemas.codec import RecordCodec
from schemas.outputs import Anomaly
from streams.changelog import Changelog
from streams.config import StateConfig
from streams.errors import ReplayImpossibleError, TopicUnreadableError
from streams.past_state import States, Wanted, past_states
from streams.records import by_topic
from streams.spans import Reader, Say, Span
from streams.state import SavedPartition

__all__ = ["Origin", "ReplayPlan", "Replayed", "is_silence", "replay_node"]

CHUNK: Final = 5_000  # records decoded at once
AFTER_SILENCE: Final = 1_000_000  # records looked at behind a silence for the node's return
TELEMETRY: Final = "replaying telemetry"

WARM_UP_STEPS: Final = 3_600  # to learn from where no snapshot is left
SEEDED_STEPS: Final = 120  # for the windows alone: steps of thirty, gaps, and Kafka's clock that is not the records'
SHORT_LOG: Final = 200_000  # records; a partition that began so lately is read from its beginning
ANY_OFFSET: Final = 2**62

Origin = Literal["snapshot", "beginning", "seeded", "later"]


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """How to replay.

    Attributes:
        group: consumer group of the workers, whose state it is.
        state_topic: where snapshots are; ``None`` to do without.
        warm_up_ms: how much telemetry to learn from before the anomaly where no snapshot from before it is left, by
            Kafka's clock; ``None`` to read as much as helps: all of a short partition, else ``WARM_UP_STEPS``, or few
            where a later snapshot has what was learned.
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
        origin: where the replay started: at a snapshot, at the beginning of the partition, or at a later place, there
            with the states of a later snapshot ("seeded") or without any.
        start: first offset that was read.
        records: that were read.
        snapshot_refused: why a snapshot was not used, "" where one was, or none was there.
    """

    follower: NodeFollower
    origin: Origin
    start: int
    records: int
    snapshot_refused: str


@dataclass(frozen=True, slots=True)
class _Job:
    """One replay: what is read with, what is replayed, and what Kafka still has of its partition."""

    reader: Reader
    scorer: StreamScorer
    anomaly: Anomaly
    plan: ReplayPlan
    say: Say
    kept: Span


class _Beginning(NamedTuple):
    """Where a replay starts, and what the node's detector states begin with, ``None`` for as they always do."""

    origin: Origin
    start: int
    refused: str
    seed: NodeState | None = None


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
    job = _Job(reader, scorer, anomaly, plan, say, kept)
    codec = RecordCodec(scorer.stream, max_bytes=plan.max_bytes)
    message = _source_record(reader, anomaly, kept, codec)
    begun = _beginning(job, message)
    silent = is_silence(scorer, anomaly)
    follower = NodeFollower(
        scorer,
        source.partition,
        anomaly.node_id,
        keep=scorer.detectors[0].window,
        until_ms=anomaly.window_start_ms if silent else None,
        seed=begun.seed,
    )
    end = kept.end if silent else source.offset + 1
    messages = reader.read(source.topic, [Span(source.partition, begun.start, end)], TELEMETRY, say)
    records = _follow(messages, follower, codec, _is_over(anomaly, follower) if silent else lambda _: False)
    return Replayed(follower, begun.origin, begun.start, records, begun.refused)


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


def _beginning(job: _Job, message: Message) -> _Beginning:
    """Choose where to start: at a snapshot, at the beginning, with a later snapshot's states, or anywhere."""
    plan, source, scorer = job.plan, job.anomaly.source, job.scorer
    states, refused = _states(job)
    changelog = Changelog(
        source.topic, scorer, group=plan.group, topic=plan.state_topic or "", config=StateConfig(enabled=False)
    )
    if states.before is not None:
        restored = changelog.restore(source.partition, states.before, source.offset)
        if restored.start is not None and not restored.refused:
            return _Beginning("snapshot", restored.start, "")
        scorer.drop_partition(source.partition)
        refused = f"the snapshot cannot be used: {restored.cold or 'it is damaged'}"
    if job.kept.start == 0 and source.offset < SHORT_LOG and plan.warm_up_ms is None:
        return _Beginning("beginning", 0, refused)
    seed = None
    if states.now is not None and plan.warm_up_ms is None:
        seed = _seed(job, changelog, states.now)
    steps = WARM_UP_STEPS if seed is None else SEEDED_STEPS
    start = _start(job, message, steps * scorer.step_ms if plan.warm_up_ms is None else plan.warm_up_ms)
    return _Beginning("beginning" if start == 0 else "later" if seed is None else "seeded", start, refused, seed)


def _states(job: _Job) -> tuple[States, str]:
    """Return what the state topic has of the node, and why nothing of before the anomaly, "" where it has that."""
    plan, anomaly, scorer = job.plan, job.anomaly, job.scorer
    if plan.state_topic is None:
        return States(None, None), "workers save none by these settings (state.enabled)"
    rhythm_ms = scorer.detectors[0].window * scorer.step_ms if is_silence(scorer, anomaly) else 0
    wanted = Wanted(
        group=plan.group,
        topic=anomaly.source.topic,
        partition=anomaly.source.partition,
        node=anomaly.node_id,
        kept_from=job.kept.start,
        offset=anomaly.source.offset,
        before_ms=anomaly.window_start_ms - rhythm_ms,
        rules=scorer.store.rules,
    )
    try:
        states = past_states(job.reader, plan.state_topic, wanted, job.say)
    except TopicUnreadableError as error:
        return States(None, None), str(error)
    if states.before is None:
        return states, f"{plan.state_topic} has no snapshot from before the anomaly any more"
    return states, ""


def _seed(job: _Job, changelog: Changelog, now: SavedPartition) -> NodeState | None:
    """Return the detector states of a later snapshot, float32 (state_width,); the scorer is left empty."""
    store, number = job.scorer.store, job.anomaly.source.partition
    changelog.restore(number, now, ANY_OFFSET)
    slot = store.slot_of(number, job.anomaly.node_id)
    seed = None if slot is None else store.state[slot].copy()
    job.scorer.drop_partition(number)
    return seed


def _start(job: _Job, message: Message, back_ms: int) -> int:
    """Return the offset from which to read, so long before the anomaly's record by Kafka's clock."""
    kind, at_ms = message.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE:
        return job.kept.start
    source = job.anomaly.source
    found = job.reader.since(source.topic, int(at_ms) - back_ms, [source.partition])
    return max(job.kept.start, min([span.start for span in found] + [source.offset]))


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
