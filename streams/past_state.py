"""What the state topic still has of one node from before an offset: the place from which its windows can be replayed.

The topic is compacted, but only in files that are full: of the last minutes, or hours, every snapshot is there. What a
progress record and the node's newest snapshot before it say together is what a worker that started then would have put
back (docs/operations/recovery.md).
"""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from features.rules import WindowRules
from features.snapshots import SnapshotError, newest_step
from streams.spans import Reader, Say
from streams.state import Progress, Saved, SavedPartition, node_key, progress_key
from streams.state_reader import saved_in

__all__ = ["States", "Wanted", "past_states"]

READING = "reading the state topic"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which state is looked for.

    Attributes:
        group: consumer group of the workers.
        topic, partition: of the telemetry.
        node: key of the node.
        kept_from: first offset of the telemetry that Kafka still has: a replay cannot start before it.
        offset: of the record whose verdict is to be given again: the state must not contain it.
        before_ms: event time before which the partition and the node's own steps in it should end, so that verdicts on
            the steps from then on are given as well; where no such state is left, the oldest is taken.
        rules: of the windows.
    """

    group: str
    topic: str
    partition: int
    node: str
    kept_from: int
    offset: int
    before_ms: int
    rules: WindowRules


class States(NamedTuple):
    """What the state topic has of a node; each is ``None`` where there is none.

    Attributes:
        before: newest one that is wanted.
        now: newest one of all.
    """

    before: SavedPartition | None
    now: SavedPartition | None


@dataclass(slots=True)
class _Newest:
    """The node's newest snapshot so far, and what was chosen."""

    wanted: Wanted
    node: Saved | None = None
    early: bool = True
    chosen: SavedPartition | None = None
    now: SavedPartition | None = None

    def snapshot(self, saved: Saved | None) -> None:
        self.node, self.early = saved, True
        if saved is not None:
            try:
                self.early = newest_step(saved.value, self.wanted.rules) < self.wanted.before_ms
            except SnapshotError:  # said by whoever puts it back
                self.early = False

    def progress(self, saved: Saved) -> None:
        try:
            progress = msgspec.json.decode(saved.value, type=Progress)
        except msgspec.DecodeError:
            return
        wanted = self.wanted
        whole = SavedPartition(saved, {} if self.node is None else {wanted.node: self.node})
        self.now = None if self.node is None else whole
        if progress.next > wanted.offset or progress.start < wanted.kept_from:
            return
        early = progress.watermark is None or progress.watermark.first_ms < wanted.before_ms
        if (early and self.early) or self.chosen is None:
            self.chosen = whole


def past_states(reader: Reader, topic: str, wanted: Wanted, say: Say) -> States:
    """Return the newest state that is wanted, and the newest of all.

    Args:
        reader: of committed records.
        topic: the state topic.
        wanted: which.
        say: told how many records are read, and of how many.

    Raises:
        TopicUnreadableError: the topic is not there, or cannot be read.
    """
    if wanted.partition not in reader.partitions(topic):
        return States(None, None)
    newest = _Newest(wanted)
    node, progress = node_key(wanted.group, wanted.topic, wanted.node), progress_key(wanted.group, wanted.topic)
    for message in reader.read(topic, [reader.kept(topic, wanted.partition)], READING, say):
        key = message.key()
        if key == node:
            newest.snapshot(saved_in(message))
        elif key == progress and (saved := saved_in(message)) is not None:
            newest.progress(saved)
    return States(newest.chosen, newest.now)
