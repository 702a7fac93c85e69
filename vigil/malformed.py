"""Ways in which a record can be broken, as real producers break them: for rehearsals of the dead letters."""

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import msgspec

from schemas.errors import ErrorCode

__all__ = ["KINDS", "Broken", "break_record"]

TOO_MANY_BYTES = 70_000  # the codec's limit is 64 KiB
TOO_DEEP = 2_000

Body: TypeAlias = dict[str, Any]


class Broken(NamedTuple):
    """A record that cannot be used.

    Attributes:
        key: Kafka key, ``None`` when it is missing.
        value: Kafka value, ``None`` for a tombstone.
        kind: which way it was broken, a name in ``KINDS``.
        code: the error code its dead letter must carry.
    """

    key: bytes | None
    value: bytes | None
    kind: str
    code: ErrorCode


def break_record(key: bytes, value: bytes, kind: str, rng: random.Random) -> Broken:
    """Break a good record in one way.

    Args:
        key: its Kafka key.
        value: its JSON value, with at least one numeric field besides ``v`` and ``ts_ms``.
        kind: a name in ``KINDS``.
        rng: draws the field and the damage.
    """
    how = KINDS[kind]
    return Broken(how.key(key), how.value(value, rng), kind, how.code)


class _Kind(NamedTuple):
    code: ErrorCode
    value: Callable[[bytes, random.Random], bytes | None]
    key: Callable[[bytes], bytes | None] = lambda key: key


def _edit(change: Callable[[Body, str, random.Random], None]) -> Callable[[bytes, random.Random], bytes]:
    """Damage one numeric field of the body, drawn at random."""

    def edited(value: bytes, rng: random.Random) -> bytes:
        body: Body = msgspec.json.decode(value)
        change(body, rng.choice(_numeric(body)), rng)
        return msgspec.json.encode(body)

    return edited


def _literal(text: bytes) -> Callable[[bytes, random.Random], bytes]:
    """Put a literal that JSON encoders of some languages write in the place of a number."""

    def edited(value: bytes, rng: random.Random) -> bytes:
        body: Body = msgspec.json.decode(value)
        body[rng.choice(_numeric(body))] = msgspec.Raw(text)
        return msgspec.json.encode(body)

    return edited


def _numeric(body: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, value in body.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in {"v", "ts_ms"}
    ]


def _remove(body: Body, field: str, _rng: random.Random) -> None:
    del body[field]


def _as_text(body: Body, field: str, _rng: random.Random) -> None:
    body[field] = str(body[field])


def _as_null(body: Body, field: str, _rng: random.Random) -> None:
    body[field] = None


def _as_list(body: Body, field: str, _rng: random.Random) -> None:
    body[field] = [body[field]]


def _negative(body: Body, field: str, rng: random.Random) -> None:
    body[field] = -rng.randrange(1, 1000)


def _version(body: Body, _field: str, rng: random.Random) -> None:
    body["v"] = rng.randrange(100, 200)


def _before_1970(body: Body, _field: str, rng: random.Random) -> None:
    body["ts_ms"] = -rng.randrange(1, 1_000_000)


def _time_as_text(body: Body, _field: str, _rng: random.Random) -> None:
    body["ts_ms"] = "2026-01-01T00:00:00Z"


def _unordered(body: Body, _field: str, rng: random.Random) -> None:
    if "latency_p50" in body:
        body["latency_p50"] = math.ceil(float(body["latency_p99"])) + rng.randrange(1, 100)


def _unknown_mode(body: Body, _field: str, _rng: random.Random) -> None:
    body["dwcp_mode"] = "turbo-max"


def _pad(value: bytes, _rng: random.Random) -> bytes:
    return value[:-1] + b',"padding":"' + b"x" * TOO_MANY_BYTES + b'"}'


def _nest(_value: bytes, _rng: random.Random) -> bytes:
    return b'{"v":' + b"[" * TOO_DEEP + b"]" * TOO_DEEP + b"}"


def _cut(value: bytes, rng: random.Random) -> bytes:
    return value[: rng.randrange(1, len(value))]


def _latin(value: bytes, _rng: random.Random) -> bytes:
    return value[:-1] + b',"note":"\xe9t\xe9"}'


KINDS: Mapping[str, _Kind] = {
    "truncated": _Kind(ErrorCode.NOT_JSON, _cut),
    "plain-text": _Kind(ErrorCode.NOT_JSON, lambda _value, _rng: b"connection reset by peer"),
    "array": _Kind(ErrorCode.NOT_OBJECT, lambda value, _rng: b"[" + value + b"]"),
    "latin-1": _Kind(ErrorCode.INVALID_UTF8, _latin),
    "empty": _Kind(ErrorCode.EMPTY, lambda _value, _rng: b""),
    "tombstone": _Kind(ErrorCode.TOMBSTONE, lambda _value, _rng: None),
    "field-missing": _Kind(ErrorCode.MISSING_FIELD, _edit(_remove)),
    "number-as-text": _Kind(ErrorCode.WRONG_TYPE, _edit(_as_text)),
    "number-as-null": _Kind(ErrorCode.WRONG_TYPE, _edit(_as_null)),
    "number-as-list": _Kind(ErrorCode.WRONG_TYPE, _edit(_as_list)),
    "time-as-text": _Kind(ErrorCode.WRONG_TYPE, _edit(_time_as_text)),
    "nan": _Kind(ErrorCode.NOT_FINITE, _literal(b"NaN")),
    "infinity": _Kind(ErrorCode.NOT_FINITE, _literal(b"Infinity")),
    "overflow": _Kind(ErrorCode.NOT_FINITE, _literal(b"1e999")),
    "negative": _Kind(ErrorCode.OUT_OF_RANGE, _edit(_negative)),
    "before-1970": _Kind(ErrorCode.OUT_OF_RANGE, _edit(_before_1970)),
    "quantiles-unordered": _Kind(ErrorCode.UNORDERED_QUANTILES, _edit(_unordered)),
    "mode-unknown": _Kind(ErrorCode.UNKNOWN_VALUE, _edit(_unknown_mode)),
    "version-unknown": _Kind(ErrorCode.UNKNOWN_VERSION, _edit(_version)),
    "oversized": _Kind(ErrorCode.TOO_LARGE, _pad),
    "nested": _Kind(ErrorCode.TOO_DEEP, _nest),
    "key-of-another": _Kind(ErrorCode.KEY_MISMATCH, lambda value, _rng: value, lambda key: key + b"-other"),
    "key-missing": _Kind(ErrorCode.MISSING_KEY, lambda value, _rng: value, lambda _key: None),
}
