"""The state of one topic's partitions as records for the state topic, and back. No Kafka here.

What the records say together, whatever batch they were written with: put back every node's snapshot and the watermark
of the progress record, replay from its ``start``, and the windows and detector states are those of a worker that was
never away. Why this holds, record by record, is in docs/operations/recovery.md.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.scoring import StreamScorer
from features.appended import Appended, StepStatus
from features.snapshots import SNAPSHOT_VERSION
from features.windows import SnapshotError, Watermark
from streams.changes import Changes
from streams.config import StateConfig
from streams.state import MadeBy, Progress, SavedPartition, StateRecord, node_key, progress_key

__all__ = ["Changelog", "Restored", "changelogs"]

FIRST_EPOCH: Final = 1
SETTINGS: Final = ("window", "step_ms", "late_steps", "state_width")

Spans = Mapping[int, tuple[int, int]]
Watermarks = Mapping[int, Watermark | None]


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back of a partition.

    Attributes:
        start: offset to read on from, ``None`` for the committed one.
        nodes: whose windows are back.
        refused: snapshots that could not be used.
        cold: why the windows are empty instead, ``""`` when they are not or nothing was ever read here.
    """

    start: int | None = None
    nodes: int = 0
    refused: int = 0
    cold: str = ""


@dataclass(slots=True)
class _Partition:
    """One partition's part: its changes, its epoch, and what waits for the next transaction."""

    changes: Changes
    epoch: int
    forgotten: dict[str, bytes]


class Changelog:
    """Keeps the state topic right for the partitions of one source topic.

    Args:
        source: the topic.
        scorer: whose windows and detector states are kept.
        group: consumer group; every group has a state of its own.
        topic: the state topic.
        config: how often.
    """

    def __init__(self, source: str, scorer: StreamScorer, *, group: str, topic: str, config: StateConfig) -> None:
        self._source, self._group, self._topic = source, group, topic
        self._scorer, self._store = scorer, scorer.store
        self._config = config
        self._made_by = _made_by(scorer)
        self._progress_key = progress_key(group, source)
        self._partitions: dict[int, _Partition] = {}

    def restore(self, partition: int, saved: SavedPartition, committed: int | None) -> Restored:
        """Put back the windows of a partition of which the store has nothing, and keep its state from now on.

        Args:
            partition: which.
            saved: what the state topic has of it.
            committed: the offset to go on from when all is back, ``None`` when nothing was ever committed.
        """
        changes = Changes(every_steps=self._config.every_steps, replay_records=self._config.replay_records)
        try:
            progress = self._usable(partition, saved, committed)
        except _UnusableError as reason:
            seen = [one.epoch for one in saved.nodes.values()] + ([saved.progress.epoch] if saved.progress else [])
            changes.discard(saved.nodes, 0)
            self._partitions[partition] = _Partition(changes, max(seen, default=0) + FIRST_EPOCH, {})
            return Restored(refused=len(saved.nodes), cold=str(reason))
        epoch = saved.progress.epoch if saved.progress is not None else FIRST_EPOCH
        self._partitions[partition] = _Partition(changes, epoch, {})
        if progress is None:
            return Restored()
        changes.begin(progress.start, progress.watermark)
        own = {key: one.value for key, one in saved.nodes.items() if one.epoch == epoch}
        back, forgotten = self._put_back(own)
        changes.adopt(back)
        changes.discard(forgotten, progress.next)
        changes.discard(saved.nodes.keys() - set(back) - set(forgotten), 0)
        refused = len(saved.nodes) - len(back) - len(forgotten)
        return Restored(progress.start, nodes=len(back), refused=refused)

    def drop(self, partition: int) -> None:
        """Keep the state of this partition no more."""
        self._partitions.pop(partition, None)

    def watermarks(self, partitions: Sequence[int]) -> Watermarks:
        """Return the watermarks as they are: ``observe`` wants those from before a batch."""
        return {partition: self._store.watermark(partition) for partition in partitions}

    def observe(
        self,
        spans: Spans,
        before: Watermarks,
        keys: Sequence[str],
        partitions: NDArray[np.int32],
        appended: Appended,
    ) -> None:
        """Take note of what a batch of n good records changed.

        Args:
            spans: by partition, the first offset of the batch and the one after its last.
            before: the watermarks before the batch.
            keys: n keys.
            partitions: int32 (n,).
            appended: what became of the records.
        """
        changed = appended.status != StepStatus.APPLIED
        for number, (start, end) in spans.items():
            kept = self._partitions.get(number)
            if kept is None:
                continue
            index = np.flatnonzero(changed & (partitions == number)).tolist()
            kept.changes.observe([keys[i] for i in index], start, end, before[number])
            gone = kept.changes.forget(key for home, key in appended.evicted if home == number)
            if gone:
                done = self._store.snapshot_forgotten(number, gone, end - 1)
                kept.forgotten.update(zip(gone, done, strict=True))

    def unsaved(self) -> dict[int, int]:
        """Return the partitions that a restart would replay records of, with the end of what was observed of each."""
        ends = {number: kept.changes.end for number, kept in self._partitions.items()}
        return {number: end for number, end in ends.items() if self._partitions[number].changes.start < end}

    def records(self, partitions: Sequence[int], *, all_nodes: bool = False) -> list[StateRecord]:
        """Return what must be in the transaction that commits the end of what was observed of these partitions.

        Args:
            partitions: which.
            all_nodes: save every node that changed, not only those whose turn it is: then nothing is to be replayed.
        """
        found: list[StateRecord] = []
        saved = self._snapshots([each for each in partitions if each in self._partitions], all_nodes)
        for number, nodes in saved.items():
            kept = self._partitions[number]
            # In this order: a node that came back after it was forgotten is as its own snapshot says.
            values: dict[str, bytes | None] = {**kept.forgotten, **nodes}
            kept.forgotten.clear()
            values |= dict.fromkeys(kept.changes.deletable())
            found += [
                StateRecord(self._topic, number, node_key(self._group, self._source, key), value, kept.epoch)
                for key, value in values.items()
            ]
            # Always: a reader must find where the group goes on here too, when Kafka cannot say (streams.recovery).
            found.append(self._progress(number, kept))
        return found

    def _usable(self, partition: int, saved: SavedPartition, committed: int | None) -> Progress | None:
        """Return the progress record, ``None`` where there was never one; puts back the watermark."""
        if saved.progress is None:
            if committed or saved.nodes:
                raise _UnusableError("the state topic has nothing about it")
            return None
        try:
            progress = msgspec.json.decode(saved.progress.value, type=Progress)
        except msgspec.DecodeError as error:
            raise _UnusableError(f"its progress record cannot be read: {error}") from error
        if progress.made_by != self._made_by:
            raise _UnusableError(_difference(progress.made_by, self._made_by))
        if progress.next > (committed or 0):
            raise _UnusableError(
                f"the group goes on at offset {committed or 0} and its state at {progress.next}: it was set back"
            )
        if progress.watermark is not None:
            try:
                self._store.set_watermark(partition, progress.watermark)
            except SnapshotError as error:
                raise _UnusableError(str(error)) from error
        return progress

    def _put_back(self, snapshots: Mapping[str, bytes]) -> tuple[list[str], list[str]]:
        """Return the keys of the nodes that are back, and of those that are known as forgotten."""
        keys, values = list(snapshots), list(snapshots.values())
        try:
            slots = self._store.restore_each(values)
        except SnapshotError:
            good = [i for i, value in enumerate(values) if self._restorable(value)]
            keys, slots = [keys[i] for i in good], self._store.restore_each([values[i] for i in good])
        held = self._store.steps_held(slots) > 0
        return [key for key, has in zip(keys, held, strict=True) if has], [
            key for key, has in zip(keys, held, strict=True) if not has
        ]

    def _restorable(self, snapshot: bytes) -> bool:
        try:
            self._store.restore(snapshot)
        except SnapshotError:
            return False
        return True

    def _snapshots(self, partitions: Sequence[int], all_nodes: bool) -> dict[int, dict[str, bytes]]:
        changes = {number: self._partitions[number].changes for number in partitions}
        due = {number: each.unsaved() if all_nodes else each.due() for number, each in changes.items()}
        slots = [self._store.slot_of(number, key) for number, keys in due.items() for key in keys]
        values = iter(self._store.snapshot_each(np.array(slots, np.int64)))
        found = {}
        for number, keys in due.items():
            changes[number].saved(keys)
            found[number] = {key: next(values) for key in keys}
        return found

    def _progress(self, number: int, kept: _Partition) -> StateRecord:
        changes = kept.changes
        progress = Progress(
            start=changes.start,
            next=changes.end,
            watermark=changes.watermark(self._store.watermark(number)),
            made_by=self._made_by,
        )
        return StateRecord(self._topic, number, self._progress_key, msgspec.json.encode(progress), kept.epoch)


def changelogs(
    scorers: Mapping[str, StreamScorer], *, group: str, topic: str, config: StateConfig
) -> dict[str, Changelog]:
    """Make the changelog of each source topic; none where windows are not to be kept."""
    if not config.enabled:
        return {}
    return {
        source: Changelog(source, scorer, group=group, topic=topic, config=config) for source, scorer in scorers.items()
    }


class _UnusableError(Exception):
    """Why a saved state cannot be put back."""


def _made_by(scorer: StreamScorer) -> MadeBy:
    """Say what decides the meaning of a snapshot: fields, window settings, detectors that keep a state."""
    stream, rules = scorer.stream, scorer.store.rules
    fields = msgspec.json.encode([stream.features, stream.codes], order="deterministic")
    stateful = [f"{each.version} ({each.state_width})" for each in scorer.detectors if each.state_width]
    settings: MadeBy = {name: getattr(rules, name) for name in SETTINGS}
    settings["snapshots"] = SNAPSHOT_VERSION
    return {"fields": hashlib.blake2b(fields, digest_size=8).hexdigest(), "detectors": stateful, **settings}


def _difference(theirs: MadeBy, ours: MadeBy) -> str:
    named = [f"{name} {theirs.get(name)}, now {ours.get(name)}" for name in ours if theirs.get(name) != ours[name]]
    return f"it was made with {'; '.join(named)}"
