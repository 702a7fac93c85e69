"""What is kept in the state topic: one record a node, and one a source partition that says where to go on from.

Keys are JSON arrays: ``["GROUP", "TOPIC", "NODE"]`` for a node, ``["GROUP", "TOPIC"]`` for a partition's progress. The
state of source partition p is in partition p of the state topic, written in the transaction that commits the offsets it
belongs to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from features.watermarks import Watermark

__all__ = [
    "EPOCH_HEADER",
    "WORKER_HEADER",
    "MadeBy",
    "Progress",
    "Saved",
    "SavedPartition",
    "StateRecord",
    "node_key",
    "progress_key",
    "sort_saved",
]

EPOCH_HEADER: Final = "epoch"
WORKER_HEADER: Final = "worker"
"""Transactional id of the worker that wrote the record."""

MadeBy = dict[str, str | int | list[str]]


class StateRecord(NamedTuple):
    """One record for a compacted state topic, published in the batch's transaction.

    Attributes:
        topic: the state topic.
        partition: the source partition's number.
        key: whose state.
        value: the state, ``None`` to delete it.
        epoch: counts the starts with empty windows; a state from before the last one is worth nothing.
    """

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    epoch: int


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """From where the records of a source partition are replayed over its nodes' snapshots.

    Attributes:
        start: first offset to replay: every node's snapshot contains all its records before it.
        next: offset that was committed together with this.
        watermark: of the partition before ``start``, ``None`` when no record came before it.
        made_by: what has to be the same for the snapshots to make sense, by name.
        v: version of this message.
    """

    start: int
    next: int
    watermark: Watermark | None
    made_by: MadeBy
    v: int = 1


class Saved(NamedTuple):
    """A state record as it was read: the epoch of its header and its value."""

    epoch: int
    value: bytes


@dataclass(frozen=True, slots=True)
class SavedPartition:
    """All that a state partition holds of one source partition.

    Attributes:
        progress: its progress record, where there is one.
        nodes: the nodes' snapshots, by key.
    """

    progress: Saved | None = None
    nodes: dict[str, Saved] = field(default_factory=dict)


def node_key(group: str, topic: str, node: str) -> bytes:
    """Key of a node's record."""
    return msgspec.json.encode([group, topic, node])


def progress_key(group: str, topic: str) -> bytes:
    """Key of a partition's progress record."""
    return msgspec.json.encode([group, topic])


def sort_saved(records: Mapping[bytes, Saved], group: str) -> dict[str, SavedPartition]:
    """Sort a state partition's newest records by source topic; those of other groups and strangers are left out."""
    found: dict[str, SavedPartition] = {}
    for key, saved in records.items():
        try:
            parts = msgspec.json.decode(key, type=list[str])
        except msgspec.DecodeError:
            continue
        match parts:
            case [owner, topic] if owner == group:
                known = found.get(topic, SavedPartition())
                found[topic] = SavedPartition(saved, known.nodes)
            case [owner, topic, node] if owner == group:
                found.setdefault(topic, SavedPartition()).nodes[node] = saved
    return found
