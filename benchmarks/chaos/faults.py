"""Which faults there are, and drawing them from a seed. Nothing is done here."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["LANES", "Fault", "Kind", "Lane", "plan"]


class Lane(StrEnum):
    """What a fault occupies; faults of one lane come one after the other, lanes overlap."""

    WORKERS = "workers"
    BROKERS = "brokers"
    AROUND = "around"
    ALL = "all"
    """Waits for the others and keeps them away: something is measured."""


class Kind(StrEnum):
    """What happens."""

    KILL = "worker_killed"
    KILL_IN_TRANSACTION = "worker_killed_in_transaction"
    STOP = "worker_stopped_and_continued"
    RESTART = "worker_restarted"
    ADD = "worker_added"
    REMOVE = "worker_removed"
    TAKEOVER = "worker_killed_for_good"
    BROKER_RESTART = "broker_restarted"
    BROKER_KILL = "broker_killed"
    REDIS_WIPE = "redis_killed_and_wiped"
    REFUSED = "produce_refused"
    SLOW = "network_slow"
    CUT = "network_cut"
    RESET = "connections_reset"


@dataclass(frozen=True, slots=True)
class _Share:
    """Lane, how often among a hundred faults, and whether it needs brokers and a network of the harness's own."""

    lane: Lane
    weight: int
    own: bool = False


LANES = {
    Kind.KILL: _Share(Lane.WORKERS, 18),
    Kind.KILL_IN_TRANSACTION: _Share(Lane.WORKERS, 22, own=True),
    Kind.STOP: _Share(Lane.WORKERS, 7),
    Kind.RESTART: _Share(Lane.WORKERS, 6),
    Kind.ADD: _Share(Lane.WORKERS, 4),
    Kind.REMOVE: _Share(Lane.WORKERS, 4),
    Kind.TAKEOVER: _Share(Lane.ALL, 3),
    Kind.BROKER_RESTART: _Share(Lane.BROKERS, 5, own=True),
    Kind.BROKER_KILL: _Share(Lane.BROKERS, 6, own=True),
    Kind.REDIS_WIPE: _Share(Lane.AROUND, 7),
    Kind.REFUSED: _Share(Lane.AROUND, 4),
    Kind.SLOW: _Share(Lane.AROUND, 5, own=True),
    Kind.CUT: _Share(Lane.AROUND, 5, own=True),
    Kind.RESET: _Share(Lane.AROUND, 4, own=True),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        number: place in the plan.
        kind: what happens.
        lane: what it occupies.
        pause: seconds from the end of the lane's fault before it.
        chance: decides what the kind leaves open (who, how long), 0..1; four of them.
    """

    number: int
    kind: Kind
    lane: Lane
    pause: float
    chance: tuple[float, float, float, float]

    def between(self, least: float, most: float, place: int = 0) -> float:
        """Return a number of this fault's own."""
        return least + (most - least) * self.chance[place]


def plan(count: int, seed: int, *, own: bool = True) -> list[Fault]:
    """Draw faults; the same arguments give the same ones, and each kind comes once where there is room.

    Args:
        count: how many.
        seed: of the draw.
        own: whether brokers and network are the harness's own.
    """
    rng = random.Random(seed)
    shares = {kind: share for kind, share in LANES.items() if own or not share.own}
    kinds = list(_kinds(shares, count, rng))
    rng.shuffle(kinds)
    return [
        Fault(number, kind, shares[kind].lane, rng.uniform(0.2, 2.0), tuple(rng.random() for _ in range(4)))  # type: ignore[arg-type]
        for number, kind in enumerate(kinds)
    ]


def _kinds(shares: "dict[Kind, _Share]", count: int, rng: random.Random) -> Iterator[Kind]:
    every: Sequence[Kind] = list(shares)
    if count < len(every):
        yield from rng.sample(every, count)
        return
    yield from every
    yield from rng.choices(every, [shares[kind].weight for kind in every], k=count - len(every))
