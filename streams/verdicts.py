"""What the view shows of a node: its newest verdict, and its newest anomaly."""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.scoring import Verdicts
from detectors.silence import SilenceDetector
from schemas.codec import Decoded
from schemas.outputs import Anomaly

__all__ = [
    "NodeAnomaly",
    "NodeVerdict",
    "anomaly_alone",
    "newest_verdicts",
    "reporting_verdicts",
    "silence_verdicts",
    "silent_verdicts",
]

LARGEST_RATIO = 1e300


class NodeAnomaly(msgspec.Struct, frozen=True, gc=False):
    """The newest anomaly of a node by one detector."""

    ts_ms: int
    id: str
    score: float
    severity: str


class NodeVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest verdict on a node by one detector.

    Attributes:
        stream: name of the stream.
        detector: name of the detector.
        node: node id or link key.
        ts_ms: event time of the verdict.
        score, threshold: of the window that ends there.
        ratio: score by threshold, to compare nodes across detectors.
        severity: of the anomaly; empty for a normal window.
        model_version: of the detector's artefact.
        cluster, region: as the record says, else empty.
        anomaly: the newest anomaly since the last write, which may be older than the verdict.
        ends: it is told only where an anomaly is shown that it ends.
        past: only the anomaly is told; whether it was the last word about the node is not known.
    """

    stream: str
    detector: str
    node: str
    ts_ms: int
    score: float
    threshold: float
    ratio: float
    severity: str
    model_version: str
    cluster: str
    region: str
    anomaly: NodeAnomaly | None = None
    past: bool = False
    ends: bool = False

    def merged(self, other: "NodeVerdict") -> "NodeVerdict":
        """Return the newer of two verdicts on one node, with the newer of their anomalies; equal times: the other's."""
        newer = other if other.ts_ms >= self.ts_ms else self
        anomaly = self.anomaly
        if other.anomaly is not None and (anomaly is None or other.anomaly.ts_ms >= anomaly.ts_ms):
            anomaly = other.anomaly
        return newer if newer.anomaly is anomaly else msgspec.structs.replace(newer, anomaly=anomaly)


def newest_verdicts(
    stream: str, decoded: Decoded, verdicts: Sequence[Verdicts], anomalies: Iterable[Anomaly]
) -> list[NodeVerdict]:
    """Reduce a batch to one verdict a node and detector: the newest by event time.

    Args:
        stream: name of the stream.
        decoded: the batch.
        verdicts: all scores of the batch.
        anomalies: those of the batch.

    Returns:
        As many verdicts as (node, detector) pairs have a complete window in the batch.
    """
    flagged: dict[tuple[str, str], list[Anomaly]] = {}
    for anomaly in anomalies:
        flagged.setdefault((anomaly.detector, anomaly.node_id), []).append(anomaly)
    return [each for one in verdicts for each in _of_detector(stream, decoded, one, flagged)]


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
            ratio=float(_ratios(np.array([anomaly.score]), anomaly.threshold)[0]),
            severity=anomaly.severity,
            anomaly=_node_anomaly(anomaly),
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
        stream="",
        detector=anomaly.detector,
        node=anomaly.node_id,
        ts_ms=anomaly.ts_ms,
        score=anomaly.score,
        threshold=anomaly.threshold,
        ratio=float(_ratios(np.array([anomaly.score]), anomaly.threshold)[0]),
        severity=anomaly.severity,
        model_version=anomaly.model_version,
        cluster=anomaly.cluster or "",
        region=anomaly.region or "",
        anomaly=_node_anomaly(anomaly),
        past=True,
    )


def _of_silence(
    stream: str, detector: SilenceDetector, node: str, ts_ms: int, cluster: str | None, region: str | None
) -> NodeVerdict:
    """Say that a node reports."""
    return NodeVerdict(
        stream=stream,
        detector=detector.name,
        node=node,
        ts_ms=ts_ms,
        score=0.0,
        threshold=detector.threshold,
        ratio=0.0,
        severity="",
        model_version=detector.version,
        cluster=cluster or "",
        region=region or "",
    )


def _of_detector(
    stream: str, decoded: Decoded, verdicts: Verdicts, flagged: dict[tuple[str, str], list[Anomaly]]
) -> list[NodeVerdict]:
    ts_ms = decoded.ts_ms[verdicts.records]
    # Ascending event time, so that the newest of each node is what the dict keeps.
    order = np.argsort(ts_ms, kind="stable")
    keys = decoded.keys
    newest = {keys[record]: i for record, i in zip(verdicts.records[order].tolist(), order.tolist(), strict=True)}
    chosen = np.fromiter(newest.values(), dtype=np.int64, count=len(newest))
    scores = verdicts.scores[chosen]
    ratios = _ratios(scores, verdicts.threshold)
    columns = zip(
        newest,
        verdicts.records[chosen].tolist(),
        ts_ms[chosen].tolist(),
        scores.tolist(),
        ratios.tolist(),
        strict=True,
    )
    found = []
    for node, record, at, score, ratio in columns:
        anomalies = flagged.get((verdicts.detector, node), ())
        newest_anomaly = max(anomalies, key=lambda each: each.ts_ms, default=None)
        now = newest_anomaly is not None and newest_anomaly.ts_ms == at
        found.append(
            NodeVerdict(
                stream=stream,
                detector=verdicts.detector,
                node=node,
                ts_ms=at,
                score=score,
                threshold=verdicts.threshold,
                ratio=ratio,
                severity=newest_anomaly.severity if now and newest_anomaly else "",
                model_version=verdicts.model_version,
                cluster=decoded.clusters[record] or "",
                region=decoded.regions[record] or "",
                anomaly=_node_anomaly(newest_anomaly),
            )
        )
    return found


def _ratios(scores: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Divide scores by the threshold: finite, whatever the threshold (JSON and sorted sets know no infinity)."""
    with np.errstate(over="ignore"):
        ratios = scores / threshold if threshold else scores
    return np.clip(ratios, -LARGEST_RATIO, LARGEST_RATIO)


def _node_anomaly(anomaly: Anomaly | None) -> NodeAnomaly | None:
    if anomaly is None:
        return None
    return NodeAnomaly(anomaly.ts_ms, anomaly.id, anomaly.score, anomaly.severity)
