"""What the view shows of a node: its newest verdict, and its newest anomaly."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from detectors.silence import SilenceDetector
from schemas.codec import Decoded
from schemas.outputs import Anomaly

__all__ = [
    "About",
    "NodeAnomaly",
    "NodeVerdict",
    "anomaly_alone",
    "node_anomaly",
    "reporting_verdicts",
    "silence_verdicts",
    "silent_verdicts",
]


CONTRIBUTIONS = 3  # enough to say what is wrong; all of them are in Kafka
WHOLE, ENDS, PAST = 0, 1, 2  # what a row tells: all of it; an end, where there is something to end; the anomaly alone


class About(NamedTuple):
    """What the verdicts of one detector have in common.

    Attributes:
        stream: name of the stream.
        detector: name of the detector.
        threshold: an anomaly has a greater score.
        model_version: of the detector's artefact.
        fields: names of a step's values, where they are told.
    """

    stream: str
    detector: str
    threshold: float
    model_version: str
    fields: tuple[str, ...] = ()


class NodeAnomaly(msgspec.Struct, frozen=True, gc=False):
    """The newest anomaly of a node by one detector.

    Attributes:
        ts_ms: event time of its window's newest step, Unix epoch in milliseconds.
        id: of the anomaly.
        score: of the window.
        severity: "info", "warning" or "critical".
        kind: anomaly class, empty where it is not told.
        contributions: the first ``CONTRIBUTIONS`` of the anomaly's, as a JSON array.
    """

    ts_ms: int
    id: str
    score: float
    severity: str
    kind: str = ""
    contributions: str = "[]"


class NodeVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The newest verdict on a node by one detector.

    Attributes:
        about: which detector, and what else its verdicts have in common.
        node: node id or link key.
        ts_ms: event time of the verdict.
        score: of the window that ends there.
        severity: of the anomaly; empty for a normal window.
        cluster, region: as the record says, else empty.
        anomaly: the newest anomaly since the last write, which may be older than the verdict.
        ends: it is told only where an anomaly is shown that it ends.
        past: only the anomaly is told; whether it was the last word about the node is not known.
    """

    about: About
    node: str
    ts_ms: int
    score: float
    severity: str
    cluster: str
    region: str
    anomaly: NodeAnomaly | None = None
    past: bool = False
    ends: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Detector and node."""
        return self.about.detector, self.node

    def row(self) -> tuple[Any, ...]:
        """Return what the view is told, see ``streams.redis_scripts``."""
        told = ENDS if self.ends else PAST if self.past else WHOLE
        place = (self.cluster, self.region, "")
        return (self.node, self.ts_ms, self.score, *place, False, self.severity, self.anomaly or False, told)

    def merged(self, other: "NodeVerdict") -> "NodeVerdict":
        """Return the newer of two verdicts on one node, with the newer of their anomalies; equal times: the other's."""
        newer = other if other.ts_ms >= self.ts_ms else self
        anomaly = self.anomaly
        if other.anomaly is not None and (anomaly is None or other.anomaly.ts_ms >= anomaly.ts_ms):
            anomaly = other.anomaly
        return newer if newer.anomaly is anomaly else msgspec.structs.replace(newer, anomaly=anomaly)


def silence_verdicts(
    stream: str,
    decoded: Decoded,
    detector: SilenceDetector,
    returned: Iterable[tuple[int, int]],
    anomalies: Iterable[Anomaly],
) -> list[NodeVerdict]:
    """Say who fell silent in a batch and who is back: the newest of each node.

    Args:
        stream: name of the stream.
        decoded: the batch.
        detector: whose verdicts they are.
        returned: its records that ended a silence, each with its node's newest event time before.
        anomalies: those of the batch, other detectors' too.
    """
    found = silent_verdicts(stream, detector, anomalies)
    for record, last_ms in returned:
        # Not before the silence, whatever the clock says, so that the view does not keep what is over.
        at = max(int(decoded.ts_ms[record]), detector.told_ms(last_ms))
        place = decoded.clusters[record], decoded.regions[record]
        found.append(_of_silence(stream, detector, decoded.keys[record], at, *place))
    newest: dict[str, NodeVerdict] = {}
    for each in found:
        newest[each.node] = newest[each.node].merged(each) if each.node in newest else each
    return list(newest.values())


def silent_verdicts(stream: str, detector: SilenceDetector, anomalies: Iterable[Anomaly]) -> list[NodeVerdict]:
    """Turn anomalies of this detector into verdicts; those of others are left out."""
    return [
        msgspec.structs.replace(
            _of_silence(stream, detector, anomaly.node_id, anomaly.ts_ms, anomaly.cluster, anomaly.region),
            score=anomaly.score,
            severity=anomaly.severity,
            anomaly=node_anomaly(anomaly),
        )
        for anomaly in anomalies
        if anomaly.detector == detector.name
    ]


def reporting_verdicts(stream: str, detector: SilenceDetector, nodes: Iterable[tuple[str, int]]) -> list[NodeVerdict]:
    """Say of nodes, each with the event time of its newest step, that they report, where the view shows a silence."""
    return [
        msgspec.structs.replace(_of_silence(stream, detector, node, at, None, None), ends=True) for node, at in nodes
    ]


def anomaly_alone(anomaly: Anomaly) -> NodeVerdict:
    """Tell an anomaly without saying whether it is over."""
    return NodeVerdict(
        about=About("", anomaly.detector, anomaly.threshold, anomaly.model_version),
        node=anomaly.node_id,
        ts_ms=anomaly.ts_ms,
        score=anomaly.score,
        severity=anomaly.severity,
        cluster=anomaly.cluster or "",
        region=anomaly.region or "",
        anomaly=node_anomaly(anomaly),
        past=True,
    )


def _of_silence(
    stream: str, detector: SilenceDetector, node: str, ts_ms: int, cluster: str | None, region: str | None
) -> NodeVerdict:
    """Say that a node reports."""
    return NodeVerdict(
        about=About(stream, detector.name, detector.threshold, detector.version),
        node=node,
        ts_ms=ts_ms,
        score=0.0,
        severity="",
        cluster=cluster or "",
        region=region or "",
    )


def node_anomaly(anomaly: Anomaly) -> NodeAnomaly:
    """Return what the view keeps of an anomaly."""
    # As text: Redis' JSON makes an object of an empty array, and cuts numbers to 14 digits.
    reasons = msgspec.json.encode(anomaly.contributions[:CONTRIBUTIONS]).decode()
    return NodeAnomaly(anomaly.ts_ms, anomaly.id, anomaly.score, anomaly.severity, anomaly.kind or "", reasons)
