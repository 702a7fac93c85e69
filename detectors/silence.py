"""The detector `silence`: a node that stops reporting, told by event time. Its rules are in docs/silence.md.

What is missing is found where the steps are kept, in ``features.silences``; here it becomes an anomaly. All of that
anomaly follows from the node's own records: who told of the silence, and when, is not in it.
"""

from dataclasses import dataclass
from typing import Final, Literal

from features.appended import Silence
from features.rules import SilenceRules
from schemas.outputs import Anomaly, Source, anomaly_id

SHORTEST_LIMIT_MS: Final = 5_000
"""Nodes that report many times a second may pause for so long all the same: a restart of the sender takes seconds."""
USUAL_GAP_STEPS: Final = 5
"""What the usual limit goes by where no gap is set: a silence is told after six steps, however long windows carry."""
CONFIDENCE: Final = 0.75
"""That the member is down, and not what sends its telemetry: of two silences in the recorded clusters both were of a
member that was stopped or killed, which by Laplace's rule makes (2 + 1) / (2 + 2)."""


def usual_limit_ms(step_ms: int, gap_steps: int) -> int:
    """Return the limit where none is set, milliseconds: the longest gap that windows carry, and some seconds at least.

    Args:
        step_ms: nominal milliseconds between a node's steps.
        gap_steps: missing steps that are carried.
    """
    return max((gap_steps + 1) * step_ms, SHORTEST_LIMIT_MS)


@dataclass(frozen=True, slots=True)
class SilenceDetector:
    """Makes anomalies of silences.

    Attributes:
        rules: when a node is silent.
        name: what settings and anomalies call it.
        severity: of every silence. A silent member serves nobody, or nobody knows how it does; either is critical, as
            in the alerts that etcd ships for members that are down.
    """

    rules: SilenceRules
    name: str = "silence"
    severity: Literal["critical"] = "critical"

    @property
    def version(self) -> str:
        """What decides its verdicts."""
        return f"{self.name}-{self.rules.limit}ms"

    @property
    def threshold(self) -> float:
        """Longest silence that is no anomaly, seconds."""
        return self.rules.limit / 1000

    @property
    def score(self) -> float:
        """Seconds of silence at which it is told, one step above the threshold."""
        return self.rules.silent / 1000

    def told_ms(self, last_ms: int) -> int:
        """Return the event time at which a node is silent that had its last step then, milliseconds."""
        return last_ms + self.rules.silent

    def anomaly(self, silence: Silence, topic: str) -> Anomaly:
        """Make the anomaly.

        Args:
            silence: what the store found, with offsets.
            topic: where the node's records come from.
        """
        at = self.told_ms(silence.last_ms)
        return Anomaly(
            id=anomaly_id(self.name, silence.key, at),
            ts_ms=at,
            node_id=silence.key,
            cluster=silence.cluster,
            region=silence.region,
            detector=self.name,
            model_version=self.version,
            score=self.score,
            threshold=self.threshold,
            severity=self.severity,
            window_start_ms=silence.last_ms,
            window_end_ms=at,
            contributions=(),
            source=Source(topic=topic, partition=silence.partition, offset=silence.offset),
            kind="member_down",
            confidence=CONFIDENCE,
        )
