"""One healthy node: what it is like, how its load runs, and what it reports once a minute."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vigil.simulator.processes import Floats, ar1, daily_cycle, decaying_sum

_BUDGET = 0.001
_MEDIAN_BY_TIER = (8.0, 18.0, 45.0)


@dataclass(frozen=True, slots=True)
class NodeProfile:
    """What stays the same about a node.

    Attributes:
        tier: 0, 1 or 2: how far it is from those who ask (network_tier).
        requests: requests a minute at the mean load.
        p50_ms: median latency when idle.
        day_depth, day_phase: depth of the daily load cycle, and its phase in hours.
        cpu, cpu_slope: percent when idle, and percent more at the mean load.
        memory: percent in use.
        disk: MB/s at the mean load.
        loss: usual packet loss rate.
        errors: usual share of requests that fail.
        failures: usual rate of connection failures, health-check failures and SLA violations, a minute.
        backup_minute: minute of the day at which its nightly backup starts, -1 for none.
        mode: usual dwcp_mode code.
        tail: usual log(p95 / p50).
        memory_minutes: how far availability looks back; fleets measure it differently.
    """

    tier: int
    requests: float
    p50_ms: float
    day_depth: float
    day_phase: float
    cpu: float
    cpu_slope: float
    memory: float
    disk: float
    loss: float
    errors: float
    failures: float
    backup_minute: int
    mode: int
    tail: float
    memory_minutes: int

    @classmethod
    def draw(cls, rng: np.random.Generator, day_phase: float) -> Self:
        """Draw a node whose users are awake at ``day_phase``."""
        tier = int(rng.integers(3))
        return cls(
            tier=tier,
            requests=float(np.exp(rng.normal(np.log(2_500.0), 0.8))),
            p50_ms=_MEDIAN_BY_TIER[tier] * float(np.exp(rng.normal(0.0, 0.3))),
            day_depth=float(rng.uniform(0.15, 0.55)),
            day_phase=day_phase + float(rng.normal(0.0, 1.0)),
            cpu=float(rng.uniform(8.0, 25.0)),
            cpu_slope=float(rng.uniform(12.0, 35.0)),
            memory=float(rng.uniform(28.0, 58.0)),
            disk=float(np.exp(rng.normal(np.log(16.0), 0.35))),
            loss=float(np.exp(rng.normal(np.log(0.0015), 0.5))),
            errors=float(np.exp(rng.normal(np.log(0.0004), 0.6))),
            failures=float(np.exp(rng.normal(np.log(0.012), 0.5))),
            backup_minute=int(rng.integers(0, 360)) if rng.random() < 0.7 else -1,
            mode=int(rng.random() < 0.3),
            tail=float(rng.normal(0.82, 0.13)),
            memory_minutes=int(rng.uniform(30.0, 180.0)),
        )


@dataclass(slots=True)
class Course:
    """How one node fares, minute by minute; float64 (T,) each. Incidents and look-alikes bend it in place.

    Attributes:
        load: requests relative to the mean.
        slow: log of the factor on latency.
        tail: log(p95 / p50); p99 follows.
        log_errors, log_timeouts: log of the share of requests that fail, that time out.
        log_loss: log of the packet loss rate.
        cpu, memory: percent on top of what the load explains.
        log_disk: log of the factor on disk traffic.
        refused, unhealthy, violated: rates a minute of connection failures, health-check failures, SLA violations.
        outage: share of the minute in which nothing is served.
        fallback: whether dwcp_mode is fallback.
        silent: minutes that are not reported.
    """

    load: Floats
    slow: Floats
    tail: Floats
    log_errors: Floats
    log_timeouts: Floats
    log_loss: Floats
    cpu: Floats
    memory: Floats
    log_disk: Floats
    refused: Floats
    unhealthy: Floats
    violated: Floats
    outage: Floats
    fallback: NDArray[np.bool_]
    silent: NDArray[np.bool_]


def healthy_course(rng: np.random.Generator, profile: NodeProfile, ts_ms: NDArray[np.int64]) -> Course:
    """Draw how a node fares when nothing happens: cycles, noise with minutes and with hours of memory."""
    steps = len(ts_ms)

    def noise(phi: float, sd: float) -> Floats:
        return ar1(rng, steps, 1, phi, sd)[:, 0]

    load = np.exp(np.log1p(profile.day_depth * daily_cycle(ts_ms, profile.day_phase)) + noise(0.9, 0.08))
    weekend = (ts_ms // 86_400_000 + 3) % 7 >= 5
    load *= np.where(weekend, 0.8, 1.0)
    shared = noise(0.99, 0.25)  # what makes errors, timeouts and refusals rise and fall together in normal operation
    return Course(
        load=load,
        slow=noise(0.8, 0.05) + noise(0.998, 0.08),
        tail=profile.tail + noise(0.9, 0.09) + noise(0.998, 0.08),
        log_errors=np.log(profile.errors) + shared + noise(0.7, 0.3),
        log_timeouts=np.log(0.3 * profile.errors) + shared + noise(0.7, 0.4),
        log_loss=np.log(profile.loss) + noise(0.995, 0.3) + noise(0.6, 0.35),
        cpu=noise(0.85, 2.0) + noise(0.998, 2.5),
        memory=noise(0.999, 3.0) + noise(0.98, 1.0) + noise(0.8, 0.6) + _sawtooth(rng, steps),
        log_disk=noise(0.9, 0.12) + noise(0.5, 0.12),
        refused=np.full(steps, profile.failures),
        unhealthy=np.full(steps, 0.5 * profile.failures),
        violated=np.full(steps, profile.failures),
        outage=np.zeros(steps),
        fallback=np.zeros(steps, np.bool_),
        silent=rng.random(steps) < 0.002,
    )


def _sawtooth(rng: np.random.Generator, steps: int) -> Floats:
    """Draw memory that caches and garbage take, percent: it climbs steadily and falls back, again and again."""
    height = rng.uniform(0.0, 12.0)
    period = rng.uniform(40.0, 720.0)
    phase = np.cumsum(np.exp(ar1(rng, steps, 1, 0.995, 0.3)[:, 0])) / period + rng.random()
    return height * (phase % 1.0 - 0.5)


def observe_node(rng: np.random.Generator, profile: NodeProfile, course: Course) -> dict[str, NDArray[Any]]:
    """Turn a course into what the node reports each minute, in the wire format's order; (T,) each.

    Rates are counts over the minute's requests, availability and burn rate look back over the minutes before.
    """
    steps = len(course.load)
    requests = np.maximum(rng.poisson(profile.requests * course.load), 1)
    served = 1.0 - course.outage
    errors = _share(rng, requests, np.exp(course.log_errors) + 0.3 * course.outage, 4.0)
    timeouts = _share(rng, requests, np.exp(course.log_timeouts) + 0.2 * course.outage, 3.0)
    loss = _share(rng, 30 * requests, np.exp(course.log_loss), 6.0)
    resent = _share(rng, 30 * requests, 0.0006 + 1.3 * loss, 12.0)
    cpu = profile.cpu + profile.cpu_slope * course.load * served + course.cpu
    busy = np.clip(cpu / 100.0, 0.05, 0.97)
    p50 = profile.p50_ms * np.exp(course.slow) * (0.8 + 0.25 * busy**2 / (1.02 - busy))
    p95 = p50 * np.exp(course.tail * np.exp(0.1 * rng.standard_normal(steps)))
    p99 = p95 * np.exp(0.4 * course.tail * np.exp(0.2 * rng.standard_normal(steps)))
    violated = course.violated * np.exp(np.clip(0.8 * np.log(p99 / (4.0 * profile.p50_ms)), -1.0, 4.0))
    failed = np.minimum(errors + timeouts + course.outage, 1.0)
    memory = 6.0 * decaying_sum((course.load - course.load.mean())[:, None], 0.98)[:, 0] * 0.02
    return {
        "error_rate": np.round(errors, 6),
        "timeout_rate": np.round(timeouts, 6),
        "packet_loss_rate": np.round(loss, 6),
        "retransmit_rate": np.round(resent, 6),
        "latency_p50": np.round(p50, 3),
        "latency_p95": np.round(p95, 3),
        "latency_p99": np.round(p99, 3),
        "sla_violations": rng.poisson(violated + 30.0 * np.maximum(failed - 0.005, 0.0)),
        "connection_failures": rng.poisson(course.refused),
        "health_check_failures": rng.poisson(course.unhealthy),
        "cpu_usage": np.round(np.clip(cpu + rng.normal(0.0, 1.0, steps), 0.5, 100.0), 2),
        "memory_usage": np.round(np.clip(profile.memory + memory + course.memory, 2.0, 99.8), 2),
        "disk_io": np.round(profile.disk * (0.5 + 0.5 * course.load) * np.exp(course.log_disk), 3),
        "availability_score": np.round(100.0 * (1.0 - _trailing(failed, profile.memory_minutes)), 4),
        "error_budget_burn_rate": np.round(_trailing(errors, 30) / _BUDGET, 4),
    }


def _share(rng: np.random.Generator, trials: NDArray[np.int64], rate: Floats, shape: float) -> Floats:
    """Return the share of ``trials`` that fail at a rate that scatters from minute to minute (gamma, mean 1)."""
    scattered = np.clip(rate * rng.gamma(shape, 1.0 / shape, len(rate)), 0.0, 0.9)
    return rng.binomial(trials, scattered) / trials


def _trailing(values: Floats, minutes: int) -> Floats:
    """Return an exponentially weighted mean over about the last ``minutes``, started at the series' own mean."""
    phi = 1.0 - 1.0 / minutes
    usual = float(np.median(values))
    return usual + (1.0 - phi) * decaying_sum((values - usual)[:, None], phi)[:, 0]
