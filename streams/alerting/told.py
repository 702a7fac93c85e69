"""What a sink was told, as one commit says it: an offset, and in its metadata what an offset cannot say. Pure.

An open alert that is told again and again, or one that a silence keeps back, holds the offset where it is. What came
after it was told all the same, and must not be told once more by whoever reads on after a crash.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["Told"]

LONGEST: Final = 3_000  # characters; Kafka takes 4,096 (offset.metadata.max.bytes)
FORM: Final = re.compile(r"1:(\d{1,18}):((?:\d{1,18}!?,)*)")


@dataclass(frozen=True, slots=True)
class Told:
    """What a sink was told of a partition.

    Attributes:
        offset: where to read on: of the oldest alert that has to be told, or told again.
        position: all below it was told, but for what is named here.
        untold: offsets from ``offset`` to ``position`` that were not.
        unheard: those of ``untold`` of whose alerts the sink was told nothing at all.
    """

    offset: int
    position: int
    untold: frozenset[int] = frozenset()
    unheard: frozenset[int] = frozenset()

    def has(self, offset: int) -> bool:
        """Whether the record there was told, or need not be."""
        return offset < self.position and offset not in self.untold

    def metadata(self) -> str:
        """Return what is committed beside the offset: ``1:LENGTH:DISTANCE,DISTANCE!,``.

        ``LENGTH`` is ``position`` less ``offset``, each ``DISTANCE`` an offset not told less the one before, with ``!``
        where the sink knows nothing of the alert. What is too long for Kafka is cut: it is told again, then.
        """
        words, before, used = list[str](), self.offset, 0
        for offset in sorted(self.untold):
            word = f"{offset - before}{'!' if offset in self.unheard else ''},"
            used += len(word)
            if used > LONGEST:
                return f"1:{offset - self.offset}:{''.join(words)}"
            words.append(word)
            before = offset
        return f"1:{self.position - self.offset}:{''.join(words)}"

    @classmethod
    def committed(cls, offset: int, metadata: str | None) -> "Told":
        """Read a commit; metadata of somebody else's says nothing, and then the offset alone counts."""
        found = FORM.fullmatch(metadata or "")
        if found is None:
            return cls(offset, offset)
        untold, unheard, at = set[int](), set[int](), offset
        for word in found[2].split(",")[:-1]:
            at += int(word.rstrip("!"))
            untold.add(at)
            if word.endswith("!"):
                unheard.add(at)
        return cls(offset, offset + int(found[1]), frozenset(untold), frozenset(unheard))

    @classmethod
    def of(cls, position: int, entries: Iterable[tuple[int, bool, bool]]) -> "Told":
        """Make what is committed, having read to ``position``.

        Args:
            position: next offset to read.
            entries: of each alert that has to be told, or told again: its offset, whether it was told, and whether the
                sink knows of it at all.
        """
        live = list(entries)
        untold = frozenset(offset for offset, told, _ in live if not told)
        unheard = frozenset(offset for offset, told, heard in live if not told and not heard)
        return cls(min((offset for offset, _, _ in live), default=position), position, untold, unheard)
