"""One healthy consensus cluster: what it is like, how its load and latency run, and what its members report."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from vigil.simulator.processes import Floats, ar1, daily_cycle, events

TYPES: tuple[str, ...] = ("raft", "pbft", "hotstuff")


@dataclass(frozen=True, slots=True)
class ClusterProfile:
    """What stays the same about a cluster.

    Attributes:
        consensus_type: raft, pbft or hotstuff.
        wan: whether the members are far apart.
        quorum: votes that decide: a majority for raft, two thirds for the byzantine protocols.
        base_ms: (m,) service time of an idle cluster as clients of each member see it, milliseconds.
        rate: operations a second at the mean load.
        capacity: operations a second beyond which a backlog grows.
        memory: correlation of load and latency noise from one second to the next.
        cycle_s, cycle_depth, cycle_phase: the short load cycle (batch jobs of clients), about five minutes.
        day_depth, day_phase: the daily cycle's depth (of the load) and phase (hours).
        burst_rate, burst_scale: one-second latency bursts: probability a second, typical size in medians.
        compaction_s: seconds between two compactions, each of which lifts the tail for a few seconds.
        election_visible: chance that a failed election shows in the counter at all.
        drift_sd: standard deviation of the slow drift of log latency.
    """

    consensus_type: str
    wan: bool
    quorum: int
    base_ms: Floats
    rate: float
    capacity: float
    memory: float
    cycle_s: float
    cycle_depth: float
    cycle_phase: float
    day_depth: float
    day_phase: float
    burst_rate: float
    burst_scale: float
    compaction_s: float
    election_visible: float
    drift_sd: float

    @property
    def members(self) -> int:
        """Number of members."""
        return len(self.base_ms)

    @classmethod
    def draw(cls, rng: np.random.Generator, members: int, *, wan: bool) -> Self:
        """Draw a cluster of ``members`` members."""
        kind = TYPES[int(rng.choice(3, p=(0.6, 0.2, 0.2)))]
        base = rng.uniform(20.0, 120.0) if wan else float(np.exp(rng.uniform(np.log(0.8), np.log(8.0))))
        rate = float(np.exp(rng.normal(np.log(120.0), 0.9)))
        majority = members // 2 + 1
        return cls(
            consensus_type=kind,
            wan=wan,
            quorum=majority if kind == "raft" else max(majority, -(-2 * members // 3)),
            base_ms=base * np.exp(rng.normal(0.0, 0.3 if wan else 0.1, members)),
            rate=rate,
            capacity=rate * float(np.exp(rng.uniform(np.log(2.5), np.log(20.0)))),
            memory=float(rng.uniform(0.3, 0.95)),
            cycle_s=float(rng.normal(300.0, 25.0)),
            cycle_depth=float(rng.uniform(0.05, 0.4)),
            cycle_phase=float(rng.uniform(0.0, 2.0 * np.pi)),
            day_depth=float(rng.uniform(0.1, 0.45)),
            day_phase=float(rng.uniform(-6.0, 6.0)),
            burst_rate=float(rng.uniform(0.01, 0.05)),
            burst_scale=float(rng.uniform(3.0, 12.0)),
            compaction_s=float(rng.uniform(240.0, 900.0)),
            election_visible=float(rng.uniform(0.15, 1.0)),
            drift_sd=float(rng.uniform(0.03, 0.12)),
        )


@dataclass(slots=True)
class Latents:
    """Courses behind the telemetry; T steps, m members. Faults bend them in place.

    Attributes:
        offered: (T,) operations a second that clients ask for.
        committed: (T,) share of them that the cluster commits.
        skew: (T, m) factor on the commit count a member claims (1: honest).
        log_p50: (T, m) log of the median latency, milliseconds.
        tail: (T, m) median of log(p95 / p50).
        spike_ms: (T, m) milliseconds on top of p99 (and mostly p95) in bursts.
        queue, pending: (T, m) entries beyond Little's law.
        elections: (T,) leader changes.
        active: (T, m) members each member believes alive.
        silent: (T, m) whether a member publishes nothing.
        mode: (T,) dwcp_mode code.
    """

    offered: Floats
    committed: Floats
    skew: Floats
    log_p50: Floats
    tail: Floats
    spike_ms: Floats
    queue: Floats
    pending: Floats
    elections: NDArray[np.int64]
    active: NDArray[np.int64]
    silent: NDArray[np.bool_]
    mode: NDArray[np.int8]


def healthy(rng: np.random.Generator, profile: ClusterProfile, ts_ms: NDArray[np.int64], step_ms: int) -> Latents:
    """Draw the courses of a cluster without faults at the given times."""
    steps, members = len(ts_ms), profile.members
    shape = (steps, members)
    offered = _offered(rng, profile, ts_ms, step_ms)
    shared = ar1(rng, steps, 1, profile.memory, 0.07)
    own = ar1(rng, steps, members, profile.memory, 0.07)
    drift = ar1(rng, steps, members, 1.0 - step_ms / 7_200_000.0, profile.drift_sd)
    used = (offered / profile.capacity)[:, None]
    latents = Latents(
        offered=offered,
        committed=np.ones(steps),
        skew=np.ones(shape),
        log_p50=np.log(profile.base_ms) + shared + own + drift + 0.6 * used,
        tail=np.full(shape, 0.42 if not profile.wan else 0.2) * np.exp(ar1(rng, steps, members, 0.9, 0.15)),
        spike_ms=_spikes(rng, profile, offered, members, step_ms),
        queue=np.zeros(shape),
        pending=np.zeros(shape),
        elections=np.zeros(steps, np.int64),
        active=np.full(shape, members, np.int64),
        silent=np.zeros(shape, np.bool_),
        mode=_modes(rng, steps, step_ms),
    )
    for at in events(rng, steps, step_ms / 86_400_000.0):  # a leader changes hands about once a day, harmlessly
        latents.elections[at] += 1
        latents.spike_ms[at] += 4.0 * profile.base_ms
    return latents


def _offered(rng: np.random.Generator, profile: ClusterProfile, ts_ms: NDArray[np.int64], step_ms: int) -> Floats:
    """Load: daily cycle, five-minute cycle, noise, clients that come and go, short benign surges."""
    steps = len(ts_ms)
    seconds = ts_ms / 1000.0
    cycle = np.sin(2.0 * np.pi * seconds / profile.cycle_s + profile.cycle_phase)
    log_load = np.log1p(profile.day_depth * daily_cycle(ts_ms, profile.day_phase) + profile.cycle_depth * cycle)
    log_load += ar1(rng, steps, 1, profile.memory, 0.08)[:, 0]
    for at in events(rng, steps, step_ms / 1_800_000.0):  # clients join or leave, and the load stays there for a while
        stay = int(rng.exponential(3_600_000.0 / step_ms)) + 1
        log_load[at : at + stay] += np.clip(rng.normal(0.0, 0.12), -0.3, 0.3)
    for at in events(rng, steps, step_ms / 2_400_000.0):  # surges that clients are entitled to
        length = min(int(rng.uniform(20.0, 180.0) * 1000.0 / step_ms) + 1, steps - at)
        log_load[at : at + length] += rng.uniform(0.1, 0.35) * np.hanning(length + 2)[1:-1]
    return profile.rate * np.exp(log_load)


def _spikes(rng: np.random.Generator, profile: ClusterProfile, offered: Floats, members: int, step_ms: int) -> Floats:
    """Heavy-tailed bursts of one second, more under load, some on every member at once, and the periodic compaction."""
    steps = len(offered)
    shape = (steps, members)
    spikes = np.zeros(shape)
    per_step = profile.burst_rate * min(step_ms / 1000.0, 3.0) * (offered / profile.rate)
    everyone = np.broadcast_to((rng.random(steps) < 0.4 * per_step)[:, None], shape)
    hit = everyone | (rng.random(shape) < 0.6 * per_step[:, None])
    size = profile.burst_scale * (0.6 + 0.5 * rng.pareto(2.2, int(hit.sum())))
    spikes[hit] = np.minimum(size, 60.0)
    lasting = hit[:-1] & (rng.random((steps - 1, members)) < 0.15)
    spikes[1:] += np.where(lasting, 0.5 * spikes[:-1], 0.0)
    period = max(int(profile.compaction_s * 1000.0 / step_ms), 2)
    for start in range(int(rng.integers(period)), steps, period):
        end = start + int(rng.integers(1, 5))
        spikes[start:end] += rng.uniform(0.5, 2.5)
    return spikes * profile.base_ms


def _modes(rng: np.random.Generator, steps: int, step_ms: int) -> NDArray[np.int8]:
    """Draw the mode an operator has chosen: mostly for good, sometimes switched for minutes."""
    usual = int(rng.choice(3, p=(0.2, 0.6, 0.2)))
    mode = np.full(steps, usual, np.int8)
    for at in events(rng, steps, step_ms / 14_400_000.0):
        mode[at : at + int(rng.uniform(60.0, 1_200.0) * 1000.0 / step_ms)] = int(rng.integers(3))
    return mode


def observe(
    rng: np.random.Generator, profile: ClusterProfile, latents: Latents, step_ms: int
) -> dict[str, NDArray[np.generic]]:
    """Turn courses into what the members report: counts int64, latencies float64 to the microsecond, (T, m) each."""
    seconds = step_ms / 1000.0
    shape = latents.log_p50.shape
    members = profile.members
    p50 = np.exp(latents.log_p50)
    flow = latents.offered * latents.committed
    committed = rng.poisson(flow * seconds)[:, None] + rng.choice((-1, 0, 0, 0, 0, 1), shape)
    committed = np.rint(np.maximum(committed, 0) * latents.skew)
    waiting = (latents.offered / members)[:, None] * p50 / 1000.0  # Little's law: arrivals times time in the system
    burst = rng.gamma(4.0, 0.25, shape)
    queue = rng.poisson(waiting * burst + latents.queue)
    pending = rng.poisson(0.6 * waiting * burst + latents.pending)
    samples = np.maximum(flow * seconds / members, 1.0)[:, None]
    p95, p99 = _quantiles(rng, p50, latents, samples)
    return {
        "queue_depth": queue,
        "proposals_pending": pending,
        "proposals_committed": committed.astype(np.int64),
        "latency_p50": np.round(p50, 3),
        "latency_p95": np.round(p95, 3),
        "latency_p99": np.round(p99, 3),
        "leader_changes": np.broadcast_to(latents.elections[:, None], shape),
        "quorum_size": np.full(shape, profile.quorum, np.int64),
        "active_nodes": latents.active,
    }


def _quantiles(rng: np.random.Generator, p50: Floats, latents: Latents, samples: Floats) -> tuple[Floats, Floats]:
    """Draw the upper quantiles of ``samples`` requests: few make them noisy, and of few p95 and p99 are the same."""
    shape = p50.shape
    noise = 0.6 * rng.standard_normal((shape[0], 1)) + 0.8 * rng.standard_normal(shape)
    spread = 0.2 + 0.5 * np.exp(-samples / 150.0)
    p95 = p50 * np.exp(latents.tail * np.exp(spread * noise))
    same = rng.random(shape) < np.exp(-samples / 60.0)
    in_p95 = same | (rng.random(shape) < 0.3)
    p95 += latents.spike_ms * np.where(in_p95, rng.uniform(0.6, 1.0, shape), 0.05)
    stretch = 0.08 + rng.exponential(0.22, shape)
    p99 = np.maximum(p95 * np.exp(stretch), p50 + latents.spike_ms)
    return p95, np.where(same, p95, p99)
