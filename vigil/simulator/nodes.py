"""A fleet of nodes reporting once a minute: real incidents, reported late, among many benign look-alikes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.metrics import Incident
from vigil.simulator.faults import Fault, FaultPlanError
from vigil.simulator.node import Course, NodeProfile, healthy_course, observe_node
from vigil.simulator.node_events import DAY, INCIDENTS, apply_crowd, apply_incident, apply_lookalikes
from vigil.simulator.simulation import Node, Simulation

INCIDENT_KINDS: tuple[str, ...] = tuple(INCIDENTS)
"""Kinds of node incidents."""

_REGIONS = (("eu", 0.0), ("us", 7.0), ("ap", -7.0))
_STEP_MS = 60_000
_PER_CLUSTER = 8
_SHARE_OF_NEIGHBOURS = 0.12


@dataclass(frozen=True, slots=True)
class NodeFleet:
    """Which nodes to simulate.

    Attributes:
        nodes: number of nodes; eight make a cluster, and a cluster is in one region.
        name: prefix: node ids are ``<name>-n00``, ``<name>-n01`` ..., clusters ``<name>-0`` ...
        lookalikes: how often benign look-alikes happen, 1 for the usual rate, 0 for never.
    """

    nodes: int = 24
    name: str = "fleet"
    lookalikes: float = 1.0

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.lookalikes < 0.0:
            raise ValueError(f"a fleet needs nodes >= 1 and lookalikes >= 0; got {self.nodes}, {self.lookalikes}")

    @property
    def layout(self) -> dict[str, str]:
        """The cluster of every node id."""
        width = max(2, len(str(self.nodes - 1)))
        return {
            f"{self.name}-n{place:0{width}d}": f"{self.name}-{place // _PER_CLUSTER}" for place in range(self.nodes)
        }


def simulate_nodes(
    fleet: NodeFleet, steps: int, seed: int, start_ms: int, incidents: Sequence[Fault] | float = 0.9
) -> Simulation:
    """Simulate ``steps`` minutes of a fleet; the same arguments give the same bytes.

    Args:
        fleet: the nodes.
        steps: rows a node, before the few that go missing.
        seed: seeds everything.
        start_ms: event time of the first minute, Unix epoch milliseconds.
        incidents: the incidents as they truly are (target: the node id), or their mean number a node-day.

    Returns:
        The telemetry in event-time order. ``faults`` holds the true incidents, ``incidents`` what people report: the
        start 0 to 6 minutes late, the end 0 to 5; an incident that outlasts the simulation is still open.

    Raises:
        FaultPlanError: an incident names a kind or node that does not exist.
        ValueError: ``steps`` is below 1 or ``start_ms`` is not positive.
    """
    if steps < 1 or start_ms <= 0:
        raise ValueError(f"steps must be at least 1 and start_ms positive; got steps={steps}, start_ms={start_ms}")
    layout = fleet.layout
    truth = (
        tuple(sorted(incidents)) if isinstance(incidents, Sequence) else _draw(layout, steps, seed, start_ms, incidents)
    )
    _check(truth, layout)
    base = start_ms + np.arange(steps, dtype=np.int64) * _STEP_MS
    profiles, courses = _healthy_fleet(fleet, base, seed)
    for place, (node_id, cluster) in enumerate(layout.items()):
        for number, fault in enumerate(truth):
            rng = np.random.default_rng([seed, 31, number, place])
            mine = fault.target == node_id
            if mine or (fault.cluster == cluster and rng.random() < 0.25):
                first, last = (int(np.searchsorted(base, at)) for at in (fault.start_ms, fault.end_ms))
                severity = fault.intensity * (1.0 if mine else _SHARE_OF_NEIGHBOURS)
                kind = "gray_failure" if fault.kind == "sudden_crash" and not mine else fault.kind
                if first < last:
                    apply_incident(rng, courses[place], kind, first, last, severity)
    return _assemble(layout, profiles, courses, base, truth, seed)


def _draw(layout: Mapping[str, str], steps: int, seed: int, start_ms: int, per_day: float) -> tuple[Fault, ...]:
    """Draw incidents, at least three hours apart on one node."""
    found = []
    for place, (node_id, cluster) in enumerate(layout.items()):
        if per_day <= 0.0:
            break
        rng = np.random.default_rng([seed, 17, place])
        at = rng.exponential(DAY / per_day)
        while at < steps:
            length = float(np.clip(np.exp(rng.normal(np.log(28.0), 0.7)), 6.0, 180.0))
            start, end = start_ms + int(at) * _STEP_MS, start_ms + int(at + length) * _STEP_MS
            kind = INCIDENT_KINDS[int(rng.integers(len(INCIDENT_KINDS)))]
            found.append(Fault(start, end, kind, cluster, node_id, float(np.round(rng.uniform(0.25, 1.0), 3))))
            at += length + 180.0 + rng.exponential(max(DAY / per_day - length - 180.0, 1.0))
    return tuple(sorted(found))


def _check(truth: Sequence[Fault], layout: Mapping[str, str]) -> None:
    for fault in truth:
        if fault.kind not in INCIDENTS:
            raise FaultPlanError(f"incident kind {fault.kind!r} is unknown; use one of {', '.join(INCIDENTS)}")
        if layout.get(fault.target) != fault.cluster:
            raise FaultPlanError(f"incident target {fault.target!r} is no node of cluster {fault.cluster!r}")
        if fault.end_ms <= fault.start_ms or not 0.0 < fault.intensity <= 1.0:
            raise FaultPlanError(f"incident {fault} must end after its start and have an intensity in (0, 1]")


def _healthy_fleet(fleet: NodeFleet, base: NDArray[np.int64], seed: int) -> tuple[list[NodeProfile], list[Course]]:
    """Draw every node's profile and incident-free course, look-alikes included."""
    profiles, courses = [], []
    minute = int(base[0] // _STEP_MS % DAY)
    for place in range(fleet.nodes):
        rng = np.random.default_rng([seed, 5, place])
        profile = NodeProfile.draw(rng, _REGIONS[place // _PER_CLUSTER % len(_REGIONS)][1])
        course = healthy_course(rng, profile, base)
        apply_lookalikes(rng, profile, course, minute, fleet.lookalikes)
        profiles.append(profile)
        courses.append(course)
    for start in range(0, fleet.nodes, _PER_CLUSTER):
        apply_crowd(np.random.default_rng([seed, 23, start]), courses[start : start + _PER_CLUSTER], fleet.lookalikes)
    return profiles, courses


def _assemble(
    layout: Mapping[str, str],
    profiles: Sequence[NodeProfile],
    courses: Sequence[Course],
    base: NDArray[np.int64],
    truth: tuple[Fault, ...],
    seed: int,
) -> Simulation:
    """Observe every node and put all rows in event-time order."""
    nodes, parts = [], []
    numbers: dict[str, list[int]] = {}
    for number, fault in enumerate(truth):
        numbers.setdefault(fault.target, []).append(number)
    for place, (node_id, cluster) in enumerate(layout.items()):
        rng = np.random.default_rng([seed, 47, place])
        region = _REGIONS[place // _PER_CLUSTER % len(_REGIONS)][0]
        nodes.append(Node(node_id, cluster, region, f"{region}-{'abc'[place % 3]}"))
        profile, course = profiles[place], courses[place]
        marks = np.full(len(base), -1, np.int16)
        for number in numbers.get(node_id, ()):
            marks[np.searchsorted(base, truth[number].start_ms) : np.searchsorted(base, truth[number].end_ms)] = number
        row: dict[str, NDArray[Any]] = {
            "ts_ms": base + int(rng.integers(0, 30_000)) + rng.integers(0, 1_500, len(base)),
            "node": np.full(len(base), place, np.int32),
            "truth": marks,
            "dwcp_mode": np.where(course.fallback, 2, profile.mode).astype(np.int8),
            "network_tier": np.full(len(base), profile.tier, np.int8),
        } | observe_node(rng, profile, course)
        parts.append({name: values[~course.silent] for name, values in row.items()})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(whole["ts_ms"], kind="stable")
    ordered = {name: values[order] for name, values in whole.items()}
    marks = ordered.pop("truth")
    return Simulation(
        stream="node",
        nodes=tuple(nodes),
        node=ordered.pop("node"),
        ts_ms=ordered.pop("ts_ms"),
        codes={
            "dwcp_mode": (("standard", "optimized", "fallback"), ordered.pop("dwcp_mode")),
            "network_tier": (("tier1", "tier2", "tier3"), ordered.pop("network_tier")),
        },
        columns=ordered,
        faults=truth,
        truth=marks,
        aftermath=np.zeros(len(marks), np.bool_),
        incidents=_report(truth, int(base[-1]), seed),
    )


def _report(truth: Sequence[Fault], until_ms: int, seed: int) -> tuple[Incident, ...]:
    """Report incidents as people do: late, and with a severity that is only roughly right."""
    rng = np.random.default_rng([seed, 61])
    reports = []
    for fault in truth:
        late, later = int(rng.integers(0, 360_001)), int(rng.integers(0, 300_001))
        felt = fault.intensity + rng.normal(0.0, 0.15)
        end_ms = fault.end_ms + later
        reports.append(
            Incident(
                node_id=fault.target,
                start_ms=fault.start_ms + late,
                end_ms=max(end_ms, fault.start_ms + late + _STEP_MS) if end_ms <= until_ms else None,
                kind=fault.kind,
                severity="critical" if felt > 0.75 else "warning" if felt > 0.45 else "info",
            )
        )
    return tuple(sorted(reports, key=lambda report: (report.start_ms, report.node_id)))
