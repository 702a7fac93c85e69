"""The figures of an explanation, as `vigil explain --json` prints them."""

from typing import Literal

from msgspec import Struct

from schemas.outputs import Anomaly, Contribution

__all__ = [
    "Explanation",
    "FieldFigures",
    "Numbers",
    "ReplayFigures",
    "SearchFigures",
    "SilenceFigures",
    "Status",
    "WindowFigures",
]

Numbers = list[float | None]
Status = Literal["equal", "approximate", "differs", "another model", "impossible"]


class SearchFigures(Struct, frozen=True):
    """Where the anomaly was found.

    Attributes:
        topic: of the anomalies.
        partitions: of it.
        records: committed ones that were looked at until it was found.
        alert: whether the fingerprint of an alert was given: the anomaly is the one that it began with.
        seconds: how long it took.
    """

    topic: str
    partitions: int
    records: int
    alert: bool
    seconds: float


class ReplayFigures(Struct, frozen=True):
    """The verdict that a model gives today on the same telemetry.

    Attributes:
        status: "equal" to what was recorded; "approximate", because what the detector had learned until then is not
            known; "differs", though it is; by "another model"; or "impossible".
        reason: in words, what a person has to know of the status.
        model: where the model is from: "configured", "shipped", or the path that was given; ``None`` without replay.
        model_version: of it; the fields below are its verdict.
        score, threshold, flagged: an anomaly has a score above the threshold that the detector's second look bears out.
        severity: ``None`` where it is no anomaly.
        kind, confidence, expected_in_minutes, contributions: as in an anomaly.
        origin: where the replay started: at a "snapshot" of a worker, at the "beginning" of the partition, or later:
            "seeded" with what a later snapshot says the detector learned, or "later" without.
        records: of telemetry that were read.
        learned_steps: steps of the node that the detector learned from on the way.
        seconds: how long it took.
    """

    status: Status
    reason: str
    model: str | None = None
    model_version: str | None = None
    score: float | None = None
    threshold: float | None = None
    flagged: bool | None = None
    severity: str | None = None
    kind: str | None = None
    confidence: float | None = None
    expected_in_minutes: tuple[float, float] | None = None
    contributions: tuple[Contribution, ...] = ()
    origin: str | None = None
    records: int = 0
    learned_steps: int = 0
    seconds: float = 0.0


class FieldFigures(Struct, frozen=True):
    """One field over the window, in its unit.

    Attributes:
        name: of the field.
        values: a step each; of a carried one, the value that it repeats.
        expected_low, usual, expected_high: what was expected of each step; ``None`` where the detector does not say.
        share: of the score, 0 where the field made none of it.
        direction: "up" or "down", the side of the usual value on which the value that tells most is.
    """

    name: str
    values: list[float]
    expected_low: Numbers
    usual: Numbers
    expected_high: Numbers
    share: float
    direction: Literal["up", "down"] | None


class WindowFigures(Struct, frozen=True):
    """The anomaly's window, oldest step first.

    Attributes:
        ts_ms: event times of the steps, Unix epoch in milliseconds.
        carried: whether a step was missing and repeats the one before.
        scores: of the windows that end with each step, ``None`` where there was none.
        flagged: whether those were anomalies, ``None`` likewise.
        fields: those that made the score first, the largest share first; then the others.
    """

    ts_ms: list[int]
    carried: list[bool]
    scores: Numbers
    flagged: list[bool | None]
    fields: list[FieldFigures]


class SilenceFigures(Struct, frozen=True):
    """What there is to say of a node that reports nothing.

    Attributes:
        last_ms: event time of its last step.
        limit_s: longest silence that is no anomaly, seconds.
        told_ms: event time of the anomaly.
        certain_by, certain_ms: the node with whose record it was certain, and that record's event time; ``None`` where
            the replay did not come to it.
        back_ms: event time with which the node was back; ``None`` when it is not, as far as was read.
        reached_ms: how far event time of the partition came in what was read.
        steps_ms: event times of the node's last steps before the silence, oldest first.
        usual_gap_s, longest_gap_s: median and largest time between two of them, seconds; ``None`` with less than two.
    """

    last_ms: int
    limit_s: float
    told_ms: int
    certain_by: str | None
    certain_ms: int | None
    back_ms: int | None
    reached_ms: int
    steps_ms: list[int]
    usual_gap_s: float | None
    longest_gap_s: float | None


class Explanation(Struct, frozen=True):
    """All that is known of one anomaly.

    Attributes:
        anomaly: as it was published.
        runbook: link or path of what to do about its kind.
        search: where it was found.
        replay: what a model says of the same telemetry today.
        window: ``None`` where there is no window of values: a silence, or telemetry that is gone.
        silence: of a silence.
    """

    anomaly: Anomaly
    runbook: str
    search: SearchFigures
    replay: ReplayFigures
    window: WindowFigures | None = None
    silence: SilenceFigures | None = None
