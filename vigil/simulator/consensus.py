"""A fleet of consensus clusters: coherent telemetry with benign bursts, cycles and drifts, and injected faults.

What a member reports follows from a few latent courses (load, service time, tail, elections, silence) that faults bend
and the observation step turns into counts and quantiles. The scale of things is that of a recorded three-member etcd:
one-second latency peaks of 5-20 times the median in 1-3 % of the healthy rows, queues that follow Little's law, a
commit count all members agree on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.simulator.cluster import TYPES, ClusterProfile, healthy, observe
from vigil.simulator.consensus_faults import strike
from vigil.simulator.faults import Fault, FaultPlan
from vigil.simulator.simulation import Node, Simulation

_REGIONS = ("eu-central", "us-east", "ap-south", "sa-east")
_AFTERMATH_MS = 15_000


@dataclass(frozen=True, slots=True)
class ConsensusFleet:
    """Which clusters to simulate.

    Attributes:
        clusters: number of clusters.
        members: members of a cluster; when several sizes are given, clusters take turns.
        wan_share: share of clusters that span a WAN (base latency 20-120 ms instead of 0.8-8 ms).
        step_ms: time between two records of a member.
        name: prefix of the cluster names: ``<name>-00`` has the members ``<name>-00-n0``, ``<name>-00-n1`` ...
        first: number of the first cluster, so that a large fleet can be simulated in parts, each as in the whole.
    """

    clusters: int = 8
    members: int | tuple[int, ...] = (3, 5, 3, 7)
    wan_share: float = 0.3
    step_ms: int = 1_000
    name: str = "sim"
    first: int = 0

    def __post_init__(self) -> None:
        sizes = (self.members,) if isinstance(self.members, int) else self.members
        if self.clusters < 1 or not sizes or min(sizes) < 1 or self.step_ms < 1 or self.first < 0:
            raise ValueError(
                f"a fleet needs at least one cluster of one member, a step of 1 ms and a first number of 0; got "
                f"clusters={self.clusters}, members={self.members}, step_ms={self.step_ms}, first={self.first}"
            )

    @property
    def layout(self) -> dict[str, tuple[str, ...]]:
        """The member ids of every cluster."""
        sizes = (self.members,) if isinstance(self.members, int) else self.members
        names = {place: f"{self.name}-{place:02d}" for place in range(self.first, self.first + self.clusters)}
        return {
            name: tuple(f"{name}-n{member}" for member in range(sizes[place % len(sizes)]))
            for place, name in names.items()
        }


def simulate_consensus(
    fleet: ConsensusFleet,
    steps: int,
    seed: int,
    start_ms: int,
    faults: FaultPlan | float = 0.0,
    *,
    stretch: int = 0,
) -> Simulation:
    """Simulate ``steps`` steps of a fleet; the same arguments give the same bytes.

    Every cluster has its own random stream, so a cluster's telemetry does not depend on how many others there are.

    Args:
        fleet: the clusters.
        steps: records a member, before silence takes some away.
        seed: seeds everything, the fault plan at a rate included.
        start_ms: event time of the first step, Unix epoch milliseconds.
        faults: the faults to inject, or their mean number in an hour of one cluster.
        stretch: number of a stretch of a long run. Each has the same clusters and courses of its own, so that the run
            takes no more memory than a stretch; between two, latency and load step as after a restart.

    Returns:
        The telemetry in event-time order, with the truth in ``faults``, ``truth`` and ``aftermath``.

    Raises:
        FaultPlanError: a fault does not fit this fleet.
        ValueError: ``steps`` is below 1 or ``start_ms`` is not positive.
    """
    if steps < 1 or start_ms <= 0:
        raise ValueError(f"steps must be at least 1 and start_ms positive; got steps={steps}, start_ms={start_ms}")
    layout = fleet.layout
    span = (start_ms, start_ms + steps * fleet.step_ms)
    plan = faults if isinstance(faults, FaultPlan) else FaultPlan.at_rate(layout, span, float(faults), seed)
    plan.check(layout)
    ordered = tuple(plan)
    parts = [
        _simulate_cluster(fleet, place, steps, (seed, stretch), start_ms, ordered) for place in range(fleet.clusters)
    ]
    return _merge(parts, ordered)


@dataclass(frozen=True, slots=True)
class _Part:
    """One cluster's rows, member after member, before all are put in event-time order; T steps, m members."""

    nodes: list[Node]
    profile: ClusterProfile
    ts_ms: NDArray[np.int64]  # (T, m)
    keep: NDArray[np.bool_]  # (T, m), False where a member is silent
    columns: dict[str, NDArray[np.generic]]  # (T, m) each
    mode: NDArray[np.int8]  # (T,)
    truth: NDArray[np.int16]  # (T,)
    aftermath: NDArray[np.bool_]  # (T,)


def _simulate_cluster(
    fleet: ConsensusFleet, place: int, steps: int, seeds: tuple[int, int], start_ms: int, faults: tuple[Fault, ...]
) -> _Part:
    """Simulate the cluster at ``place`` of the fleet from its own random streams: the seed's, and the stretch's."""
    cluster, members = list(fleet.layout.items())[place]
    place += fleet.first
    seed, stretch = seeds
    rng = np.random.default_rng([seed, 1_009, place])
    # Which clusters span a WAN is spread evenly over the fleet, so that a small fleet has its share too.
    wan = int((place + 1) * fleet.wan_share) > int(place * fleet.wan_share)
    profile = ClusterProfile.draw(rng, len(members), wan=wan)
    if stretch:
        rng = np.random.default_rng([seed, 1_009, place, stretch])
    base = start_ms + np.arange(steps, dtype=np.int64) * fleet.step_ms
    latents = healthy(rng, profile, base, fleet.step_ms)
    truth = np.full(steps, -1, np.int16)
    aftermath = np.zeros(steps, np.bool_)
    for number, fault in enumerate(faults):
        times = (fault.start_ms, fault.end_ms, fault.end_ms + _AFTERMATH_MS)
        first, last, recovered = (int(np.searchsorted(base, at)) for at in times)
        if fault.cluster == cluster and first < last:
            target = members.index(fault.target) if fault.target in members else None
            strike(rng, profile, latents, fault, slice(first, last), target)
            truth[first:last] = number
            aftermath[last:recovered] = True
    # Every member reports at its own place in the step, with the jitter of a timer.
    jitter = rng.integers(0, max(fleet.step_ms // 40, 1), (steps, len(members)))
    return _Part(
        nodes=_place_members(rng, cluster, members, wan=wan),
        profile=profile,
        ts_ms=base[:, None] + rng.integers(0, max(fleet.step_ms // 3, 1), len(members)) + jitter,
        keep=~latents.silent,
        columns=observe(rng, profile, latents, fleet.step_ms),
        mode=latents.mode,
        truth=truth,
        aftermath=aftermath & (truth < 0),
    )


def _place_members(rng: np.random.Generator, cluster: str, members: Sequence[str], *, wan: bool) -> list[Node]:
    """Give each member a zone of one region, or of several regions when the cluster spans a WAN."""
    home = int(rng.integers(len(_REGIONS)))
    regions = [_REGIONS[(home + number * wan) % len(_REGIONS)] for number in range(len(members))]
    return [
        Node(member, cluster, region, f"{region}-{'abc'[number % 3]}")
        for number, (member, region) in enumerate(zip(members, regions, strict=True))
    ]


def _merge(parts: Sequence[_Part], faults: tuple[Fault, ...]) -> Simulation:
    """Put the rows of all clusters in order of event time; equal times keep the order of nodes."""

    def rows(courses: Iterable[NDArray[Any]]) -> NDArray[Any]:
        """Flatten courses of members (T, m) or of a cluster (T, 1), one a part, to rows, member after member."""
        pairs = zip(courses, parts, strict=True)
        return np.concatenate([np.broadcast_to(course, part.keep.shape).T[part.keep.T] for course, part in pairs])

    ts_ms = rows(part.ts_ms for part in parts)
    order = np.argsort(ts_ms, kind="stable")
    first = np.cumsum([0, *(len(part.nodes) for part in parts)])
    codes = {
        "network_tier": (("lan", "wan"), rows(np.array(part.profile.wan) for part in parts)),
        "dwcp_mode": (("optimistic", "normal", "conservative"), rows(part.mode[:, None] for part in parts)),
        "consensus_type": (TYPES, rows(np.array(TYPES.index(part.profile.consensus_type)) for part in parts)),
    }
    return Simulation(
        stream="consensus",
        nodes=tuple(node for part in parts for node in part.nodes),
        node=rows(start + np.arange(len(part.nodes)) for start, part in zip(first[:-1], parts, strict=True))[
            order
        ].astype(np.int32),
        ts_ms=ts_ms[order],
        columns={name: rows(part.columns[name] for part in parts)[order] for name in parts[0].columns},
        codes={name: (texts, values[order].astype(np.int8)) for name, (texts, values) in codes.items()},
        faults=faults,
        truth=rows(part.truth[:, None] for part in parts)[order],
        aftermath=rows(part.aftermath[:, None] for part in parts)[order],
    )
