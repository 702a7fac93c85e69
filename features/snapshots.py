"""Nodes as bytes and back: a versioned header, a checksum, and columns whose sizes must agree."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from features.nodes import Label
from features.rules import MAX_TS_MS, WindowRules
from features.transfer import Nodes
from features.watermarks import Watermark

SNAPSHOT_VERSION: Final = 2
_MAGIC: Final = b"VGLW"
_DIGEST_BYTES: Final = 16
_HEADER_BYTES: Final = len(_MAGIC) + 1 + _DIGEST_BYTES
_SETTINGS: Final = ("features", "window", "step_ms", "late_steps", "state_width")


class SnapshotError(ValueError):
    """A snapshot cannot be restored: damaged, cut short, of another version or of other settings."""


class _Payload(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    settings: dict[str, int]
    mark: tuple[int, str, int, int, int, int, int] | None
    keys: list[str]
    labels: list[Label]
    partition: bytes
    count: bytes
    seen: bytes
    applied: bytes
    alive: bytes
    stamps: bytes
    rows: bytes
    state: bytes


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Payload)


def encode(nodes: Nodes, rules: WindowRules, mark: tuple[int, Watermark] | None = None) -> bytes:
    """Serialise nodes, and with ``mark`` a partition's watermark. The same nodes give the same bytes."""
    payload = _Payload(
        settings=_settings(rules),
        mark=None if mark is None else (mark[0], *mark[1]),
        keys=nodes.keys,
        labels=nodes.labels,
        **_columns(nodes),
    )
    return _close(_encoder.encode(payload))


def encode_each(nodes: Nodes, rules: WindowRules) -> list[bytes]:
    """Serialise nodes one by one: as ``encode`` for each, without an array for each."""
    settings, columns = _settings(rules), _columns(nodes)
    steps = [0, *np.cumsum(nodes.count).tolist()]
    each = [1] * len(nodes)
    cut = {
        **{name: _cut(columns[name], each) for name in ("partition", "count", "seen", "applied", "alive", "state")},
        **{name: _cut(columns[name], np.diff(steps).tolist()) for name in ("stamps", "rows")},
    }
    heads = (settings, None)
    # In the order of the fields, by place: by name it takes twice as long.
    columns_in_order = zip(*(cut[name] for name in _Payload.__struct_fields__[4:]), strict=True)
    return [
        _close(_encoder.encode(_Payload(*heads, [key], [label], *parts)))
        for key, label, parts in zip(nodes.keys, nodes.labels, columns_in_order, strict=True)
    ]


def _cut(column: bytes, counts: Sequence[int]) -> Iterator[bytes]:
    """Cut a column into each node's part; ``counts`` says how many entries each node has."""
    size = len(column) // max(1, sum(counts))
    start = 0
    for count in counts:
        end = start + count * size
        yield column[start:end]
        start = end


def _settings(rules: WindowRules) -> dict[str, int]:
    return {name: getattr(rules, name) for name in _SETTINGS}


def _columns(nodes: Nodes) -> dict[str, bytes]:
    return {
        "partition": nodes.partition.astype("<i4").tobytes(),
        "count": nodes.count.astype("<i4").tobytes(),
        "seen": nodes.seen.astype("<i8").tobytes(),
        "applied": nodes.applied.astype("<i8").tobytes(),
        "alive": nodes.alive.astype("<i8").tobytes(),
        "stamps": nodes.stamps.astype("<i8").tobytes(),
        "rows": nodes.rows.astype("<f4").tobytes(),
        "state": nodes.state.astype("<f4").tobytes(),
    }


def _close(payload: bytes) -> bytes:
    return b"".join((_MAGIC, bytes([SNAPSHOT_VERSION]), _digest(payload), payload))


def decode(snapshots: Sequence[bytes], rules: WindowRules) -> tuple[Nodes, dict[int, Watermark]]:
    """Read nodes back from one or many snapshots, and the watermarks of the partitions that were saved whole.

    Nothing is reserved beyond the size of the snapshots themselves.

    Raises:
        SnapshotError: one is damaged, cut short, of another version, or made with other settings; or two of them hold
            the same node.
    """
    payloads = [_open(snapshot) for snapshot in snapshots]
    for payload in payloads:
        _check_sizes(payload, rules)
    nodes = _join(payloads, rules)
    _check_values(nodes)
    marks = {payload.mark[0]: Watermark(*payload.mark[1:]) for payload in payloads if payload.mark is not None}
    for partition, mark in marks.items():
        check_watermark(partition, mark)
    return nodes, marks


def newest_step(snapshot: bytes, rules: WindowRules) -> int:
    """Return the largest event time of a step in a snapshot, milliseconds; 0 where it holds none.

    Raises:
        SnapshotError: as ``decode``.
    """
    nodes, _ = decode([snapshot], rules)
    return int(nodes.stamps.max(initial=0)) >> 1


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()


def _open(snapshot: bytes) -> _Payload:
    if len(snapshot) < _HEADER_BYTES or not snapshot.startswith(_MAGIC):
        raise SnapshotError(
            f"these {len(snapshot)} bytes are no snapshot of windows: they do not start with its header"
        )
    version = snapshot[len(_MAGIC)]
    if version != SNAPSHOT_VERSION:
        raise SnapshotError(
            f"the snapshot has version {version}, this program reads {SNAPSHOT_VERSION}: rebuild from the log"
        )
    payload = snapshot[_HEADER_BYTES:]
    if _digest(payload) != snapshot[_HEADER_BYTES - _DIGEST_BYTES : _HEADER_BYTES]:
        raise SnapshotError("the snapshot's checksum does not match: it is damaged or cut short; rebuild from the log")
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SnapshotError(f"the snapshot's contents cannot be read: {error}") from error


def _check_sizes(payload: _Payload, rules: WindowRules) -> None:
    for name in _SETTINGS:
        theirs, ours = payload.settings.get(name), getattr(rules, name)
        if theirs != ours:
            raise SnapshotError(
                f"the snapshot was made with {name}={theirs}, this store has {name}={ours}: "
                "use the settings it was made with, or rebuild the windows from the log"
            )
    n = len(payload.keys)
    _check_size("count", payload.count, 4 * n)
    count = np.frombuffer(payload.count, "<i4")
    if n and not (count.min() >= 0 and count.max() <= rules.depth):
        raise SnapshotError(f"the snapshot's count must be in 0..{rules.depth}, found {count.min()}..{count.max()}")
    steps = int(count.sum(dtype=np.int64))
    _check_size("partition", payload.partition, 4 * n)
    _check_size("seen", payload.seen, 8 * n)
    _check_size("applied", payload.applied, 8 * n)
    _check_size("alive", payload.alive, 16 * n)
    _check_size("stamps", payload.stamps, 8 * steps)
    _check_size("rows", payload.rows, 4 * steps * rules.features)
    _check_size("state", payload.state, 4 * n * rules.state_width)
    if len(payload.labels) != n:
        raise SnapshotError(f"the snapshot has {len(payload.labels)} labels, {n} are needed; rebuild from the log")


def _check_size(name: str, data: bytes, expected: int) -> None:
    if len(data) != expected:
        raise SnapshotError(f"the snapshot's {name} has {len(data)} bytes, {expected} are needed; rebuild from the log")


def _join(payloads: Sequence[_Payload], rules: WindowRules) -> Nodes:
    keys = [key for payload in payloads for key in payload.keys]
    stamps = np.frombuffer(b"".join(p.stamps for p in payloads), "<i8").astype(np.int64)
    rows = np.frombuffer(b"".join(p.rows for p in payloads), "<f4").astype(np.float32)
    state = np.frombuffer(b"".join(p.state for p in payloads), "<f4").astype(np.float32)
    return Nodes(
        keys=keys,
        partition=np.frombuffer(b"".join(p.partition for p in payloads), "<i4").astype(np.int32),
        count=np.frombuffer(b"".join(p.count for p in payloads), "<i4").astype(np.int32),
        seen=np.frombuffer(b"".join(p.seen for p in payloads), "<i8").astype(np.int64),
        applied=np.frombuffer(b"".join(p.applied for p in payloads), "<i8").astype(np.int64),
        alive=np.frombuffer(b"".join(p.alive for p in payloads), "<i8").astype(np.int64).reshape(len(keys), 2),
        labels=[label for payload in payloads for label in payload.labels],
        stamps=stamps,
        rows=rows.reshape(len(stamps), rules.features),
        state=state.reshape(len(keys), rules.state_width),
    )


def _check_values(nodes: Nodes) -> None:
    some = nodes.count > 0
    ts_ms, last = nodes.stamps >> 1, np.cumsum(nodes.count, dtype=np.int64)[some] - 1
    within = np.ones(len(ts_ms), np.bool_)
    within[last] = False
    homes = set(zip(nodes.partition.tolist(), nodes.keys, strict=True))
    claims = {
        "keys must be given once in a partition": len(homes) == len(nodes),
        "keys must not be empty": all(nodes.keys),
        "partition must not be negative": bool(np.all(nodes.partition >= 0)),
        "seen must be a time": bool(np.all((nodes.seen >= 0) & (nodes.seen < MAX_TS_MS))),
        "applied must be -1 or an offset": bool(np.all(nodes.applied >= -1)),
        "alive must be spans of time": bool(np.all((nodes.alive >= 0) & (nodes.alive < MAX_TS_MS))),
        "a node without steps must have an applied offset": bool(np.all(nodes.applied[~some] >= 0)),
        "stamps must be times": bool(np.all((ts_ms > 0) & (ts_ms < MAX_TS_MS))),
        "stamps must increase": bool(np.all(np.diff(ts_ms)[within[:-1]] > 0)),
        "stamps must end with a real step": bool(np.all(nodes.stamps[last] & 1 == 0)),
    }
    for claim, holds in claims.items():
        if not holds:
            raise SnapshotError(f"the snapshot's contents are wrong: {claim}; rebuild from the log")


def check_watermark(partition: int, mark: Watermark) -> None:
    """Check that a watermark read from outside makes sense. Raises ``SnapshotError`` when it does not."""
    agree = (mark.origin_ms == 0) == (mark.second_ms == 0)
    ordered = 0 <= mark.origin_ms <= mark.second_ms <= mark.first_ms < MAX_TS_MS
    alive = 0 <= mark.first_alive_ms < MAX_TS_MS and 0 <= mark.second_alive_ms < MAX_TS_MS
    if not (0 <= partition < 2**31 and agree and ordered and alive and mark.leader and mark.first_ms):
        raise SnapshotError(f"partition {partition} cannot have the watermark {mark}: rebuild from the log")
