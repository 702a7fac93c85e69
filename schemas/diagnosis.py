"""The slow path: say exactly what is wrong with one record. Only records that fail the fast checks come here.

Everything is bounded: size is checked before parsing, nesting before the recursive JSON parser sees the text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import Never

import numpy as np

from schemas.errors import ErrorCode, RecordError
from schemas.fields import Field, Kind
from schemas.quantities import MAX_TEXT

MAX_DEPTH = 32
"""Deepest nesting of objects and arrays; a record of the contract has depth 1."""
_SHOWN = 60
_INTEGER_DIGITS = 20
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NESTING = np.zeros(256, dtype=np.int8)
_NESTING[list(b"[{")] = 1
_NESTING[list(b"]}")] = -1
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a record of one stream must look like.

    Attributes:
        fields: the fields of the message, ``v`` first.
        quantiles: fields that must not decrease, in order.
        is_joined: whether the key is two ids joined by ``>``.
    """

    fields: tuple[Field, ...]
    quantiles: tuple[str, ...]
    is_joined: bool


def read_object(value: bytes | None, max_bytes: int) -> dict[str, object]:
    """Parse one value as a JSON object, whatever bytes it holds.

    Raises:
        RecordError: tombstone, empty, too-large, invalid-utf8, too-deep, not-json, not-object, not-finite.
    """
    text = _read_text(value, max_bytes)
    constants: list[str] = []
    try:
        parsed = json.loads(text, parse_int=_parse_int, parse_constant=lambda word: _constant(word, constants))
    except json.JSONDecodeError as error:
        around = _shorten(text[max(0, error.pos - 10) : error.pos + 20])
        _reject(
            ErrorCode.NOT_JSON, f"{error.msg} at character {error.pos}, near {around}: send one JSON object a record"
        )
    if not isinstance(parsed, dict):
        _reject(ErrorCode.NOT_OBJECT, f"the value is {_show(parsed)}: send one JSON object")
    if constants:
        names = (name for name, item in parsed.items() if isinstance(item, float) and not isfinite(item))
        name = _shorten(next(names, "an inner value"))
        _reject(ErrorCode.NOT_FINITE, f"{name} is {constants[0]}, which is not JSON: leave out what is not known")
    return parsed


def nests_too_deep(value: bytes) -> bool:
    """Tell whether objects and arrays nest deeper than ``MAX_DEPTH``, without recursion and in linear time."""
    if value.count(b"{") + value.count(b"[") <= MAX_DEPTH:
        return False
    outside = np.frombuffer(_STRINGS.sub(b"", value), dtype=np.uint8)
    return bool(_NESTING[outside].cumsum(dtype=np.int64).max(initial=0) > MAX_DEPTH)


def check_fields(record: Mapping[str, object], shape: Shape) -> None:
    """Check the fields of a parsed record against the contract, in the contract's order.

    Raises:
        RecordError: unknown-version, missing-field, wrong-type, not-finite, out-of-range, unknown-value, invalid-id,
            invalid-utf8, unordered-quantiles.
    """
    for field in shape.fields:
        _check_field(field, record)
        if field.kind is Kind.ID:
            check_id(field.name, str(record[field.name]), joined=shape.is_joined)
    for lower, upper in pairwise(shape.quantiles):
        low, high = record[lower], record[upper]
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            order = " <= ".join(shape.quantiles)
            _reject(ErrorCode.UNORDERED_QUANTILES, f"{lower} is {low} and {upper} is {high}: send {order}")


def check_key(key: bytes | None, record: Mapping[str, object], key_fields: Sequence[str]) -> str:
    """Check that the Kafka key is the id in the body, and return it.

    Raises:
        RecordError: missing-key, invalid-utf8, key-mismatch.
    """
    named = ">".join(key_fields)
    if not key:
        _reject(
            ErrorCode.MISSING_KEY, f"the Kafka key is {'null' if key is None else 'empty'}: send {named} as the key"
        )
    try:
        text = key.decode()
    except UnicodeDecodeError:
        _reject(ErrorCode.INVALID_UTF8, f"the Kafka key is {_shorten(key)}, which is not UTF-8: send {named} as UTF-8")
    expected = ">".join(str(record[name]) for name in key_fields)
    if text != expected:
        _reject(
            ErrorCode.KEY_MISMATCH,
            f"the Kafka key is {_shorten(text)} and {named} is {_shorten(expected)}: send {named} as the key",
        )
    return text


def check_id(name: str, text: str, *, joined: bool) -> None:
    """Check the length and the characters of an id; ``joined`` ones may not hold the ``>`` that joins them.

    Raises:
        RecordError: invalid-id.
    """
    if not 1 <= len(text) <= MAX_TEXT:
        _reject(ErrorCode.INVALID_ID, f"{name} has {len(text)} characters, {_shorten(text)}: send 1 to {MAX_TEXT}")
    if _CONTROL.search(text):
        _reject(ErrorCode.INVALID_ID, f"{name} is {_shorten(text)}: send it without control characters")
    if joined and ">" in text:
        _reject(ErrorCode.INVALID_ID, f"{name} is {_shorten(text)}: send it without '>', which joins a link's key")


def _read_text(value: bytes | None, max_bytes: int) -> str:
    if value is None:
        _reject(ErrorCode.TOMBSTONE, "the value is null: send one JSON object; there is nothing to delete here")
    if not value or value.isspace():
        _reject(ErrorCode.EMPTY, f"the value has {len(value)} bytes, none of them JSON: send one JSON object")
    if len(value) > max_bytes:
        _reject(ErrorCode.TOO_LARGE, f"the value has {len(value)} bytes: send at most {max_bytes}")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        _reject(
            ErrorCode.INVALID_UTF8,
            f"byte {error.start} is {_shorten(value[error.start : error.start + 1])}: send UTF-8, without compression",
        )
    if nests_too_deep(value):
        _reject(ErrorCode.TOO_DEEP, f"objects and arrays nest deeper than {MAX_DEPTH} levels: send one flat object")
    return text


def _check_field(field: Field, record: Mapping[str, object]) -> None:
    if field.name not in record:
        if field.required:
            _reject(ErrorCode.MISSING_FIELD, f"{field.name} is not there: send it, {_wanted(field)}")
        return
    item = record[field.name]
    if item is None and not field.required:
        return
    match field.kind:
        case Kind.NUMBER | Kind.COUNT:
            _check_number(field, item)
        case Kind.CODE:
            _check_code(field, item)
        case Kind.ID | Kind.TEXT:
            _check_text(field, item)
        case _:
            # An array or object is left to its own message's type; here it is a flag that may be wrong.
            if field.kind is Kind.FLAG and not isinstance(item, bool):
                _wrong_type(field, item)


def _check_number(field: Field, item: object) -> None:
    if isinstance(item, bool) or not isinstance(item, int | float):
        _wrong_type(field, item)
    if not isfinite(item):
        _reject(ErrorCode.NOT_FINITE, f"{field.name} is {item}: send {_wanted(field)}; skip the step when unknown")
    if field.kind is Kind.COUNT and item != int(item):
        _wrong_type(field, item)
    if not field.low <= item <= field.high:
        code = ErrorCode.UNKNOWN_VERSION if field.name == "v" else ErrorCode.OUT_OF_RANGE
        _reject(code, f"{field.name} is {item}: send {_wanted(field)}")


def _check_code(field: Field, item: object) -> None:
    if not isinstance(item, str):
        _wrong_type(field, item)
    if field.codes is not None and item not in field.codes:
        _reject(ErrorCode.UNKNOWN_VALUE, f"{field.name} is {_shorten(item)}: send {_wanted(field)}")


def _check_text(field: Field, item: object) -> None:
    if not isinstance(item, str):
        _wrong_type(field, item)
    if any("\ud800" <= character <= "\udfff" for character in item):
        _reject(ErrorCode.INVALID_UTF8, f"{field.name} is {_shorten(item)}: send whole characters, no lone surrogates")
    if field.kind is Kind.TEXT and not field.low <= len(item) <= field.high:
        _reject(
            ErrorCode.OUT_OF_RANGE,
            f"{field.name} has {len(item)} characters, {_shorten(item)}: send {_wanted(field)}",
        )


def _wanted(field: Field) -> str:
    if field.low == field.high:
        return f"{field.low:g}"
    if field.codes is not None:
        return "one of " + ", ".join(f'"{text}"' for text in field.codes)
    limits = f"{field.low:.15g} to {field.high:.15g}"
    return {
        Kind.NUMBER: f"a number from {limits}",
        Kind.COUNT: f"a whole number from {limits}",
        Kind.FLAG: "true or false",
        Kind.ID: f"text of {limits} characters",
        Kind.TEXT: f"text of {limits} characters",
    }.get(field.kind, "what its JSON Schema says")


def _wrong_type(field: Field, item: object) -> Never:
    _reject(ErrorCode.WRONG_TYPE, f"{field.name} is {_show(item)}: send {_wanted(field)}")


def _show(item: object) -> str:
    """Describe a JSON value by its type, short however large it is."""
    match item:
        case None | bool():
            return json.dumps(item)
        case int() | float():
            return f"the number {item}"
        case str():
            return f"the text {_shorten(item)}"
        case list():
            return f"an array of {len(item)} items"
        case _:
            return "an object"


def _shorten(text: object) -> str:
    """Show text or bytes in about 60 characters, control characters and lone surrogates escaped."""
    shown = repr(text[:_SHOWN] if isinstance(text, str | bytes) else text)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."


def _parse_int(digits: str) -> int | float:
    # A Python int of many digits costs quadratic time and is refused beyond 4,300; no such number is in range anyway.
    return int(digits) if len(digits) < _INTEGER_DIGITS else float(digits)


def _constant(word: str, seen: list[str]) -> float:
    seen.append(word)
    return float(word)


def _reject(code: ErrorCode, text: str) -> Never:
    raise RecordError(code, text)
