"""Verdicts on many nodes as columns: nothing is made for a record that passes, only for a node that is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray

from detectors.scoring import Verdicts
from features.nodes import Label
from schemas.codec import Decoded
from schemas.outputs import Anomaly
from schemas.streams import Stream
from streams.verdicts import About, NodeAnomaly, NodeVerdict, node_anomaly

__all__ = ["VerdictColumns", "joined", "verdict_columns"]

TIER: Final = "network_tier"
PLACED: Final = 6  # node, time, score, cluster, region, tier


@dataclass(frozen=True, slots=True)
class VerdictColumns:
    """Verdicts of one detector in the order they were made; a node may be there several times.

    Attributes:
        about: what they have in common.
        nodes: n node ids or link keys.
        ts_ms: int64 (n,), event times.
        scores: float64 (n,).
        labels: n clusters and regions, ``None`` where the record says nothing.
        anomalies: by place, the node's newest anomaly; one of another time than the verdict's is an earlier one.
        tiers: n network tiers, empty where the stream has none.
        values: float32 (m, F), steps that verdicts are about, in the order of ``about.fields``; F may be 0.
        valued: int32 (n,), the row of ``values`` of each verdict, -1 where its step is not kept.
    """

    about: About
    nodes: Sequence[str]
    ts_ms: NDArray[np.int64]
    scores: NDArray[np.float64]
    labels: Sequence[Label]
    anomalies: Mapping[int, NodeAnomaly]
    tiers: Sequence[str]
    values: NDArray[np.float32]
    valued: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.nodes)

    def newest(self) -> Self:
        """Keep each node's newest verdict, of equal times the last, and its newest anomaly; oldest verdicts first."""
        order = np.argsort(self.ts_ms, kind="stable").tolist()
        latest: dict[str, int] = dict(zip(map(self.nodes.__getitem__, order), order, strict=True))
        chosen = np.fromiter(latest.values(), np.int64, len(latest))
        return self._take(chosen[np.argsort(self.ts_ms[chosen], kind="stable")])

    def without_first(self, count: int) -> Self:
        """Leave out the first verdicts."""
        return self._take(np.arange(count, len(self)))

    def lean(self) -> Self:
        """Keep the steps of anomalous verdicts alone."""
        struck = [place for place, anomaly in self.anomalies.items() if anomaly.ts_ms == self.ts_ms[place]]
        valued = np.full(len(self), -1, np.int32)
        valued[struck] = self.valued[struck]
        values, valued = _kept(self.values, valued)
        return replace(self, values=values, valued=valued)

    def rows(self, first: int = 0, last: int | None = None, *, all_steps: bool = False) -> list[tuple[Any, ...]]:
        """Return what the view is told of each node, see ``streams.redis_scripts``.

        Args:
            first, last: of which verdicts, all by default.
            all_steps: tell the values of every step that is kept; otherwise those of anomalous ones alone.
        """
        part = slice(first, last)
        rows: list[tuple[Any, ...]] = [
            (node, at, score, cluster or "", region or "", tier)
            for node, at, score, (cluster, region), tier in zip(
                self.nodes[part],
                self.ts_ms[part].tolist(),
                self.scores[part].tolist(),
                self.labels[part],
                self.tiers[part],
                strict=True,
            )
        ]
        if all_steps and self.about.fields:
            rows = [(*row, self._step(first + i)) for i, row in enumerate(rows)]
        for i, anomaly in self.anomalies.items():
            if first <= i < first + len(rows):
                told = (self._step(i), self._severity(i, anomaly), anomaly)
                rows[i - first] = (*rows[i - first][:PLACED], *told)
        return rows

    def _step(self, place: int) -> list[float] | Literal[False]:
        row = self.valued[place]
        return self.values[row].tolist() if row >= 0 and self.about.fields else False

    def __iter__(self) -> Iterator[NodeVerdict]:
        for i, (node, at, score, cluster, region, *_) in enumerate(self.rows()):
            anomaly = self.anomalies.get(i)
            yield NodeVerdict(
                about=self.about,
                node=node,
                ts_ms=at,
                score=score,
                severity="" if anomaly is None else self._severity(i, anomaly),
                cluster=cluster,
                region=region,
                anomaly=anomaly,
            )

    def _severity(self, place: int, anomaly: NodeAnomaly) -> str:
        return anomaly.severity if anomaly.ts_ms == self.ts_ms[place] else ""

    def _take(self, chosen: NDArray[np.int64]) -> Self:
        """Take some nodes' verdicts; an anomaly of a verdict that goes stays with the node's verdict that is left."""
        places = chosen.tolist()
        nodes = [self.nodes[i] for i in places]
        anomalies: dict[int, NodeAnomaly] = {}
        if self.anomalies:
            at = {node: i for i, node in enumerate(nodes)}
            for old in sorted(self.anomalies, key=lambda i: (self.anomalies[i].ts_ms, i)):
                if self.nodes[old] in at:
                    anomalies[at[self.nodes[old]]] = self.anomalies[old]
        return type(self)(
            self.about,
            nodes,
            self.ts_ms[chosen],
            self.scores[chosen],
            [self.labels[i] for i in places],
            anomalies,
            [self.tiers[i] for i in places],
            *_kept(self.values, self.valued[chosen]),
        )


def verdict_columns(
    stream: Stream, decoded: Decoded, verdicts: Verdicts, anomalies: Iterable[Anomaly], labels: Sequence[Label]
) -> VerdictColumns:
    """Return a detector's verdicts on a batch.

    Args:
        stream: what the records are.
        decoded: the batch.
        verdicts: all scores of the detector.
        anomalies: of the batch, other detectors' too.
        labels: cluster and region of each record of the batch.
    """
    records = verdicts.records.tolist()
    nodes = [decoded.keys[i] for i in records]
    ts_ms = decoded.ts_ms[verdicts.records]
    told = {(each.node_id, each.ts_ms): each for each in anomalies if each.detector == verdicts.detector}
    found: dict[int, NodeAnomaly] = {}
    if told:
        for i in np.flatnonzero(verdicts.flagged).tolist():
            anomaly = told.get((nodes[i], int(ts_ms[i])))
            if anomaly is not None:
                found[i] = node_anomaly(anomaly)
    values = decoded.rows[verdicts.records]
    return VerdictColumns(
        About(stream.name, verdicts.detector, verdicts.threshold, verdicts.model_version, stream.features),
        nodes,
        ts_ms,
        verdicts.scores,
        [labels[i] for i in records],
        found,
        _tiers(stream, values),
        values,
        np.arange(len(values), dtype=np.int32),
    )


def _tiers(stream: Stream, values: NDArray[np.float32]) -> list[str]:
    if TIER not in stream.features or TIER not in stream.codes:
        return [""] * len(values)
    names = {float(code): name for name, code in stream.codes[TIER].items()}
    return [names[code] for code in values[:, stream.features.index(TIER)].tolist()]


def joined(parts: Iterable[VerdictColumns]) -> list[VerdictColumns]:
    """Put together what is about the same, later verdicts last, and keep each node's newest."""
    groups: dict[About, list[VerdictColumns]] = {}
    for part in parts:
        groups.setdefault(part.about, []).append(part)
    return [_concatenated(about, group).newest() for about, group in groups.items()]


def _concatenated(about: About, group: Sequence[VerdictColumns]) -> VerdictColumns:
    if len(group) == 1:
        return group[0]
    anomalies: dict[int, NodeAnomaly] = {}
    valued: list[NDArray[np.int32]] = []
    start = steps = 0
    for part in group:
        anomalies |= {start + i: anomaly for i, anomaly in part.anomalies.items()}
        valued.append(np.where(part.valued >= 0, part.valued + np.int32(steps), np.int32(-1)))
        start, steps = start + len(part), steps + len(part.values)
    return VerdictColumns(
        about,
        list(chain.from_iterable(part.nodes for part in group)),
        np.concatenate([part.ts_ms for part in group]),
        np.concatenate([part.scores for part in group]),
        list(chain.from_iterable(part.labels for part in group)),
        anomalies,
        list(chain.from_iterable(part.tiers for part in group)),
        np.concatenate([part.values for part in group]),
        np.concatenate(valued),
    )


def _kept(values: NDArray[np.float32], valued: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Leave out the steps that no verdict is about any more, and number the others anew."""
    told = valued >= 0
    numbered = np.where(told, np.cumsum(told, dtype=np.int32) - np.int32(1), np.int32(-1))
    return values[valued[told]], numbered
