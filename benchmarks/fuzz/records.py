"""Damaged records in the company of good ones: none raises, and no good one is lost or changed."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.fuzz.mutations import damaged, odd
from schemas.codec import Decoded, RecordCodec
from schemas.errors import ErrorCode
from schemas.fields import Field, Kind, fields_of, quantiles_of
from schemas.streams import STREAMS, Stream, custom_stream

__all__ = ["RecordFindings", "fuzz_records"]

BATCH: Final = 2_000
POOL: Final = 500
GOOD_SHARE: Final = 0.2
RANDOM_SHARE: Final = 0.1  # of the others: bytes that never were a record
OWN: Final = custom_stream("own", "own", ("tps", "lag_ms", "mode"), 1000, codes={"mode": {"a": 0, "b": 1}})


@dataclass(frozen=True, slots=True)
class Pool:
    """Good records of a stream, and what a codec must make of them.

    Attributes:
        keys, values: as on the wire.
        ts_ms: int64 (n,).
        rows: float32 (n, F).
    """

    keys: list[bytes]
    values: list[bytes]
    ts_ms: NDArray[np.int64]
    rows: NDArray[np.float32]


@dataclass(slots=True)
class RecordFindings:
    """What came of it: counts, and a line for each batch in which something was wrong."""

    records: int = 0
    good: int = 0
    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def fuzz_records(records: int, seed: int, findings: RecordFindings) -> None:
    """Decode at least so many records, a fifth of them good, in batches of all streams by turns.

    A batch is a function of the seed and its number, so that one that fails can be had again.
    """
    began = time.perf_counter()
    streams = [*STREAMS.values(), OWN]
    codecs = [RecordCodec(stream) for stream in streams]
    pools = [_pool(stream, random.Random(f"{seed}/{stream.name}")) for stream in streams]
    for number in range(-(-records // BATCH)):
        turn = number % len(streams)
        rng = random.Random(f"{seed}/{number}")
        try:
            _batch(codecs[turn], pools[turn], rng, findings)
        except Exception as error:  # noqa: BLE001 -- that any exception is a finding is the point
            findings.failures.append(f"seed {seed}, batch {number} ({streams[turn].name}): {error!r}"[:500])
        findings.records += BATCH
    findings.seconds += time.perf_counter() - began


def _batch(codec: RecordCodec, pool: Pool, rng: random.Random, findings: RecordFindings) -> None:
    chosen = rng.choices(range(POOL), k=BATCH)
    good = [rng.random() < GOOD_SHARE for _ in chosen]
    keys: list[bytes | None] = [pool.keys[i] for i in chosen]
    values: list[bytes | None] = [pool.values[i] for i in chosen]
    for place in (place for place, whole in enumerate(good) if not whole):
        keys[place], values[place] = _broken(pool, chosen[place], rng)
    decoded = codec.decode(keys, values)
    _check_places(decoded)
    _check_good(decoded, pool, np.flatnonzero(good), np.array(chosen))
    findings.good += sum(good)
    findings.accepted += len(decoded)
    for code, count in Counter(ErrorCode(each.code) for each in decoded.rejections).items():
        findings.rejected[code] = findings.rejected.get(code, 0) + count


def _broken(pool: Pool, chosen: int, rng: random.Random) -> tuple[bytes | None, bytes | None]:
    key, value = pool.keys[chosen], pool.values[chosen]
    draw = rng.random()
    if draw < RANDOM_SHARE:
        return key, rng.randbytes(rng.randrange(200))
    if draw < RANDOM_SHARE + 0.01:
        return None if rng.random() < 0.5 else key, None
    if draw < RANDOM_SHARE + 0.05:
        return damaged(key, rng), value
    if draw < RANDOM_SHARE + 0.4:
        return key, msgspec.json.encode(odd(msgspec.json.decode(value), rng))
    return key, damaged(value, rng, pool.values[rng.randrange(POOL)])


def _check_places(decoded: Decoded) -> None:
    """Each position comes out exactly once."""
    places = [*decoded.index.tolist(), *(each.index for each in decoded.rejections)]
    if sorted(places) != list(range(BATCH)):
        raise AssertionError(f"{len(places)} of {BATCH} records came out, {len(set(places))} of them once")
    if not np.isfinite(decoded.rows).all():
        raise AssertionError("a row holds a value that is not finite")


def _check_good(decoded: Decoded, pool: Pool, good: NDArray[np.int64], chosen: NDArray[np.int64]) -> None:
    """Good records come out, and as they are."""
    if not np.isin(good, decoded.index).all():
        raise AssertionError(f"good records were lost: {np.setdiff1d(good, decoded.index)[:5].tolist()}")
    rows = np.searchsorted(decoded.index, good)
    source = chosen[good]
    if not np.array_equal(decoded.rows[rows], pool.rows[source]):
        raise AssertionError("a good record came out with other values")
    if not np.array_equal(decoded.ts_ms[rows], pool.ts_ms[source]):
        raise AssertionError("a good record came out with another time")
    if [decoded.keys[row] for row in rows.tolist()] != [pool.keys[i].decode() for i in source.tolist()]:
        raise AssertionError("a good record came out under another key")


def _pool(stream: Stream, rng: random.Random) -> Pool:
    bodies = [_body(stream, rng) for _ in range(POOL)]
    keys = [">".join(body[name] for name in stream.key_fields).encode() for body in bodies]
    rows = [[_cell(stream, name, body.get(name)) for name in stream.features] for body in bodies]
    values = [msgspec.json.encode(body) for body in bodies]
    return Pool(keys, values, np.array([body["ts_ms"] for body in bodies]), np.array(rows, np.float32))


def _cell(stream: Stream, name: str, value: Any) -> float:
    return float(stream.codes[name][value] if name in stream.codes else value)


def _body(stream: Stream, rng: random.Random) -> dict[str, Any]:
    fields = fields_of(stream.record)
    body = {each.name: _value(each, rng) for each in fields if each.required or rng.random() < 0.5}
    quantiles: Sequence[str] = quantiles_of(fields)
    body |= dict(zip(quantiles, sorted(body[name] for name in quantiles), strict=True))
    body |= {"v": 1, "ts_ms": 1_795_423_734_049 + rng.randrange(10**9)}
    missing = [name for name in stream.features if name not in body]
    return body | {each.name: _value(each, rng) for each in fields if each.name in missing}


def _value(each: Field, rng: random.Random) -> Any:
    low, high = max(each.low, 0.0), min(each.high, 100.0)
    match each.kind:
        case Kind.COUNT:
            return rng.randint(int(low), int(max(low, high)))
        case Kind.NUMBER:
            return rng.uniform(low, max(low, high))
        case Kind.CODE:
            return rng.choice(list(each.codes or {}))
        case Kind.FLAG:
            return rng.random() < 0.5
        case _:
            return rng.choice(["n1", "etcd-a", "knoten-é", "x" * 40])
