"""What the demo plays: two fleets, their faults, and when each record is sent."""

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, NamedTuple

from schemas.errors import ErrorCode
from vigil.malformed import KINDS, break_record
from vigil.simulator import ConsensusFleet, Fault, FaultPlan, NodeFleet, Simulation, simulate_consensus, simulate_nodes

__all__ = ["Play", "Scenario", "Sent", "make_scenario"]

MEAN_CLUSTER: Final = 4.5
FAULT_SECONDS: Final = 20
QUIET_SHARE: Final = 0.45  # of the event time, before the first fault: history, from which baselines are learnt
TAIL_SECONDS: Final = 45  # after the last fault
NODE_HOURS: Final = 6
NODES_A_CLUSTER: Final = 8
NODE_INCIDENT_MINUTES: Final = 30
INTENSITY: Final = 1.0
ANCHOR_MS: Final = 1_760_000_000_000  # the moment at which every play is simulated to end


@dataclass(frozen=True, slots=True)
class Play:
    """One stream of the demo.

    Attributes:
        simulation: records and truth.
        live_ms: event time from which records are sent at a watchable pace; those before are history, sent flat out.
        step_ms: time between two steps of a node.
        warning_ms: how long before a fault an anomaly counts as foreseeing it.
        members: nodes, by the cluster they belong to.
    """

    simulation: Simulation
    live_ms: int
    step_ms: int
    warning_ms: int
    members: dict[str, frozenset[str]]

    @property
    def node_hours(self) -> float:
        """Event time watched, summed over the nodes."""
        span = int(self.simulation.ts_ms[-1] - self.simulation.ts_ms[0]) + self.step_ms
        return len(self.simulation.nodes) * span / 3_600_000.0


class Sent(NamedTuple):
    """A record and when it is due.

    Attributes:
        due: share of the live part at which it is sent; below 0 for history.
        stream: which stream it belongs to.
        key, value: as on the wire.
        node: whose record it is.
        ts_ms: event time.
        code: what its dead letter must say, for a broken record.
    """

    due: float
    stream: str
    key: bytes | None
    value: bytes | None
    node: bytes
    ts_ms: int
    code: ErrorCode | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """The whole demo."""

    plays: dict[str, Play]
    broken: int
    seed: int

    @property
    def records(self) -> int:
        """Records that will be sent, broken ones included."""
        return sum(len(play.simulation) for play in self.plays.values()) + self.broken

    def sent(self) -> Iterator[Sent]:
        """Give all records in the order they are sent, a few broken ones strewn among the live ones."""
        rng = random.Random(self.seed)  # noqa: S311 - a show, not a secret
        parts = [_due(name, play) for name, play in self.plays.items()]
        merged = heapq.merge(*parts, key=lambda one: one.due)
        live = 0
        left = list(islice(_shuffled(rng), self.broken))
        every = max(1, self._live_records() // (self.broken + 1))
        for one in merged:
            yield one
            live += one.due >= 0
            if left and live == every and one.key is not None and one.value is not None:
                live = 0
                broken = break_record(one.key, one.value, left.pop(), rng)
                yield one._replace(key=broken.key, value=broken.value, code=broken.code)

    def _live_records(self) -> int:
        return sum(int((play.simulation.ts_ms >= play.live_ms).sum()) for play in self.plays.values())


def make_scenario(nodes: int, minutes: float, seed: int, now_ms: int, *, broken: int = 12) -> Scenario:
    """Simulate both fleets, ending now.

    Args:
        nodes: members of consensus clusters, about.
        minutes: event time of the consensus stream.
        seed: the same seed plays the same fleets and faults.
        now_ms: event time of the end.
        broken: broken records to strew in, one a kind.
    """
    plays = {"consensus": _consensus(nodes, minutes, seed, ANCHOR_MS), "node": _node(seed, ANCHOR_MS)}
    moved = {name: _moved(play, now_ms - ANCHOR_MS) for name, play in plays.items()}
    return Scenario(moved, min(broken, len(KINDS)), seed)


def _moved(play: Play, by_ms: int) -> Play:
    """Put a play at another time: a fleet's load follows the hour, and a seed must play the same at every hour."""
    simulation = replace(
        play.simulation,
        ts_ms=play.simulation.ts_ms + by_ms,
        faults=tuple(
            replace(fault, start_ms=fault.start_ms + by_ms, end_ms=fault.end_ms + by_ms)
            for fault in play.simulation.faults
        ),
    )
    return replace(play, simulation=simulation, live_ms=play.live_ms + by_ms)


def _consensus(nodes: int, minutes: float, seed: int, now_ms: int) -> Play:
    fleet = ConsensusFleet(clusters=max(1, round(nodes / MEAN_CLUSTER)), name="cluster")
    steps = round(minutes * 60)
    start_ms = now_ms - steps * fleet.step_ms
    first_ms = start_ms + round(QUIET_SHARE * steps) * 1000
    faults = _dealt(fleet, first_ms, now_ms - TAIL_SECONDS * 1000)
    simulation = simulate_consensus(fleet, steps, seed, start_ms, FaultPlan(tuple(faults)))
    members = {cluster: frozenset(ids) for cluster, ids in fleet.layout.items()}
    return Play(simulation, first_ms - 15_000, fleet.step_ms, 0, members)


def _dealt(fleet: ConsensusFleet, first_ms: int, last_ms: int) -> list[Fault]:
    """Deal faults of every kind over the clusters, twice when there are clusters and time enough."""
    layout = fleet.layout
    rounds = 2 if len(layout) >= 12 else 1  # a cluster suffers once
    kinds = len(FaultPlan.every_kind(layout, first_ms))
    spacing_ms = max(1000, (last_ms - first_ms - FAULT_SECONDS * 1000) // max(1, rounds * kinds - 1))
    faults: list[Fault] = []
    names = list(layout)
    for turn in range(rounds):
        chosen = names[turn * kinds : (turn + 1) * kinds] or names
        at = first_ms + turn * kinds * spacing_ms
        faults += FaultPlan.every_kind(
            {name: layout[name] for name in chosen},
            at,
            spacing_ms=spacing_ms,
            duration_ms=FAULT_SECONDS * 1000,
            intensity=INTENSITY,
        )
    return faults


def _node(seed: int, now_ms: int) -> Play:
    fleet = NodeFleet(nodes=16, name="node")
    steps = NODE_HOURS * 60
    start_ms = now_ms - steps * 60_000
    ids = list(fleet.layout)
    kinds = ("overload", "network_degradation")
    faults = [
        Fault(
            start_ms + at * 60_000,
            start_ms + (at + NODE_INCIDENT_MINUTES) * 60_000,
            kind,
            fleet.layout[node],
            node,
            INTENSITY,
        )
        for kind, at, node in zip(kinds, (200, 280), (ids[1], ids[9]), strict=True)
    ]
    simulation = simulate_nodes(fleet, steps, seed, start_ms, faults)
    members: dict[str, frozenset[str]] = {}
    for node, cluster in fleet.layout.items():
        members[cluster] = members.get(cluster, frozenset()) | {node}
    return Play(simulation, start_ms + 150 * 60_000, 60_000, 30 * 60_000, members)


def _due(name: str, play: Play) -> Iterator[Sent]:
    span = float(play.simulation.ts_ms[-1] - play.live_ms) or 1.0
    for key, value, ts_ms in play.simulation.records():
        yield Sent((ts_ms - play.live_ms) / span, name, key, value, key, ts_ms)


def _shuffled(rng: random.Random) -> Iterator[str]:
    kinds = list(KINDS)
    rng.shuffle(kinds)
    return iter(kinds)
