"""What each class of fault does to a cluster's latent courses, on the member it strikes and, weaker, on its peers."""

import numpy as np

from vigil.simulator.cluster import ClusterProfile, Latents
from vigil.simulator.faults import Fault
from vigil.simulator.processes import Floats, envelope, reflected

LEADER = 0
"""Place of the member that leads when nothing happens: a fault that strikes it is felt by all."""


def strike(
    rng: np.random.Generator,
    profile: ClusterProfile,
    latents: Latents,
    fault: Fault,
    span: slice,
    target: int | None,
) -> None:
    """Bend ``latents`` over ``span`` as the fault does.

    Args:
        rng: source of everything the fault leaves to chance.
        profile: the cluster.
        latents: its courses, changed in place.
        fault: what strikes.
        span: the steps it lasts.
        target: place of the member it strikes, ``None`` for the cluster.
    """
    steps = span.stop - span.start
    rise = int(rng.uniform(0.0, 0.3) * steps) if fault.kind != "member_down" else 0
    fall = int(rng.uniform(0.0, 0.2) * steps) if fault.kind != "member_down" else 0
    course = fault.intensity * envelope(steps, rise, fall)
    _EFFECTS[fault.kind](rng, profile, latents, span, course, target)
    if fault.intensity > 0.5 and rng.random() < 0.3:
        latents.mode[span.start + min(steps - 1, int(rng.integers(4, 12))) : span.stop] = 2


def _reach(profile: ClusterProfile, target: int | None, peers: float) -> Floats:
    """How much of a fault each member feels, float64 (m,): the target all of it, peers a share, all when it leads."""
    if target is None or target == LEADER:
        return np.ones(profile.members)
    reach = np.full(profile.members, peers)
    reach[target] = 1.0
    return reach


def _add_latency(latents: Latents, span: slice, milliseconds: Floats) -> None:
    """Add milliseconds (T, m) to the median latency."""
    latents.log_p50[span] = np.log(np.exp(latents.log_p50[span]) + milliseconds)


def _congestion(
    rng: np.random.Generator, profile: ClusterProfile, latents: Latents, span: slice, course: Floats, target: int | None
) -> None:
    """Delay and jitter on the network into the target: latency up by the delay, queues by Little's law, loss on top."""
    reach = course[:, None] * _reach(profile, target, 0.12)
    delay = rng.uniform(40.0, 300.0) if not profile.wan else rng.uniform(1.0, 4.0) * profile.base_ms.mean()
    _add_latency(latents, span, delay * reach * rng.gamma(6.0, 1.0 / 6.0, reach.shape))
    latents.tail[span] += 0.5 * reach
    retransmitted = rng.random(reach.shape) < 0.3 * reach
    latents.spike_ms[span] += np.where(retransmitted, rng.uniform(1.0, 3.0, reach.shape) * delay, 0.0)
    latents.committed[span] *= 1.0 - 0.15 * course
    if course.max() > 0.8 and target is None and rng.random() < 0.5:  # so slow that followers give the leader up
        latents.elections[span] += rng.random(len(course)) < 0.08


def _elections(
    rng: np.random.Generator, profile: ClusterProfile, latents: Latents, span: slice, course: Floats, _: int | None
) -> None:
    """Lose the leader again and again: each election stops commits for an election timeout or more."""
    steps, members = len(course), profile.members
    lost = rng.random(steps) < 0.12 + 0.5 * course
    lost[min(int(rng.integers(2)), steps - 1)] = True
    timeout = rng.uniform(150.0, 1_200.0) * (3.0 if profile.wan else 1.0)
    pause = np.where(lost, timeout * course * rng.uniform(0.3, 1.5, steps), 0.0)[:, None] * np.ones(members)
    latents.spike_ms[span] += pause
    _add_latency(latents, span, pause * np.clip(course, 0.0, 1.0)[:, None] ** 2)
    latents.committed[span] *= np.where(lost, 1.0 - 0.8 * course, 1.0)
    seen = lost & (rng.random(steps) < profile.election_visible)
    latents.elections[span] += np.where(seen, 1 + rng.poisson(3.0 * course**2), 0)
    waiting = latents.offered[span] / members * pause[:, 0] / 1_000.0
    latents.pending[span] += waiting[:, None]
    latents.queue[span] += waiting[:, None]


def _overflow(
    _: np.random.Generator, profile: ClusterProfile, latents: Latents, span: slice, course: Floats, __: int | None
) -> None:
    """Clients ask for 1.5 to 13 times the load: committed until the capacity is met, then a backlog grows."""
    latents.offered[span] *= 1.0 + 0.4 * (course > 0) + 11.6 * course**1.5
    offered = latents.offered[span]
    over = offered - profile.capacity
    backlog = np.minimum(reflected(over), 30.0 * profile.rate)
    latents.committed[span] *= np.minimum(1.0, profile.capacity / offered)
    used = np.minimum(offered / profile.capacity, 1.5)[:, None]
    latents.log_p50[span] += 0.9 * used**2
    _add_latency(latents, span, (backlog / profile.capacity * 300.0)[:, None] * np.ones(profile.members))
    latents.tail[span] += 0.25 * used
    latents.queue[span] += (backlog / profile.members * 0.2)[:, None] + 1.5 * used * course[:, None]
    latents.pending[span] += (backlog / profile.members * 0.1)[:, None]


def _byzantine(
    rng: np.random.Generator, profile: ClusterProfile, latents: Latents, span: slice, course: Floats, target: int | None
) -> None:
    """Let a member lie: its commit count departs from its peers', honest ones vote again, view changes follow."""
    liar = LEADER if target is None else target
    steps, members = len(course), profile.members
    lie = rng.random(steps) < 0.3 + 0.7 * course
    factor = np.where(lie, np.exp(rng.choice((-1.0, 1.0)) * (0.15 + 1.5 * course) * rng.uniform(0.5, 1.5, steps)), 1.0)
    latents.skew[span, liar] *= factor
    honest = np.ones(members)
    honest[liar] = 0.3
    again = course[:, None] * honest
    latents.log_p50[span] += 0.7 * again
    latents.tail[span] += 0.8 * again
    latents.pending[span] += (1.0 + latents.offered[span, None] / members * 0.03) * again * 4.0
    latents.queue[span] += (1.0 + latents.offered[span, None] / members * 0.02) * again * 3.0
    latents.committed[span] *= 1.0 - 0.45 * course
    latents.elections[span] += rng.poisson((0.1 if profile.consensus_type == "raft" else 0.8) * course**2 * 2.0)


def _quorum_loss(
    rng: np.random.Generator, profile: ClusterProfile, latents: Latents, span: slice, course: Floats, _: int | None
) -> None:
    """Too few members hear each other: nothing commits while it lasts; at low intensity the quorum flaps."""
    steps, members = len(course), profile.members
    lost = rng.random(steps) < 0.25 + 0.75 * course
    lost[0] = True
    down = members - profile.quorum + 1
    latents.active[span] = np.where(lost[:, None], members - down, latents.active[span])
    if rng.random() < 0.5:  # the members lost are dead, not only cut off: they publish nothing
        gone = rng.permutation(members)[: max(down - 1, 1)]
        latents.silent[span, gone] = True
    latents.committed[span] *= np.where(lost, 0.0, 1.0)
    timeout = rng.uniform(800.0, 4_000.0)
    waiting = np.minimum(latents.offered[span] / members * reflected(np.where(lost, 0.6, -1.5)), 20.0 * profile.rate)
    latents.pending[span] += waiting[:, None]
    latents.queue[span] += waiting[:, None]
    stuck = np.where(lost, timeout * rng.uniform(0.4, 1.0, steps), 0.0)[:, None] * np.ones(members)
    _add_latency(latents, span, 0.4 * stuck * course[:, None])
    latents.spike_ms[span] += stuck
    latents.elections[span] += lost & (rng.random(steps) < 0.3 * profile.election_visible)


def _member_down(
    rng: np.random.Generator, profile: ClusterProfile, latents: Latents, span: slice, course: Floats, target: int | None
) -> None:
    """Kill a member: it publishes nothing, peers miss it after a heartbeat or two, and carry its clients."""
    gone = profile.members - 1 if target is None else target
    latents.silent[span, gone] = True
    noticed = min(span.start + int(rng.integers(1, 6)), span.stop)
    latents.active[noticed : span.stop] -= 1
    peers = np.arange(profile.members) != gone
    latents.log_p50[span] += 0.25 * course[:, None] * peers
    if gone == LEADER:
        timeout = rng.uniform(300.0, 1_500.0)
        hit = slice(span.start, min(span.start + int(rng.integers(1, 4)), span.stop))
        latents.spike_ms[hit] += timeout
        latents.committed[hit] *= 0.3
        latents.elections[hit.stop - 1] += 1


_EFFECTS = {
    "network_congestion": _congestion,
    "leader_election_storm": _elections,
    "queue_overflow": _overflow,
    "byzantine_attack": _byzantine,
    "quorum_loss": _quorum_loss,
    "member_down": _member_down,
}
