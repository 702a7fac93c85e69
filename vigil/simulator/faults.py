"""Faults to inject, with their truth, and plans of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

FAULT_KINDS: tuple[str, ...] = (
    "network_congestion",
    "leader_election_storm",
    "queue_overflow",
    "byzantine_attack",
    "quorum_loss",
    "member_down",
)
"""Classes of consensus faults (SPEC section 1), and ``member_down``: a member that falls silent."""

WHOLE_CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One injected fault, as it was: the ground truth.

    Attributes:
        start_ms: event time of its first step, Unix epoch milliseconds.
        end_ms: event time at which it has ended, exclusive.
        kind: one of ``FAULT_KINDS`` for consensus telemetry, an incident kind for node telemetry.
        cluster: the cluster it strikes.
        target: the member (node id) it strikes, or ``"cluster"``.
        intensity: 0.1 (hardly visible) to 1 (nothing works).
    """

    start_ms: int
    end_ms: int
    kind: str
    cluster: str
    target: str
    intensity: float


class FaultPlanError(ValueError):
    """A fault that cannot be injected into this fleet; the text names the fault and why."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults of one simulation, in order of their start."""

    faults: tuple[Fault, ...] = ()

    def __iter__(self) -> Iterator[Fault]:
        return iter(sorted(self.faults))

    def __len__(self) -> int:
        return len(self.faults)

    def of(self, cluster: str) -> tuple[Fault, ...]:
        """Return the faults of one cluster, in order of their start."""
        return tuple(fault for fault in self if fault.cluster == cluster)

    def check(self, members: Mapping[str, Sequence[str]]) -> None:
        """Raise ``FaultPlanError`` when a fault names what does not exist, or lasts no time."""
        for fault in self.faults:
            if fault.kind not in FAULT_KINDS:
                raise FaultPlanError(f"fault kind {fault.kind!r} is unknown; use one of {', '.join(FAULT_KINDS)}")
            if fault.cluster not in members:
                raise FaultPlanError(f"fault names cluster {fault.cluster!r}; the fleet has {', '.join(members)}")
            if fault.target not in (WHOLE_CLUSTER, *members[fault.cluster]):
                raise FaultPlanError(
                    f"fault target {fault.target!r} is no member of {fault.cluster}; "
                    f"use {WHOLE_CLUSTER!r} or one of {', '.join(members[fault.cluster])}"
                )
            if fault.end_ms <= fault.start_ms:
                raise FaultPlanError(f"fault ends at {fault.end_ms}, not after its start {fault.start_ms}")
            if not 0.0 < fault.intensity <= 1.0:
                raise FaultPlanError(f"fault intensity {fault.intensity} is outside (0, 1]")

    @classmethod
    def every_kind(
        cls,
        members: Mapping[str, Sequence[str]],
        start_ms: int,
        *,
        spacing_ms: int = 60_000,
        duration_ms: int = 20_000,
        intensity: float = 0.8,
    ) -> Self:
        """One fault of every kind, one after another, dealt over the clusters in turn: what the demo shows.

        Args:
            members: the member ids of every cluster (``ConsensusFleet.layout``).
            start_ms: start of the first fault.
            spacing_ms: from one start to the next.
            duration_ms: length of each.
            intensity: of each, in (0, 1].
        """
        clusters = list(members)
        faults = []
        for place, kind in enumerate(FAULT_KINDS):
            cluster = clusters[place % len(clusters)]
            at = start_ms + place * spacing_ms
            target = members[cluster][-1] if kind in ("byzantine_attack", "member_down") else WHOLE_CLUSTER
            faults.append(Fault(at, at + duration_ms, kind, cluster, target, intensity))
        return cls(tuple(faults))

    @classmethod
    def at_rate(
        cls,
        members: Mapping[str, Sequence[str]],
        span_ms: tuple[int, int],
        per_cluster_hour: float,
        seed: int,
        *,
        intensity: tuple[float, float] = (0.1, 1.0),
    ) -> Self:
        """Faults at random: exponential pauses (never under 45 s), kinds in equal shares, 8-60 s long.

        Args:
            members: the member ids of every cluster.
            span_ms: event time of the first and last step; the first 60 s stay free of faults.
            per_cluster_hour: mean number of faults in an hour of one cluster.
            seed: the same seed draws the same plan; clusters are drawn independently of each other.
            intensity: bounds between which intensities are drawn uniformly.
        """
        faults: list[Fault] = []
        if per_cluster_hour <= 0.0:
            return cls()
        pause_ms = 3_600_000.0 / per_cluster_hour
        for place, (cluster, nodes) in enumerate(members.items()):
            rng = np.random.default_rng([seed, 7_001, place])
            at = span_ms[0] + 60_000 + rng.exponential(pause_ms)
            while True:
                length = 1_000 * int(rng.integers(8, 61))
                if at + length > span_ms[1]:
                    break
                kind = FAULT_KINDS[int(rng.integers(len(FAULT_KINDS)))]
                strength = float(np.round(rng.uniform(*intensity), 3))
                faults.append(Fault(int(at), int(at) + length, kind, cluster, _target(rng, kind, nodes), strength))
                at += length + 45_000 + rng.exponential(max(pause_ms - length - 45_000, 1.0))
        return cls(tuple(sorted(faults)))


def _target(rng: np.random.Generator, kind: str, nodes: Sequence[str]) -> str:
    """Draw whom a fault strikes: some kinds strike one member, some the cluster, some either."""
    single = {"byzantine_attack": 1.0, "member_down": 1.0, "network_congestion": 0.5}.get(kind, 0.0)
    if rng.random() < single:
        return nodes[int(rng.integers(len(nodes)))]
    return WHOLE_CLUSTER
