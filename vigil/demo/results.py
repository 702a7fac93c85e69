"""Judges what was found against what was injected."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from schemas.outputs import Anomaly
from vigil.demo.scenario import Play, Scenario
from vigil.simulator import WHOLE_CLUSTER, Fault

__all__ = ["DemoReport", "Found", "Measured", "StreamReport", "episodes", "find_fault", "judge"]

STEPS_AFTER = 30  # a window still holds the fault for so long
EPISODE_GAP_STEPS = 10


class Found(msgspec.Struct, frozen=True):
    """One injected fault and whether it was seen.

    Attributes:
        kind, cluster, target, start_ms, end_ms: the fault.
        delay_s: event seconds from its start to the first anomaly; negative when foreseen, ``None`` when not seen.
        node_id: who showed it first.
    """

    kind: str
    cluster: str
    target: str
    start_ms: int
    end_ms: int
    delay_s: float | None
    node_id: str | None


class StreamReport(msgspec.Struct, frozen=True):
    """Detection of one stream.

    Attributes:
        faults_injected, faults_seen: faults.
        median_delay_s: of those seen, event seconds; ``None`` when none was.
        false_alarms: episodes of anomalies outside every fault of their cluster.
        node_hours: event time watched, summed over the nodes.
        false_alarms_per_node_hour: false_alarms / node_hours.
        anomalies: windows flagged.
        anomalies_outside: of those, outside every fault of their cluster.
        faults: one by one.
    """

    faults_injected: int
    faults_seen: int
    median_delay_s: float | None
    false_alarms: int
    node_hours: float
    false_alarms_per_node_hour: float
    anomalies: int
    anomalies_outside: int
    faults: list[Found]


class DemoReport(msgspec.Struct, frozen=True):
    """What `vigil demo --json` prints.

    Attributes:
        faults_injected, faults_seen, median_delay_s: over all streams.
        false_alarms_per_node_hour: of the worse stream.
        records: sent and processed, broken ones included.
        records_per_second: of the worker catching up with the history, flat out.
        dead_letters: broken records found in the dead letters.
        dead_letters_expected: broken records sent.
        seconds: wall time of the whole demo.
        streams: the figures of each stream.
    """

    faults_injected: int
    faults_seen: int
    median_delay_s: float | None
    false_alarms_per_node_hour: float
    records: int
    records_per_second: float
    dead_letters: int
    dead_letters_expected: int
    seconds: float
    streams: dict[str, StreamReport]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was counted on the way."""

    records: int
    records_per_second: float
    dead_letters: int
    seconds: float


def find_fault(play: Play, fault: Fault, anomalies: Iterable[Anomaly]) -> Found:
    """Find the first anomaly of a fault: on its target, or any member of its cluster, until one step after its end."""
    struck = play.members[fault.cluster] if play.warning_ms == 0 or fault.target == WHOLE_CLUSTER else {fault.target}
    first = min(
        (
            one
            for one in anomalies
            if one.node_id in struck and fault.start_ms - play.warning_ms <= one.ts_ms < fault.end_ms + play.step_ms
        ),
        key=lambda one: one.ts_ms,
        default=None,
    )
    return Found(
        kind=fault.kind,
        cluster=fault.cluster,
        target=fault.target,
        start_ms=fault.start_ms,
        end_ms=fault.end_ms,
        delay_s=None if first is None else (first.ts_ms - fault.start_ms) / 1000,
        node_id=None if first is None else first.node_id,
    )


def episodes(anomalies: Iterable[Anomaly], gap_ms: int) -> list[tuple[str, int, int]]:
    """Merge anomalies of one node that are at most ``gap_ms`` apart; returns (node, first ts_ms, last ts_ms)."""
    found: list[tuple[str, int, int]] = []
    for one in sorted(anomalies, key=lambda each: (each.node_id, each.ts_ms)):
        if found and found[-1][0] == one.node_id and one.ts_ms - found[-1][2] <= gap_ms:
            found[-1] = (one.node_id, found[-1][1], one.ts_ms)
        else:
            found.append((one.node_id, one.ts_ms, one.ts_ms))
    return found


def judge(scenario: Scenario, anomalies: Mapping[str, Sequence[Anomaly]], measured: Measured) -> DemoReport:
    """Make the report.

    Args:
        scenario: what was played.
        anomalies: what was found, by stream.
        measured: what was counted.
    """
    streams = {name: _judge_stream(play, anomalies.get(name, ())) for name, play in scenario.plays.items()}
    delays = [found.delay_s for one in streams.values() for found in one.faults if found.delay_s is not None]
    return DemoReport(
        faults_injected=sum(one.faults_injected for one in streams.values()),
        faults_seen=sum(one.faults_seen for one in streams.values()),
        median_delay_s=median(delays) if delays else None,
        false_alarms_per_node_hour=max(one.false_alarms_per_node_hour for one in streams.values()),
        records=measured.records,
        records_per_second=round(measured.records_per_second, 1),
        dead_letters=measured.dead_letters,
        dead_letters_expected=scenario.broken,
        seconds=round(measured.seconds, 2),
        streams=streams,
    )


def _judge_stream(play: Play, anomalies: Sequence[Anomaly]) -> StreamReport:
    faults = [find_fault(play, fault, anomalies) for fault in play.simulation.faults]
    delays = [found.delay_s for found in faults if found.delay_s is not None]
    # Cut first, merged afterwards: a run of false alarms must not hide behind the fault it reaches into.
    outside = [one for one in anomalies if not _belongs(play, one)]
    false_alarms = len(episodes(outside, EPISODE_GAP_STEPS * play.step_ms))
    return StreamReport(
        faults_injected=len(faults),
        faults_seen=len(delays),
        median_delay_s=median(delays) if delays else None,
        false_alarms=false_alarms,
        node_hours=round(play.node_hours, 3),
        false_alarms_per_node_hour=round(false_alarms / play.node_hours, 4),
        anomalies=len(anomalies),
        anomalies_outside=len(outside),
        faults=faults,
    )


def _belongs(play: Play, anomaly: Anomaly) -> bool:
    """Whether it lies in a fault of its node's cluster, the time that may foresee it, or the 30 steps after it."""
    return any(
        anomaly.node_id in play.members[fault.cluster]
        and fault.start_ms - play.warning_ms <= anomaly.ts_ms <= fault.end_ms + STEPS_AFTER * play.step_ms
        for fault in play.simulation.faults
    )
