"""The Struct that a batch's values are decoded into, and the array that its numbers make."""

from collections.abc import Callable, Sequence
from enum import Enum
from itertools import chain, starmap
from operator import attrgetter
from struct import Struct as Packer
from typing import Annotated, Any, Self, cast

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from schemas.fields import Field, Kind

_LONGEST = 2**31  # msgspec's limit of a length; a text without one is bounded by the record's size


class Wire:
    """The Struct that values are decoded into: every number a float, every code text a float that is its code."""

    def __init__(self, fields: Sequence[Field], cells: Sequence[Field], key_fields: Sequence[str]) -> None:
        self._attributes = {field.name: f"x{place}" for place, field in enumerate(fields)}
        self._codes = {field.name: _code_type(field) for field in fields if field.kind is Kind.CODE}
        self._fields = {field.name: field for field in fields}
        self._width = len(cells)
        # What may be missing comes last, because a Struct's optional fields do.
        ordered = sorted(fields, key=lambda field: not field.required)
        self._type = msgspec.defstruct(
            "Wire",
            [self._member(field) for field in ordered],
            rename={attribute: name for name, attribute in self._attributes.items()},
            gc=False,
        )
        self.decode: Callable[[bytes], Struct] = msgspec.json.Decoder(self._type).decode
        self.blank = self._type(*(_blank(field) for field in ordered if field.required))
        self._cells_of: Callable[[Struct], tuple[float, ...]] = self._getter([field.name for field in cells])
        complete = all(field.required for field in cells)
        self._pack = Packer(f"={self._width}d").pack if complete else None
        self._key_getters = [self._getter([name]) for name in key_fields]
        self._cluster_of = self._getter(["cluster"])
        self._region_of = self._getter(["region"])

    def cells(self, records: Sequence[Struct]) -> NDArray[np.float64]:
        """Give float64 (n, cells): v, ts_ms, the features, then other numbers; NaN where an optional one is missing."""
        rows = map(self._cells_of, records)
        if self._pack is None:
            flat = np.fromiter(chain.from_iterable(rows), np.float64, len(records) * self._width)
        else:
            flat = np.frombuffer(b"".join(starmap(self._pack, rows)), np.float64)
        return flat.reshape(-1, self._width)

    def ids(self, records: Sequence[Struct]) -> list[str]:
        """Give each record's id, the key that it should have."""
        columns = [list(map(getter, records)) for getter in self._key_getters]
        return columns[0] if len(columns) == 1 else list(map(">".join, zip(*columns, strict=True)))

    def clusters(self, records: Sequence[Struct]) -> list[str | None]:
        """Give each record's cluster."""
        return list(map(self._cluster_of, records))

    def regions(self, records: Sequence[Struct]) -> list[str | None]:
        """Give each record's region."""
        return list(map(self._region_of, records))

    def build(self, record: dict[str, Any]) -> Struct:
        """Build from a record that passed ``check_fields``."""
        return self._type(
            **{
                self._attributes[name]: self._value(name, item)
                for name, item in record.items()
                if name in self._attributes
            }
        )

    def _value(self, name: str, item: Any) -> object:
        if name in self._codes:
            return self._codes[name](item) if item is not None else None
        return item

    def _getter(self, names: Sequence[str]) -> Callable[[Struct], Any]:
        return attrgetter(*(self._attributes[name] for name in names))

    def _member(self, field: Field) -> tuple[str, Any] | tuple[str, Any, Any]:
        attribute = self._attributes[field.name]
        kind = self._member_type(field)
        return (attribute, kind) if field.required else (attribute, kind | None, None)

    def _member_type(self, field: Field) -> Any:
        match field.kind:
            case Kind.CODE:
                return self._codes[field.name]
            case Kind.FLAG:
                return bool
            case Kind.ID | Kind.TEXT:
                return Annotated[str, Meta(max_length=int(min(field.high, _LONGEST)))]
            case _:
                return float


class _Code(float, Enum):
    """A text on the wire that is its code in arithmetic: msgspec finds the member by its text."""

    def __new__(cls, text: str, code: float) -> Self:
        member = float.__new__(cls, code)
        member._value_ = text
        return member


def _code_type(field: Field) -> Callable[[str], float]:
    """Make the type of one field; calling it with a text gives the text's member."""
    members = [(f"member{place}", pair) for place, pair in enumerate((field.codes or {}).items())]
    made: Callable[[str], float] = cast("Any", _Code)(field.name, members)
    return made


def _blank(field: Field) -> object:
    return "" if field.kind in (Kind.ID, Kind.TEXT) else 1.0
