"""The figures of a replay: today's verdict beside the recorded one, and what it was made of."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.following import Followed, NodeFollower
from detectors.protocol import Expected, Scores
from detectors.scoring import severity
from schemas.outputs import Anomaly, Contribution
from streams.errors import ReplayImpossibleError
from streams.node_replay import Replayed
from vigil.explaining.figures import FieldFigures, Numbers, ReplayFigures, SilenceFigures, Status, WindowFigures
from vigil.explaining.models import ChosenModel

__all__ = ["silence_figures", "window_figures"]

EQUAL: Final = 1e-6
"""Relative difference up to which two scores are the same: another processor may round a network's otherwise."""


def window_figures(anomaly: Anomaly, model: ChosenModel, replayed: Replayed) -> tuple[ReplayFigures, WindowFigures]:
    """Put the figures of a window and of its verdict together. Raises ``ReplayImpossibleError`` without a window."""
    follower = replayed.follower
    followed = follower.window_at(anomaly.source.offset)
    if followed is None:
        raise ReplayImpossibleError(
            f"the window cannot be filled: of {anomaly.node_id}'s steps before the anomaly Kafka keeps too few, from "
            f"offset {replayed.start} on"
        )
    [judged], reasons = follower.judge(anomaly.detector, [followed]), follower.reasons(anomaly.detector, followed)
    detector = follower.detector(anomaly.detector)
    same = math.isclose(judged.score, anomaly.score, rel_tol=EQUAL) and judged.flagged
    figures = ReplayFigures(
        status=_status(model, replayed, same=same),
        reason=_reason(anomaly, model, replayed, same=same),
        model=model.place,
        model_version=model.version,
        score=judged.score,
        threshold=detector.threshold,
        flagged=judged.flagged,
        severity=severity(judged.score, detector.levels) if judged.flagged else None,
        kind=reasons.kind,
        confidence=reasons.confidence,
        expected_in_minutes=reasons.expected_in,
        contributions=reasons.contributions,
        origin=replayed.origin,
        records=replayed.records,
        learned_steps=follower.learned,
    )
    return figures, _window(follower, anomaly.detector, followed, reasons.contributions)


def _status(model: ChosenModel, replayed: Replayed, *, same: bool) -> Status:
    if not model.recorded:
        return "another model"
    if same:
        return "equal"
    return "approximate" if replayed.origin in {"seeded", "later"} else "differs"


def _reason(anomaly: Anomaly, model: ChosenModel, replayed: Replayed, *, same: bool) -> str:
    """Say what a person has to know of a replay: by which model, from where, and why it is not what was recorded."""
    learned = f"{replayed.follower.learned:,} steps of {anomaly.node_id}"
    begun = {
        "snapshot": "replayed from a snapshot that a worker saved before it",
        "beginning": "replayed from the beginning of the partition",
        "seeded": "replayed with what the detector knows of the node by now",
        "later": f"replayed from offset {replayed.start:,} on, {learned}",
    }[replayed.origin]
    if not model.recorded or same:
        return "; ".join(each for each in (begun, model.reason) if each)
    why = {
        "seeded": f"that was not quite so then: {replayed.snapshot_refused}",
        "later": f"what was learned before is missing: {replayed.snapshot_refused}; --warm-up reads more",
        "beginning": "not what was recorded: the worker began with empty windows later on, or has other settings",
        "snapshot": "not what was recorded: the worker has other settings, or a processor that rounds otherwise",
    }[replayed.origin]
    return f"{begun}; {why}"


def _window(
    follower: NodeFollower, name: str, followed: Followed, contributions: Sequence[Contribution]
) -> WindowFigures:
    batch = followed.windows
    judged = follower.judge(name, follower.windows)
    scored = {each.ts_ms: verdict for each, verdict in zip(follower.windows, judged, strict=True)}
    times, carried = batch.ts_ms.tolist(), batch.carried.tolist()
    verdicts = [None if gap else scored.get(at) for at, gap in zip(times, carried, strict=True)]
    fields, expected = follower.detector(name).fields, follower.expected(name, followed)
    return WindowFigures(
        ts_ms=times,
        carried=carried,
        scores=[None if each is None else each.score for each in verdicts],
        flagged=[None if each is None else each.flagged for each in verdicts],
        fields=_fields(fields, batch.tensor()[0], expected, contributions),
    )


def _fields(
    names: Sequence[str],
    rows: NDArray[np.float32],
    expected: Expected | None,
    contributions: Sequence[Contribution],
) -> list[FieldFigures]:
    told = {each.feature: each for each in contributions}
    order = [*told, *(each for each in names if each not in told)]
    found = []
    for name in order:
        column = names.index(name)
        low, usual, high = (
            _numbers(each[0, :, column]) for each in expected or [np.full((1, *rows.shape), np.nan)] * 3
        )
        one = told.get(name)
        found.append(
            FieldFigures(
                name=name,
                values=[float(value) for value in rows[:, column]],
                expected_low=low,
                usual=usual,
                expected_high=high,
                share=0.0 if one is None else one.share,
                direction=None if one is None else _direction(one, usual[-1]),
            )
        )
    return found


def _direction(one: Contribution, usual: float | None) -> Literal["up", "down"] | None:
    """Tell on which side of what is usual a contribution's value is, where the detector does not say so itself."""
    if one.direction is not None or one.value is None or usual is None or math.isclose(one.value, usual):
        return one.direction
    return "up" if one.value > usual else "down"


def _numbers(values: Scores) -> Numbers:
    return [None if math.isnan(value) else value for value in values.tolist()]


def silence_figures(anomaly: Anomaly, model: ChosenModel, replayed: Replayed) -> tuple[ReplayFigures, SilenceFigures]:
    """Put the figures of a silence and of what is told of it today together."""
    follower, last_ms = replayed.follower, anomaly.window_start_ms
    detector = model.scorer.silence
    told = next((each for each in follower.silences if each.silence.last_ms == last_ms), None)
    again = None if detector is None or told is None else detector.anomaly(told.silence, anomaly.source.topic)
    same = again is not None and again.id == anomaly.id
    steps = [at for at, _ in follower.steps if at <= last_ms]
    gaps = [(after - before) / 1000 for before, after in pairwise(sorted(steps))]
    figures = ReplayFigures(
        status=_status(model, replayed, same=same),
        reason=_reason(anomaly, model, replayed, same=same),
        model=model.place,
        model_version=model.version,
        score=None if again is None else again.score,
        threshold=None if detector is None else detector.threshold,
        flagged=again is not None,
        severity=None if again is None else again.severity,
        kind=None if again is None else again.kind,
        confidence=None if again is None else again.confidence,
        origin=replayed.origin,
        records=replayed.records,
        learned_steps=len(steps),
    )
    return figures, SilenceFigures(
        last_ms=last_ms,
        limit_s=anomaly.threshold,
        told_ms=anomaly.ts_ms,
        certain_by=None if told is None else told.told_by,
        certain_ms=None if told is None else told.told_ms,
        back_ms=min((at for at in follower.returns if at > last_ms), default=None),
        reached_ms=follower.reached_ms,
        steps_ms=sorted(steps),
        usual_gap_s=median(gaps) if gaps else None,
        longest_gap_s=max(gaps, default=None),
    )
