"""Transplants: what went wrong on one node, told again on others, to learn from.

A fleet has few incidents, and each happened on one node at one level of load. Where what a node strayed from its usual
values is carried over to a quiet stretch of another, the trees see the same trouble at other levels, weaker, and within
the noise of another node. Look-alikes, stretches that strayed as far and were no incident, are carried over as well.
Everything comes from rows that may be learnt from.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors.reliability.examples import NodeRows, make_examples, windows_of
from detectors.reliability.features import FeaturePlan, deviations, window_features
from detectors.reliability.labels import Labels
from schemas.fields import Kind, fields_of
from schemas.streams import NODE

PER_COPY: Final = 840
"""Steps of a copied timeline for each transplant on it."""
BEFORE: Final = 10
AFTER: Final = 12
"""Steps around an incident's rows that are carried over with them: how it begins, and how it is over."""
STRANGE: Final = 0.98
"""Quantile of the strangeness of rows without incident from which on they look like one."""
NEAR: Final = 15
"""Steps between two strange rows of one look-alike, at most."""
LONGEST: Final = 400
"""Steps of a look-alike, at most."""
LOOK_ALIKES: Final = 0.3
"""Share of the transplants that are look-alikes."""
APART: Final = 60
"""Steps between a transplant and anything else on a timeline."""
USUAL: Final = 360
"""Steps before a place of which the median is what was usual there."""
LEAST_SHARE: Final = 0.5
"""A transplant is a mean of the host's own rows and the donor's, the donor's share evenly from this to 1."""
MOST: Final = 2_000
"""Transplants in all, at most: with as many incidents as that nothing has to be carried over."""
ROUNDS: Final = 8
"""Copies of each timeline, at most."""
TRIES: Final = 5
"""Places tried for each transplant on a copy."""
GAPS: Final = 5
"""Steps that may be missing within a stretch."""

_FIELDS: Final = {field.name: field for field in fields_of(NODE.record)}
_KINDS: Final = (Kind.CODE, Kind.COUNT)

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Donor:
    """A stretch of one node's rows.

    Attributes:
        rows: int64 (n,), their places among all rows.
        usual: float32 (F,), what was usual on the node before.
    """

    rows: Index
    usual: Floats


def strangeness(rows: NodeRows, plan: FeaturePlan, window: int) -> Floats:
    """Return how far all fields of each row together are off the node's baseline: float32 (n,), 0 without a window.

    Args:
        rows: in time order.
        plan: whose baseline.
        window: steps in a window.
    """
    found = np.zeros(len(rows), np.float32)
    for part in windows_of(rows, plan, window):
        found[part.places] = deviations(window_features(part.windows, plan, part.before), plan).sum(axis=1)
    return found


@dataclass(frozen=True, slots=True)
class Transplants:
    """Donors and hosts among rows that may be learnt from.

    Attributes:
        rows: all rows, in time order.
        positive: bool (n,), their labels.
        timelines: for each node, the places of its rows that may be learnt from.
        incidents: donors that are incidents, with the time before them.
        look_alikes: donors that are none.
    """

    rows: NodeRows
    positive: Bools
    timelines: tuple[Index, ...]
    incidents: tuple[Donor, ...]
    look_alikes: tuple[Donor, ...]

    @classmethod
    def of(cls, rows: NodeRows, labels: Labels, strange: Floats, usable: Bools) -> Self:
        """Find donors and hosts.

        Args:
            rows: in time order.
            labels: theirs.
            strange: float32 (n,), see ``strangeness``.
            usable: bool (n,), the rows that may be learnt from, some of them without incident.
        """
        limit = float(np.quantile(strange[usable & ~labels.positive], STRANGE))
        timelines = tuple(_timelines(rows, usable))
        incidents, look_alikes = [], []
        for mine in timelines:
            positive = labels.positive[mine]
            for one in np.unique(labels.incident[mine[positive]]).tolist():
                span = np.flatnonzero(labels.incident[mine] == one)
                incidents += _donors(rows, positive, mine, (span[0] - BEFORE, span[-1] + 1 + AFTER))
            for run in _runs((strange[mine] > limit) & ~positive):
                first, last = max(run[0] - BEFORE, 0), run[-1] + 1 + BEFORE
                if last - first <= LONGEST and not positive[first:last].any():
                    look_alikes += _donors(rows, positive, mine, (first, last))
        return cls(rows, labels.positive, timelines, tuple(incidents), tuple(look_alikes))

    def examples(self, plan: FeaturePlan, window: int, times: float, seed: int) -> tuple[Floats, Bools]:
        """Make examples of transplants on copies of the timelines; the same arguments give the same.

        Args:
            plan: features to make.
            window: steps in a window.
            times: transplants for each incident; 0 for none.
            seed: of everything random.

        Returns:
            Features, float32 (m, width), of the transplanted rows and of the few after them; their labels, bool (m,).
        """
        left, random = min(round(times * len(self.incidents)), MOST), np.random.default_rng(seed)
        copies: list[_Copy] = []
        while left > 0 and len(copies) < ROUNDS * len(self.timelines):
            mine = self.timelines[len(copies) % len(self.timelines)]
            copy = self._copy(mine, min(left, max(len(mine) // PER_COPY, 1)), random)
            copies.append(copy)
            left -= copy.transplants
        if not copies:
            return np.empty((0, len(plan.names)), np.float32), np.empty(0, np.bool_)
        places = np.concatenate([copy.places for copy in copies])
        ids = np.repeat([str(number) for number in range(len(copies))], [len(copy.places) for copy in copies])
        order = np.argsort(self.rows.ts_ms[places], kind="stable")
        values, positive, marked = (
            np.concatenate([getattr(copy, name) for copy in copies])[order] for name in ("values", "positive", "marked")
        )
        told = NodeRows(self.rows.fields, ids[order], self.rows.ts_ms[places[order]], values, self.rows.step_ms)
        made = make_examples(told, plan, window, marked)
        return made.features, positive[made.rows]

    def _copy(self, mine: Index, wanted: int, random: np.random.Generator) -> "_Copy":
        """Copy a timeline, with as many of the transplants as find a place in the tries that each has."""
        copy = _Copy.of(mine, self.rows.values[mine], self.positive[mine])
        for _ in range(TRIES * wanted):
            kind = self.look_alikes if self.look_alikes and random.random() < LOOK_ALIKES else self.incidents
            donor = kind[int(random.integers(len(kind)))]
            at = copy.place_for(len(donor.rows), random)
            if at is None or not _whole(self.rows, mine[at : at + len(donor.rows)]):
                continue
            usual = np.median(self.rows.values[mine[at - USUAL : at]], axis=0)
            host = self.rows.values[mine[at : at + len(donor.rows)]]
            copy.put(at, self._blend(donor, host, usual, random), self.positive[donor.rows])
            if copy.transplants == wanted:
                break
        return copy

    def _blend(self, donor: Donor, host: Floats, usual: Floats, random: np.random.Generator) -> Floats:
        """Return the host's rows with the donor's trouble: float32 (length, F).

        Fields that usually have a size are carried over by their ratio to what is usual, the others as they are. Whole
        numbers stay whole, codes are taken over where they changed, and nothing leaves the range of its field.
        """
        share = np.float32(random.uniform(LEAST_SHARE, 1.0))
        given = self.rows.values[donor.rows]
        sized = (donor.usual > 0.0) & (usual > 0.0)
        scale = np.where(sized, usual / np.where(sized, donor.usual, np.float32(1.0)), np.float32(1.0))
        mean = (np.float32(1.0) - share) * host + share * given * scale
        rounded = np.floor(mean + random.random(len(host), dtype=np.float32)[:, None])
        known = [_FIELDS.get(name) for name in self.rows.fields]
        code, whole = (np.array([one is not None and one.kind is kind for one in known]) for kind in _KINDS)
        changed = (given != donor.usual) & bool(random.random() < share)
        told = np.where(code, np.where(changed, given, host), np.where(whole, rounded, mean))
        limits = [(-np.inf, np.inf) if one is None or one.kind is Kind.CODE else (one.low, one.high) for one in known]
        return np.asarray(np.clip(told, *np.array(limits).T), np.float32)


@dataclass(slots=True)
class _Copy:
    """A copied timeline.

    Attributes:
        places: int64 (n,), the rows it was copied from.
        values: float32 (n, F).
        positive: bool (n,), labels.
        marked: bool (n,), rows to learn from.
        taken: bool (n,), where no further transplant may lie.
        transplants: how many there are.
    """

    places: Index
    values: Floats
    positive: Bools
    marked: Bools
    taken: Bools
    transplants: int = 0

    @classmethod
    def of(cls, places: Index, values: Floats, positive: Bools) -> Self:
        taken = np.convolve(positive, np.ones(2 * APART + 1), "same") > 0.0
        return cls(places, values, positive, np.zeros(len(places), np.bool_), taken[: len(places)])

    def place_for(self, length: int, random: np.random.Generator) -> int | None:
        """Try one place for a transplant."""
        last = len(self.places) - length - APART
        if last <= USUAL:
            return None
        at = int(random.integers(USUAL, last))
        return None if self.taken[at - APART : at + length + APART].any() else at

    def put(self, at: int, values: Floats, positive: Bools) -> None:
        """Put a transplant there."""
        until = at + len(values)
        self.values[at:until] = values
        self.positive[at:until] = positive
        self.marked[at : until + AFTER] = True
        self.taken[at - APART : until + APART] = True
        self.transplants += 1


def _timelines(rows: NodeRows, usable: Bools) -> list[Index]:
    """Return the places of each node's usable rows, by node."""
    _, codes = np.unique(np.asarray(rows.node_ids), return_inverse=True)
    places = np.flatnonzero(usable)
    order = places[np.argsort(codes[places], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _runs(chosen: Bools) -> list[Index]:
    """Return the places of each run of chosen rows, ``NEAR`` steps apart at most."""
    places = np.flatnonzero(chosen)
    return [run for run in np.split(places, np.flatnonzero(np.diff(places) > NEAR) + 1) if len(run)]


def _donors(rows: NodeRows, positive: Bools, mine: Index, span: tuple[int, int]) -> list[Donor]:
    """Return the stretch of a timeline as a donor, unless it is broken or nothing is known of what was usual."""
    first, last = max(span[0], 0), min(span[1], len(mine))
    before = mine[max(first - USUAL, 0) : first][~positive[max(first - USUAL, 0) : first]]
    if len(before) < APART or not _whole(rows, mine[first:last]):
        return []
    return [Donor(mine[first:last], np.median(rows.values[before], axis=0))]


def _whole(rows: NodeRows, places: Index) -> bool:
    """Say whether hardly a step is missing."""
    spanned = int(rows.ts_ms[places[-1]] - rows.ts_ms[places[0]]) // rows.step_ms + 1
    return spanned - len(places) <= GAPS
