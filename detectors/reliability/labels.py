"""Incidents joined with rows by node and event time: what is positive, and of which incident."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from schemas.metrics import Incident

LEAD_MS = 30 * 60_000
"""A row is positive from this long before an incident's reported start (SPEC section 3)."""

_FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of n rows.

    Attributes:
        positive: bool (n,), the row lies in an incident or in the time before one.
        incident: int64 (n,), place in ``incidents`` of the incident it belongs to, -1 for none. Where several overlap
            it is the one that has started last; before any has started, the one that starts first.
        incidents: the incidents that count, by node and start.
    """

    positive: NDArray[np.bool_]
    incident: NDArray[np.int64]
    incidents: tuple[Incident, ...]

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Choose rows by position or mask."""
        return type(self)(self.positive[index], self.incident[index], self.incidents)


def current(incidents: Iterable[Incident]) -> tuple[Incident, ...]:
    """Resolve the records of ``dwcp.incidents`` to the incidents that stand.

    A later record of the same node and ``start_ms`` corrects an earlier one (an open incident gets its end, a kind is
    put right). One whose ``end_ms`` is not after ``start_ms`` withdraws it: an incident that lasted no time was none.

    Args:
        incidents: records in log order.

    Returns:
        The incidents by node and start; open ones keep ``end_ms`` ``None``.
    """
    latest = {(incident.node_id, incident.start_ms): incident for incident in incidents}
    standing = (one for one in latest.values() if one.end_ms is None or one.end_ms > one.start_ms)
    return tuple(sorted(standing, key=lambda one: (one.node_id, one.start_ms)))


def label_rows(
    node_ids: Sequence[str], ts_ms: NDArray[np.int64], incidents: Iterable[Incident], *, lead_ms: int = LEAD_MS
) -> Labels:
    """Label rows: positive from ``lead_ms`` before an incident's start to its end, both inclusive, on its node alone.

    Args:
        node_ids: n node ids, rows in any order.
        ts_ms: int64 (n,), event times, Unix epoch milliseconds.
        incidents: records of ``dwcp.incidents`` in log order; open ones last for ever.
        lead_ms: how long before the start a warning is a good one.

    Raises:
        ValueError: ``node_ids`` and ``ts_ms`` differ in length.
    """
    if len(node_ids) != len(ts_ms):
        raise ValueError(f"{len(node_ids)} node ids for {len(ts_ms)} times")
    standing = current(incidents)
    belongs = np.full(len(ts_ms), -1, np.int64)
    rows = _rows_by_node(node_ids, ts_ms)
    # A later assignment overrides an earlier one: first the time before each start, the earliest start last, then the
    # incidents themselves, the latest start last.
    for place in range(len(standing) - 1, -1, -1):
        one = standing[place]
        _assign(belongs, rows, one.node_id, (one.start_ms - lead_ms, one.start_ms - 1), place)
    for place, one in enumerate(standing):
        end_ms = _FOREVER if one.end_ms is None else one.end_ms
        _assign(belongs, rows, one.node_id, (one.start_ms, end_ms), place)
    return Labels(belongs >= 0, belongs, standing)


_Rows = dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


def _rows_by_node(node_ids: Sequence[str], ts_ms: NDArray[np.int64]) -> _Rows:
    """Return each node's times, ascending, and the places of its rows."""
    if not len(ts_ms):
        return {}
    names, codes = np.unique(np.asarray(node_ids), return_inverse=True)
    order = np.lexsort((ts_ms, codes))
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    chunks = [order[start:end] for start, end in itertools.pairwise(bounds)]
    return {str(name): (ts_ms[chunk], chunk) for name, chunk in zip(names, chunks, strict=True)}


def _assign(belongs: NDArray[np.int64], rows: _Rows, node_id: str, span: tuple[int, int], place: int) -> None:
    """Give the node's rows within the span, ends included, to the incident at ``place``."""
    if node_id in rows:
        times, at = rows[node_id]
        first, last = np.searchsorted(times, span[0], "left"), np.searchsorted(times, span[1], "right")
        belongs[at[first:last]] = place
