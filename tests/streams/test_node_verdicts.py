import msgspec
import numpy as np
from fleet_samples import START_MS, fleet, scorer
from hypothesis import given
from hypothesis import strategies as st

from detectors.scoring import Verdicts
from schemas.codec import RecordCodec
from schemas.streams import CONSENSUS
from streams.verdicts import NodeAnomaly, NodeVerdict, newest_verdicts


def test_a_batch_is_reduced_to_the_newest_verdict_and_the_newest_anomaly_of_each_node() -> None:
    messages = fleet(3, range(40), faults={("n1", 31): 130.0, ("n2", 39): 60.0})
    decoded = RecordCodec(CONSENSUS).decode([each.key for each in messages], [each.value for each in messages])
    count = len(decoded)
    outcome = scorer().process(
        decoded, topic="t", partitions=np.zeros(count, np.int32), offsets=np.arange(count, dtype=np.int64)
    )
    found = {each.node: each for each in newest_verdicts("consensus", decoded, outcome.verdicts, outcome.anomalies)}
    assert set(found) == {"n0", "n1", "n2"}
    assert {each.ts_ms for each in found.values()} == {START_MS + 39_000}
    assert (found["n0"].score, found["n0"].severity, found["n0"].anomaly) == (10.0, "", None)
    assert found["n1"].severity == ""
    assert found["n1"].anomaly is not None
    assert (found["n1"].anomaly.ts_ms, found["n1"].anomaly.severity) == (START_MS + 33_000, "critical")
    assert (found["n2"].severity, found["n2"].ratio, found["n2"].cluster) == ("info", 1.2, "alpha")


def verdict(at: int, anomaly: int | None) -> NodeVerdict:
    return NodeVerdict(
        stream="s",
        detector="d",
        node="n",
        ts_ms=at,
        score=float(at),
        threshold=1.0,
        ratio=float(at),
        severity="",
        model_version="v",
        cluster="",
        region="",
        anomaly=None if anomaly is None else NodeAnomaly(anomaly, "id", 1.0, "info"),
    )


@given(st.lists(st.tuples(st.integers(0, 20), st.none() | st.integers(0, 20)), min_size=1))
def test_merging_keeps_the_newest_verdict_and_the_newest_anomaly_in_any_order(
    history: list[tuple[int, int | None]],
) -> None:
    merged = verdict(*history[0])
    for each in history[1:]:
        merged = merged.merged(verdict(*each))
    assert merged.ts_ms == max(at for at, _ in history)
    newest = max((at for _, at in history if at is not None), default=None)
    assert (merged.anomaly.ts_ms if merged.anomaly else None) == newest


def test_a_verdict_without_anomaly_says_nothing_of_one_on_the_wire() -> None:
    assert b"anomaly" not in msgspec.json.encode(verdict(1, None))


def test_the_ratio_of_a_tiny_threshold_is_still_a_number_that_json_knows() -> None:
    messages = fleet(1, range(30))
    decoded = RecordCodec(CONSENSUS).decode([each.key for each in messages], [each.value for each in messages])
    verdicts = Verdicts("d", "v", 5e-324, np.array([29]), np.array([10.0]), np.array([True]))
    [found] = newest_verdicts("consensus", decoded, [verdicts], [])
    assert found.ratio == 1e300
