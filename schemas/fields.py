"""What a message's annotations say about each field, read once, for the codec, the diagnosis and the documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from math import inf

from msgspec import Struct, inspect

from schemas.quantities import CODES_KEYWORD, ID_PATTERN, VERSION

LATENCY_QUANTILES = ("latency_p50", "latency_p95", "latency_p99")
"""Wherever these three stand in one record, they must be in this order."""


class Kind(Enum):
    """How a field travels in JSON."""

    NUMBER = auto()
    COUNT = auto()
    """A whole number; 3.0 is one, 3.5 is not."""
    CODE = auto()
    """A text out of a list."""
    FLAG = auto()
    ID = auto()
    """A text that names a node: it is (half of) a key."""
    TEXT = auto()
    OTHER = auto()
    """An array or object, of output messages alone."""


NUMERIC = frozenset({Kind.NUMBER, Kind.COUNT, Kind.CODE, Kind.FLAG})
"""The kinds that become a cell of a row."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    Attributes:
        name: name on the wire.
        kind: how it travels.
        required: whether it must be there and not null.
        low, high: inclusive limits of a number; of a text: of its length.
        codes: number that stands for each text of a ``CODE`` field.
    """

    name: str
    kind: Kind
    required: bool
    low: float = -inf
    high: float = inf
    codes: Mapping[str, int] | None = None


@cache
def fields_of(record: type[Struct]) -> tuple[Field, ...]:
    """Read the fields of a message type, in its order; ``v`` is always required on the wire."""
    info = inspect.type_info(record)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{record!r} is not a msgspec Struct")
    return tuple(_field(field) for field in info.fields)


def codes_of(record: type[Struct]) -> dict[str, Mapping[str, int]]:
    """Map each code field of a message type to the numbers of its texts (their places in the contract's list)."""
    return {field.name: field.codes for field in fields_of(record) if field.codes is not None}


def quantiles_of(fields: tuple[Field, ...]) -> tuple[str, ...]:
    """Name the fields that must not decrease, lowest quantile first; empty when the message has none."""
    names = {field.name for field in fields}
    return LATENCY_QUANTILES if names.issuperset(LATENCY_QUANTILES) else ()


def _field(field: inspect.Field) -> Field:
    kind, optional, codes = _unwrap(field.type)
    name = field.encode_name
    if name == "v":
        return Field(name, Kind.COUNT, required=True, low=VERSION, high=VERSION)
    bare, low, high = _bounds(kind)
    if bare is Kind.CODE and codes is None:
        raise TypeError(f"{name} is a Literal without codes: annotate it with schemas.quantities.coded")
    return Field(name, bare, field.required and not optional, low, high, codes)


def _bounds(kind: inspect.Type) -> tuple[Kind, float, float]:
    match kind:
        case inspect.IntType():
            low = kind.ge if kind.gt is None else kind.gt + 1
            high = kind.le if kind.lt is None else kind.lt - 1
            return Kind.COUNT, *_limits(low, high)
        case inspect.FloatType():
            return Kind.NUMBER, *_limits(kind.ge, kind.le)
        case inspect.StrType():
            return Kind.ID if kind.pattern == ID_PATTERN else Kind.TEXT, *_limits(kind.min_length or 0, kind.max_length)
        case inspect.LiteralType():
            return Kind.CODE, -inf, inf
        case inspect.BoolType():
            return Kind.FLAG, 0.0, 1.0
        case _:
            return Kind.OTHER, -inf, inf


def _unwrap(kind: inspect.Type) -> tuple[inspect.Type, bool, Mapping[str, int] | None]:
    """Take annotations and ``| None`` off a type; give the bare type, whether it may be null, and its codes."""
    optional, codes = False, None
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            codes = (kind.extra_json_schema or {}).get(CODES_KEYWORD, codes)
            kind = kind.type
        else:
            optional = kind.includes_none
            kind = next(part for part in kind.types if not isinstance(part, inspect.NoneType))
    return kind, optional, codes


def _limits(low: float | None, high: float | None) -> tuple[float, float]:
    return -inf if low is None else low, inf if high is None else high
