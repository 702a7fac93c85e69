"""What happens to nodes: incidents by kind, with or without warning, and the benign events that look like them."""

from collections.abc import Callable

import numpy as np

from vigil.simulator.node import Course, NodeProfile
from vigil.simulator.processes import Floats, ar1, events

DAY = 1_440

# Sizes at full severity follow the incident column of SPEC section 3: errors and timeouts some fifty times the usual,
# loss some twenty times, availability a few percent lower. Most incidents stay well below.

Effect = Callable[[np.random.Generator, Course, slice, Floats], None]


def _keep(rng: np.random.Generator) -> float:
    """Draw how much one symptom shows in this incident: real incidents are partial."""
    return 0.0 if rng.random() < 0.12 else float(rng.uniform(0.4, 1.2))


def _network(rng: np.random.Generator, course: Course, span: slice, c: Floats) -> None:
    """Lose packets and send them again; latency and its tail follow."""
    course.log_loss[span] += rng.uniform(2.0, 4.0) * c
    course.slow[span] += 0.9 * _keep(rng) * c
    course.tail[span] += 0.6 * _keep(rng) * c
    course.log_timeouts[span] += 4.0 * _keep(rng) * c
    course.log_errors[span] += 2.5 * _keep(rng) * c
    course.refused[span] += 1.5 * _keep(rng) * c


def _disk(rng: np.random.Generator, course: Course, span: slice, c: Floats) -> None:
    """Slow the disk down: traffic climbs (or stalls), the tail of latency explodes before the median does."""
    course.log_disk[span] += (1.6 if rng.random() < 0.75 else -1.5) * _keep(rng) * c
    course.tail[span] += rng.uniform(0.8, 1.6) * c
    course.slow[span] += 1.0 * _keep(rng) * c
    course.log_timeouts[span] += 4.0 * _keep(rng) * c
    course.log_errors[span] += 3.0 * _keep(rng) * c
    course.unhealthy[span] += 0.5 * _keep(rng) * c


def _overload(rng: np.random.Generator, course: Course, span: slice, c: Floats) -> None:
    """Give the node more work than it can do: processor full, everything slow, errors at last."""
    course.load[span] *= 1.0 + rng.uniform(0.2, 1.2) * c
    course.cpu[span] += rng.uniform(20.0, 50.0) * c
    course.slow[span] += 0.8 * _keep(rng) * c
    course.tail[span] += 0.5 * _keep(rng) * c
    course.log_errors[span] += 3.8 * _keep(rng) * c**1.5
    course.log_timeouts[span] += 4.2 * _keep(rng) * c**1.5
    course.refused[span] += 1.2 * _keep(rng) * c**2


def _leak(rng: np.random.Generator, course: Course, span: slice, c: Floats) -> None:
    """Fill the memory up; collection eats the processor, then allocations fail."""
    course.memory[span] += rng.uniform(30.0, 55.0) * np.minimum(c * 1.2, 1.0)
    late = np.maximum(c - 0.35, 0.0) / 0.65
    course.cpu[span] += 25.0 * _keep(rng) * late
    course.tail[span] += 0.9 * _keep(rng) * late
    course.slow[span] += 0.4 * _keep(rng) * late
    course.log_errors[span] += 4.0 * _keep(rng) * late
    course.log_timeouts[span] += 3.6 * _keep(rng) * late
    course.unhealthy[span] += 0.8 * _keep(rng) * late**2


def _crash(rng: np.random.Generator, course: Course, span: slice, c: Floats) -> None:
    """Kill the process, perhaps several times, to come back cold: outage, refusals, sometimes silence."""
    steps = len(c)
    down = rng.random(steps) < 0.35
    down[: int(rng.integers(2, 6))] = True
    course.outage[span] = np.maximum(course.outage[span], np.where(down, c * rng.uniform(0.2, 0.9, steps), 0.0))
    course.refused[span] += 4.0 * c * (down + 0.15)
    course.unhealthy[span] += 1.5 * c * (down + 0.1)
    course.log_errors[span] += 2.4 * _keep(rng) * c
    course.log_timeouts[span] += 2.4 * _keep(rng) * c
    course.memory[span] -= rng.uniform(5.0, 20.0) * c
    course.tail[span] += 0.6 * _keep(rng) * c
    if rng.random() < 0.4:
        first = span.start + int(rng.integers(0, 3))
        course.silent[first : min(first + int(rng.integers(1, 5)), span.stop)] = True


def _gray(rng: np.random.Generator, course: Course, span: slice, c: Floats) -> None:
    """Fail or delay some requests, hardly visibly, while the health checks are content."""
    course.log_errors[span] += 2.8 * _keep(rng) * c
    course.log_timeouts[span] += 3.2 * _keep(rng) * c
    course.tail[span] += 0.7 * _keep(rng) * c
    course.slow[span] += 0.4 * _keep(rng) * c
    course.log_loss[span] += 0.8 * _keep(rng) * c


def _dependency(rng: np.random.Generator, course: Course, span: slice, c: Floats) -> None:
    """Take away something the node needs: requests fail or hang, the processor idles."""
    course.log_errors[span] += 4.2 * _keep(rng) * c
    course.log_timeouts[span] += 4.2 * _keep(rng) * c
    course.tail[span] += 1.0 * _keep(rng) * c
    course.cpu[span] -= 6.0 * c
    course.refused[span] += 1.0 * _keep(rng) * c


INCIDENTS: dict[str, tuple[Effect, float, tuple[float, float]]] = {
    "network_degradation": (_network, 0.8, (5.0, 35.0)),
    "disk_degradation": (_disk, 0.8, (8.0, 45.0)),
    "overload": (_overload, 0.85, (8.0, 45.0)),
    "memory_leak": (_leak, 1.0, (40.0, 180.0)),
    "sudden_crash": (_crash, 0.0, (0.0, 0.0)),
    "gray_failure": (_gray, 0.4, (5.0, 30.0)),
    "dependency_outage": (_dependency, 0.4, (3.0, 15.0)),
}
"""Kinds of incident: the effect, the share that gives a warning, and the warning's length in minutes (from, to)."""


def apply_incident(rng: np.random.Generator, course: Course, kind: str, first: int, last: int, severity: float) -> None:
    """Bend a course as an incident does that truly runs from step ``first`` to ``last``.

    A warning, where there is one, climbs to a fifth to three fifths of the severity before ``first``; the incident then
    climbs on, wavers, and takes some minutes to fade.
    """
    effect, warned, (shortest, longest) = INCIDENTS[kind]
    steps = len(course.load)
    lead = int(rng.uniform(shortest, longest)) if rng.random() < warned else 0
    fade = 1 if kind == "sudden_crash" else int(rng.uniform(2.0, 12.0))
    begin, stop = max(first - lead, 0), min(last + fade, steps)
    at = np.arange(begin, stop, dtype=np.float64)
    reached = rng.uniform(0.2, 0.6) if lead else 0.0
    warning = reached * np.clip((at - (first - lead) + 1.0) / (lead + 1.0), 0.0, 1.0) ** rng.uniform(0.8, 2.0)
    climb = 1.0 if kind == "sudden_crash" else rng.uniform(1.0, 10.0)
    risen = np.clip((at - first + 1.0) / climb, 0.0, 1.0)
    level = warning + (1.0 - reached) * risen
    wavering = np.clip(1.0 + ar1(rng, len(at), 1, 0.85, 0.15)[:, 0], 0.4, 1.6)
    faded = np.clip((stop - at) / (fade + 1.0), 0.0, 1.0)
    effect(rng, course, slice(begin, stop), severity * level * wavering * faded)
    if severity > 0.5 and rng.random() < 0.4:
        course.fallback[min(first + int(rng.integers(2, 8)), stop) : stop] = True


def apply_lookalikes(rng: np.random.Generator, profile: NodeProfile, course: Course, minute: int, often: float) -> None:
    """Add what looks like trouble and is none, ``often`` times as often as usual.

    Args:
        rng: source of times and sizes.
        profile: the node.
        course: bent in place.
        minute: minute of the day (UTC) of the first step.
        often: 1 for the usual rate, 0 for none.
    """
    steps = len(course.load)
    for per_day, act in (
        (0.35, _deploy),
        (0.5, _neighbour),
        (0.5, _packet_burst),
        (0.12, _shift),
        (0.4, _false_start),
        (0.6, _error_blip),
        (0.1, _fallback_drill),
        (0.4, _cache_fill),
    ):
        for at in events(rng, steps, often * per_day / DAY):
            act(rng, course, int(at))
    if profile.backup_minute >= 0 and often > 0.0:
        for start in range((profile.backup_minute - minute) % DAY, steps, DAY):
            _backup(rng, course, start + int(rng.integers(0, 5)))


def apply_crowd(rng: np.random.Generator, courses: list[Course], often: float) -> None:
    """Add flash crowds, which every node of a cluster feels at once."""
    steps = len(courses[0].load)
    for at in events(rng, steps, 0.3 * often / DAY):
        length = int(rng.uniform(10.0, 60.0))
        height = rng.uniform(0.3, 1.3)
        shape = np.minimum(np.arange(length) / 5.0, 1.0) * np.linspace(1.0, 0.3, length)
        for course in courses:
            span = slice(at, at + length)
            wave = height * rng.uniform(0.6, 1.2) * shape[: len(course.load[span])]
            course.load[span] *= 1.0 + wave
            course.slow[span] += 0.15 * wave
            course.log_errors[span] += 0.4 * wave


def _hump(course: Course, at: int, length: int) -> tuple[slice, Floats]:
    span = slice(at, min(at + length, len(course.load)))
    return span, np.minimum(1.0, np.hanning(length + 2)[1:-1] * 2.0)[: span.stop - at]


def _deploy(rng: np.random.Generator, course: Course, at: int) -> None:
    """Roll out a new version: a short outage of part of the node, busy start, memory starts afresh."""
    span, c = _hump(course, at, int(rng.integers(2, 7)))
    course.refused[span] += rng.uniform(0.5, 2.5) * c
    course.unhealthy[span] += rng.uniform(0.3, 1.2) * c
    course.cpu[span] += rng.uniform(10.0, 40.0) * c
    course.tail[span] += rng.uniform(0.2, 1.0) * c
    course.log_errors[span] += rng.uniform(0.5, 2.5) * c
    course.outage[span] = np.maximum(course.outage[span], rng.uniform(0.0, 0.03) * c)
    course.memory[at : at + 240] -= np.linspace(rng.uniform(3.0, 15.0), 0.0, 240)[: len(course.load) - at]


def _neighbour(rng: np.random.Generator, course: Course, at: int) -> None:
    """Let another guest of the machine take processor time away."""
    span, c = _hump(course, at, int(rng.uniform(8.0, 70.0)))
    size = rng.uniform(0.2, 1.0)
    course.slow[span] += 0.6 * size * c
    course.tail[span] += 0.5 * size * c
    course.cpu[span] += 12.0 * size * c


def _packet_burst(rng: np.random.Generator, course: Course, at: int) -> None:
    """Lose packets for a few minutes on the way."""
    span, c = _hump(course, at, int(rng.integers(1, 7)))
    size = rng.uniform(1.0, 3.5)
    course.log_loss[span] += size * c
    course.tail[span] += 0.1 * size * c
    course.log_timeouts[span] += 0.5 * size * c


def _shift(rng: np.random.Generator, course: Course, at: int) -> None:
    """Make the node a different one from now on: new route, new version, new tenant."""
    course.slow[at:] += np.clip(rng.normal(0.0, 0.25), -0.5, 0.6)
    course.cpu[at:] += rng.normal(0.0, 5.0)
    course.memory[at:] += rng.normal(0.0, 7.0)
    course.log_loss[at:] += rng.normal(0.0, 0.4)
    course.log_errors[at:] += rng.normal(0.0, 0.4)
    course.log_disk[at:] += rng.normal(0.0, 0.2)


def _false_start(rng: np.random.Generator, course: Course, at: int) -> None:
    """Begin like an incident and heal without one."""
    kinds = [kind for kind, (_, warned, _) in INCIDENTS.items() if warned > 0.0]
    effect = INCIDENTS[kinds[int(rng.integers(len(kinds)))]][0]
    span, c = _hump(course, at, int(rng.uniform(5.0, 40.0)))
    effect(rng, course, span, rng.uniform(0.1, 0.4) * c)


def _error_blip(rng: np.random.Generator, course: Course, at: int) -> None:
    """Fail the requests of one bad client for a minute or three."""
    span, c = _hump(course, at, int(rng.integers(1, 4)))
    course.log_errors[span] += rng.uniform(1.0, 3.5) * c
    course.violated[span] *= 1.0 + 10.0 * c


def _fallback_drill(rng: np.random.Generator, course: Course, at: int) -> None:
    """Try the fallback mode on a healthy node."""
    course.fallback[at : at + int(rng.uniform(10.0, 120.0))] = True


def _cache_fill(rng: np.random.Generator, course: Course, at: int) -> None:
    """Load a big working set: memory climbs for minutes to hours as a leak does, and stays until it is dropped."""
    climb, stay = int(rng.uniform(10.0, 180.0)), int(rng.uniform(10.0, 360.0))
    shape = np.concatenate([np.linspace(0.0, 1.0, climb), np.ones(stay)])[: len(course.load) - at]
    course.memory[at : at + climb + stay] += rng.uniform(5.0, 25.0) * shape


def _backup(rng: np.random.Generator, course: Course, at: int) -> None:
    """Run the nightly backup: disk and processor busy, the tail a little worse, every night."""
    if at >= len(course.load):
        return
    span, c = _hump(course, at, int(rng.uniform(20.0, 55.0)))
    course.log_disk[span] += rng.uniform(1.2, 2.0) * c
    course.cpu[span] += rng.uniform(4.0, 14.0) * c
    course.tail[span] += rng.uniform(0.1, 0.4) * c
    course.slow[span] += 0.1 * c
