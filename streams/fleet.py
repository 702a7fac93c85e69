"""What the view in Redis says of the fleet now: who is worst, what is active, what the workers do.

Keys: docs/operations/redis.md. Only reads, and never all nodes at once.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final, cast

import msgspec
from redis import Redis

from schemas.outputs import Alert, Contribution
from streams.alerting.controls import Controls
from streams.alerting.desk import known_controls, open_alerts

__all__ = ["Fleet", "FleetReader", "NodeState", "Selection", "ShownAnomaly", "WorkerCounters"]

CHUNK: Final = 1_000
FEW: Final = 100
MOST_ACTIVE: Final = 5_000  # looked at one by one, the most severe first; a selection counts among these
SILENCE: Final = "silence"
SEVERITIES: Final = ("critical", "warning", "info")
WALK_NODES: Final = 10_000  # of those that are not active, looked at for a selection
COUNTERS: Final = ("records", "anomalies", "dead_letters", "nodes", "partitions", "lag", "updated_ms")


@dataclass(frozen=True, slots=True)
class Selection:
    """What to look at; ``None`` for all.

    Attributes:
        cluster, region: as records say.
        detector: name of a detector.
    """

    cluster: str | None = None
    region: str | None = None
    detector: str | None = None

    def __bool__(self) -> bool:
        return self != Selection()

    def takes(self, cluster: str | None, region: str | None, detectors: Sequence[str]) -> bool:
        """Say whether something of this cluster and region, by these detectors, is looked at."""
        return (
            self.cluster in {None, cluster or ""}
            and self.region in {None, region or ""}
            and (self.detector is None or self.detector in detectors)
        )


class ShownAnomaly(msgspec.Struct, frozen=True):
    """The newest anomaly of a node by one detector.

    Attributes:
        id: of the anomaly.
        ts_ms: event time, Unix epoch in milliseconds.
        score: of its window.
        severity: "info", "warning" or "critical".
        kind: anomaly class, empty where it is not told.
        contributions: what made the score, the first ones.
    """

    id: str
    ts_ms: int
    score: float
    severity: str
    kind: str
    contributions: tuple[Contribution, ...]


class NodeState(msgspec.Struct, frozen=True):
    """The newest verdict of a detector on a node.

    Attributes:
        node: node id or link key.
        detector, stream, model_version: whose verdict.
        cluster, region: as the record says, else empty.
        ts_ms: event time, Unix epoch in milliseconds.
        score, threshold: of the newest window.
        severity: empty when it is normal.
        anomaly: the newest one, perhaps over; ``None`` when there was none.
    """

    node: str
    detector: str
    stream: str
    model_version: str
    cluster: str
    region: str
    ts_ms: int
    score: float
    threshold: float
    severity: str
    anomaly: ShownAnomaly | None

    @property
    def ratio(self) -> float:
        """Score by threshold."""
        return self.score / self.threshold if self.threshold else self.score

    @property
    def rank(self) -> tuple[int, float]:
        """Place among the worst, the worst first: by severity, then by ratio."""
        return SEVERITIES.index(self.severity) if self.severity else len(SEVERITIES), -self.ratio


class WorkerCounters(msgspec.Struct, frozen=True):
    """What a worker says of itself.

    Attributes:
        name: of the worker.
        records, anomalies, dead_letters: committed since it started.
        nodes: with windows.
        partitions: that it has.
        lag: committed records that it has not read.
        records_per_second: over the last ten seconds.
        updated_ms: wall clock, Unix epoch in milliseconds; it writes while telemetry comes.
    """

    name: str
    records: int
    anomalies: int
    dead_letters: int
    nodes: int
    partitions: int
    lag: int
    records_per_second: float
    updated_ms: int


class Fleet(msgspec.Struct, frozen=True):
    """One look.

    Attributes:
        read_ms: wall clock of the look, Unix epoch in milliseconds.
        nodes: number of nodes by detector, whatever is selected.
        active: number of nodes whose newest verdict is an anomaly, by severity.
        silent: of those, nodes that report nothing.
        worst: the worst nodes selected, the worst first.
        newest_ms: event time of the newest verdict among them, 0 without one.
        workers: all.
        alerts: open ones selected, the oldest first.
        controls: what people said about alerts.
    """

    read_ms: int
    nodes: dict[str, int]
    active: dict[str, int]
    silent: int
    worst: list[NodeState]
    newest_ms: int
    workers: list[WorkerCounters]
    alerts: list[Alert]
    controls: Controls


class FleetReader:
    """Looks at the view again and again.

    Args:
        client: of the Redis with the view.
        prefix: of its keys.
    """

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def read(self, selection: Selection, worst: int) -> Fleet:
        """Look once.

        Args:
            selection: which nodes and alerts.
            worst: how many nodes at most.

        Raises:
            RedisError: Redis does not answer or refuses.
        """
        detectors, names = self._names()
        pipeline = self._client.pipeline(transaction=False)
        for detector in detectors:
            pipeline.zcard(f"{self._prefix}worst:{detector}")
        for name in names:
            pipeline.hgetall(f"{self._prefix}worker:{name}")
        for severity in SEVERITIES:
            pipeline.zrevrange(f"{self._prefix}active:{severity}", 0, -1)
        found = iter(pipeline.execute())
        nodes = dict(zip(detectors, islice(found, len(detectors)), strict=True))
        told = zip(names, islice(found, len(names)), strict=True)
        workers = [_worker(name, fields) for name, fields in told if fields]
        members = {severity: list(map(_member, names)) for severity, names in zip(SEVERITIES, found, strict=True)}
        known = list(chain.from_iterable(members.values()))
        active = [one for one in self._states(known[:MOST_ACTIVE]) if _selected(one, selection)]
        counts = _counted(active) if selection else {each: len(names) for each, names in members.items()}
        others = self._others(detectors, selection, set(known), worst - len(active))
        shown = sorted([*active, *others], key=lambda one: one.rank)[:worst]
        return Fleet(
            read_ms=time.time_ns() // 1_000_000,
            nodes=nodes,
            active=counts,
            silent=sum(one.detector == SILENCE for one in active),
            worst=shown,
            newest_ms=max((one.ts_ms for one in shown), default=0),
            workers=workers,
            alerts=[
                one
                for one in open_alerts(self._client, self._prefix)
                if selection.takes(one.cluster, one.region, one.detectors)
            ],
            controls=known_controls(self._client, self._prefix),
        )

    def _names(self) -> tuple[list[str], list[str]]:
        """Return the names of the detectors and of the workers, each in order."""
        known = sorted(map(_text, cast("list[Any]", self._client.zrange(f"{self._prefix}names", 0, -1))))
        detectors = [each.removeprefix("worst:") for each in known if each.startswith("worst:")]
        return detectors, [each.removeprefix("worker:") for each in known if each.startswith("worker:")]

    def _others(
        self, detectors: Sequence[str], selection: Selection, known: Collection[tuple[str, str]], wanted: int
    ) -> Iterator[NodeState]:
        """Yield the worst of the nodes that are not active, of each detector as many as are wanted."""
        for detector in detectors:
            if wanted > 0 and selection.detector in {None, detector} and detector != SILENCE:
                yield from islice(self._worst_of(detector, selection, known), wanted)

    def _worst_of(self, detector: str, selection: Selection, known: Collection[tuple[str, str]]) -> Iterator[NodeState]:
        size = CHUNK if selection else FEW
        for start in range(0, WALK_NODES, size):
            names = self._client.zrevrange(f"{self._prefix}worst:{detector}", start, start + size - 1)
            keys = [(detector, _text(name)) for name in cast("list[Any]", names)]
            fresh = (key for key in keys if key not in known)
            yield from (one for one in self._states(fresh) if _selected(one, selection))
            if len(keys) < size:
                return

    def _states(self, members: Iterable[tuple[str, str]]) -> Iterator[NodeState]:
        rest = iter(members)
        while chunk := list(islice(rest, CHUNK)):
            pipeline = self._client.pipeline(transaction=False)
            for detector, node in chunk:
                pipeline.hgetall(f"{self._prefix}verdict:{detector}:{node}")
            for (detector, node), fields in zip(chunk, pipeline.execute(), strict=True):
                state = _state(detector, node, {_text(name): _text(value) for name, value in fields.items()})
                if state is not None:
                    yield state


def _counted(active: Iterable[NodeState]) -> dict[str, int]:
    found = Counter(one.severity for one in active)
    return {each: found[each] for each in SEVERITIES}


def _selected(one: NodeState, selection: Selection) -> bool:
    return selection.takes(one.cluster, one.region, (one.detector,))


def _state(detector: str, node: str, fields: Mapping[str, str]) -> NodeState | None:
    """Read a verdict; ``None`` when it lapsed, or when only an anomaly is known (after `vigil state rebuild`)."""
    if "ts_ms" not in fields:
        return None
    return NodeState(
        node=node,
        detector=detector,
        stream=fields["stream"],
        model_version=fields["model_version"],
        cluster=fields["cluster"],
        region=fields["region"],
        ts_ms=int(fields["ts_ms"]),
        score=float(fields["score"]),
        threshold=float(fields["threshold"]),
        severity=fields["severity"],
        anomaly=_anomaly(fields),
    )


def _anomaly(fields: Mapping[str, str]) -> ShownAnomaly | None:
    if "anomaly_id" not in fields:
        return None
    return ShownAnomaly(
        id=fields["anomaly_id"],
        ts_ms=int(fields["anomaly_ts_ms"]),
        score=float(fields["anomaly_score"]),
        severity=fields["anomaly_severity"],
        kind=fields.get("anomaly_kind", ""),
        contributions=msgspec.json.decode(
            fields.get("anomaly_contributions", "[]"), type=tuple[Contribution, ...], strict=True
        ),
    )


def _worker(name: str, fields: Mapping[Any, Any]) -> WorkerCounters:
    values = {_text(key): float(value) for key, value in fields.items()}
    counts = {each: int(values.get(each, 0)) for each in COUNTERS}
    return WorkerCounters(name=name, records_per_second=values.get("records_per_second", 0.0), **counts)


def _member(raw: Any) -> tuple[str, str]:
    detector, _, node = _text(raw).partition(":")
    return detector, node


def _text(raw: Any) -> str:
    """Return what Redis has, also where the client decodes it."""
    return raw.decode() if isinstance(raw, bytes) else str(raw)
