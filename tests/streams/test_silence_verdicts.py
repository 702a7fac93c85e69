"""What a silence looks like where it leaves the scorer, and what the view is told of it."""

from collections.abc import Sequence

import numpy as np
import pytest
from fleet_samples import START_MS, Telemetry, consensus, message, scorer

from detectors.scoring import Outcome, StreamScorer
from schemas.codec import Decoded, RecordCodec
from schemas.outputs import Source, anomaly_id
from schemas.streams import CONSENSUS, NODE
from streams.verdicts import NodeVerdict, silence_verdicts


def steps(seconds: range, silent: range, **changes: str) -> list[Telemetry]:
    return [
        message(consensus(f"n{node}", second, **(changes if node == 0 else {})))
        for second in seconds
        for node in range(3)
        if node or second not in silent
    ]


def process(used: StreamScorer, messages: Sequence[Telemetry], first: int = 0) -> tuple[Decoded, Outcome]:
    decoded = RecordCodec(CONSENSUS).decode([each.key for each in messages], [each.value for each in messages])
    n = len(decoded)
    return decoded, used.process(decoded, topic="t", partitions=np.full(n, 3, np.int32), offsets=first + np.arange(n))


def view(used: StreamScorer, decoded: Decoded, outcome: Outcome) -> list[NodeVerdict]:
    assert used.silence is not None
    return silence_verdicts("consensus", decoded, used.silence, outcome.appended.returned, outcome.anomalies)


def test_all_of_the_anomaly_follows_from_the_nodes_own_records() -> None:
    used = scorer()
    first = steps(range(40), range(40, 99), cluster="beta", region="us-2")
    process(used, first)
    _, outcome = process(used, steps(range(40, 60), range(99)), len(first))
    [found] = outcome.anomalies
    at = START_MS + 39_000 + 7_000
    assert (found.id, found.ts_ms) == (anomaly_id("silence", "n0", at), at)
    assert (found.window_start_ms, found.window_end_ms) == (START_MS + 39_000, at)
    assert (found.node_id, found.cluster, found.region) == ("n0", "beta", "us-2")
    assert (found.detector, found.model_version) == ("silence", "silence-6000ms")
    assert (found.score, found.threshold, found.severity) == (7.0, 6.0, "critical")
    assert (found.kind, found.contributions) == ("member_down", ())
    assert found.source == Source("t", 3, len(first) - 3)


def test_told_by_others_or_by_its_own_return_it_is_the_same() -> None:
    one, other = scorer(), scorer()
    _, early = process(one, steps(range(60), range(40, 50)))
    alone = [each for each in steps(range(60), range(40, 50)) if each.key == b"n0"]
    _, late = process(other, alone)
    [first], [second] = early.anomalies, late.anomalies
    assert (first.id, first.score, first.ts_ms) == (second.id, second.score, second.ts_ms)


@pytest.mark.parametrize(
    ("stream", "step_ms", "gap_steps", "limit_ms"),
    [(CONSENSUS, None, 5, 6_000), (NODE, None, 5, 360_000), (CONSENSUS, 100, 5, 5_000), (CONSENSUS, None, 9, 10_000)],
)
def test_the_usual_limit_is_the_longest_gap_that_windows_carry_and_five_seconds_at_least(
    stream: object, step_ms: int | None, gap_steps: int, limit_ms: int
) -> None:
    used = scorer(stream, step_ms=step_ms, gap_steps=gap_steps, idle_ms=10**7)  # type: ignore[arg-type]
    assert used.store.rules.silence_ms == limit_ms


def test_it_can_be_switched_off() -> None:
    used = scorer(silence_ms=0)
    assert used.silence is None
    assert process(used, steps(range(60), range(40, 50)))[1].anomalies == []


def test_the_view_is_told_who_is_silent_and_when_that_is_over() -> None:
    used = scorer()
    decoded, outcome = process(used, steps(range(55), range(40, 99)))
    [silent] = view(used, decoded, outcome)
    assert (silent.node, silent.severity, silent.ts_ms) == ("n0", "critical", START_MS + 46_000)
    assert (silent.score, silent.about.threshold, silent.cluster) == (7.0, 6.0, "alpha")
    decoded, outcome = process(used, steps(range(55, 57), range(0)), 1000)
    [back] = view(used, decoded, outcome)
    assert (back.node, back.severity, back.ts_ms, back.score) == ("n0", "", START_MS + 55_000, 0.0)


def test_a_silence_that_begins_and_ends_in_a_batch_is_over_and_still_known() -> None:
    used = scorer()
    decoded, outcome = process(used, steps(range(60), range(40, 50)))
    [found] = view(used, decoded, outcome)
    assert (found.severity, found.ts_ms) == ("", START_MS + 50_000)
    assert found.anomaly is not None
    assert (found.anomaly.severity, found.anomaly.ts_ms) == ("critical", START_MS + 46_000)


def test_a_node_whose_records_come_late_is_not_shown_silent_for_longer() -> None:
    """Its records from before the silence was told arrive after it: the view must not keep the newer time."""
    used = scorer()
    kept = [message(consensus("n0", second)) for second in range(40, 44)]
    process(used, steps(range(55), range(40, 99)))
    decoded, outcome = process(used, kept, 1000)
    [back] = view(used, decoded, outcome)
    assert (back.severity, back.ts_ms) == ("", START_MS + 46_000)
