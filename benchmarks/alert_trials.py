"""Simulated faults for the alert core, scored by the shipped detector: some that flap, some that strike one member."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from detectors.alerts import AlertPlane
from detectors.catalogue import load_detectors
from detectors.evaluation.alerts import alerts_of
from detectors.scoring import StreamScorer
from schemas.codec import RecordCodec
from schemas.outputs import Alert, Anomaly, Contribution, Source, anomaly_id
from schemas.streams import CONSENSUS
from vigil.score import Scoring
from vigil.simulator import FAULT_KINDS, WHOLE_CLUSTER, ConsensusFleet, Fault, FaultPlan, simulate_consensus

START_MS: Final = 1_800_000_000_000
WARM_MS: Final = 240_000
"""Event time without faults at the beginning."""
_TAIL_MS: Final = 90_000
_SINGLE: Final = ("network_congestion", "byzantine_attack", "member_down")  # kinds that strike one member


def scored(fleet: ConsensusFleet, steps: int, seed: int, plan: FaultPlan) -> Iterator[Anomaly]:
    """Simulate a fleet and yield what the shipped detector and `silence` flag."""
    simulation = simulate_consensus(fleet, steps, seed, START_MS, plan)
    scorer = StreamScorer(CONSENSUS, load_detectors(CONSENSUS))
    yield from Scoring(scorer, RecordCodec(CONSENSUS), CONSENSUS.topic).run(simulation.records())


def flapping(faults: int, seed: int, *, minutes: float = 10.0) -> dict[str, Any]:
    """Let one fault in each of ``faults`` clusters come and go every 10 to 40 s, and count its alerts.

    Returns:
        ``faults``, ``one_alert`` (faults with exactly one), ``alerts`` (the most one fault has), ``told`` (mean changes
        a fault), ``fired`` (mean times that a fault's alert fired).
    """
    random = np.random.default_rng(seed)
    fleet = ConsensusFleet(clusters=faults, members=5, name="flap")
    plan: list[Fault] = []
    for place, (cluster, members) in enumerate(fleet.layout.items()):
        kind = FAULT_KINDS[place % len(FAULT_KINDS)]
        target = members[-1] if kind in _SINGLE else WHOLE_CLUSTER
        intensity, at = float(random.uniform(0.5, 1.0)), START_MS + WARM_MS
        while at < START_MS + WARM_MS + minutes * 60_000:
            end = at + 1000 * int(random.integers(10, 41))
            plan.append(Fault(at, end, kind, cluster, target, intensity))
            at = end + 1000 * int(random.integers(10, 41))
    steps = int(WARM_MS + minutes * 60_000 + _TAIL_MS) // fleet.step_ms
    found = scored(fleet, steps, seed, FaultPlan(tuple(plan)))
    changes = [
        change for change in alerts_of(found, AlertPlane(), every=2_000) if change.started_ms >= START_MS + WARM_MS
    ]
    counts = [len({change.fingerprint for change in changes if change.cluster == name}) for name in fleet.layout]
    return {
        "faults": faults,
        "one_alert": counts.count(1),
        "alerts": max(counts),
        "told": len(changes) / faults,
        "fired": sum(change.status == "resolved" for change in changes) / faults,
    }


def harmless(clusters: int, seed: int, *, minutes: float = 60.0) -> dict[str, Any]:
    """Count alerts of clusters without a fault, but with the simulator's benign bursts, cycles and drifts.

    Returns:
        ``cluster_hours``, ``anomalies``, ``alerts``.
    """
    fleet = ConsensusFleet(clusters=clusters, name="calm")
    found = list(scored(fleet, int(minutes * 60_000) // fleet.step_ms, seed, FaultPlan()))
    opened = {change.fingerprint for change in alerts_of(found, AlertPlane())}
    return {"cluster_hours": clusters * minutes / 60, "anomalies": len(found), "alerts": len(opened)}


def origins(faults: int, seed: int, *, members: int = 50, a_cluster: int = 5) -> dict[str, Any]:
    """Strike one member of a large cluster so that its peers suffer, and see whom the alert names.

    Returns:
        ``faults``, ``alerted`` (faults with an alert), ``one_alert``, ``origin_right`` (of all faults, as the last
        firing change says), ``by_kind`` (faults, right).
    """
    random = np.random.default_rng(seed)
    tally: list[tuple[str, int, bool]] = []
    for first in range(-(-faults // a_cluster)):
        fleet = ConsensusFleet(clusters=1, members=members, name="wide", first=first)
        [(cluster, nodes)] = fleet.layout.items()
        plan = []
        for place in range(min(a_cluster, faults - first * a_cluster)):
            at = START_MS + WARM_MS + place * 120_000
            kind = _SINGLE[int(random.integers(len(_SINGLE)))]
            target, intensity = nodes[int(random.integers(members))], float(random.uniform(0.3, 1.0))
            plan.append(Fault(at, at + 1000 * int(random.integers(15, 46)), kind, cluster, target, intensity))
        steps = (WARM_MS + a_cluster * 120_000) // fleet.step_ms
        changes = alerts_of(scored(fleet, steps, seed, FaultPlan(tuple(plan))), AlertPlane(), every=2_000)
        tally += [_judged(fault, changes) for fault in plan]
    return {
        "faults": len(tally),
        "alerted": sum(count > 0 for _, count, _ in tally),
        "one_alert": sum(count == 1 for _, count, _ in tally),
        "origin_right": sum(right for _, _, right in tally),
        "by_kind": {
            kind: [sum(one[0] == kind for one in tally), sum(one[0] == kind and one[2] for one in tally)]
            for kind in _SINGLE
        },
    }


def _judged(fault: Fault, changes: Sequence[Alert]) -> tuple[str, int, bool]:
    """Return a fault's kind, its alerts, and whether the last one to fire names whom it struck."""
    told = [
        change
        for change in changes
        if change.status == "firing" and fault.start_ms <= change.updated_ms < fault.end_ms + 15_000
    ]
    return fault.kind, len({change.fingerprint for change in told}), bool(told) and told[-1].node_id == fault.target


def storm(anomalies: int, clusters: int) -> list[Anomaly]:
    """Make anomalies of as many nodes as it takes, in two steps a second apart, spread over clusters."""
    nodes = anomalies // 2
    return [
        _flagged(f"storm-{place % clusters}", f"storm-{place % clusters}-n{place // clusters}", place, second)
        for second in range(2)
        for place in range(nodes)
    ]


def _flagged(cluster: str, node: str, place: int, second: int) -> Anomaly:
    at = START_MS + 1000 * second + place % 500
    return Anomaly(
        id=anomaly_id("consensus", node, at),
        ts_ms=at,
        node_id=node,
        cluster=cluster,
        detector="consensus",
        model_version="storm",
        score=10.0 + place % 97,
        threshold=3.0,
        severity="critical",
        window_start_ms=at - 29_000,
        window_end_ms=at,
        contributions=(Contribution("latency_p99", 0.9, 88.0, 6.0, 8.0),),
        source=Source(CONSENSUS.topic, 0, place),
    )
