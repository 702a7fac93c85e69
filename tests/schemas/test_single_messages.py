"""Single messages: ids, encoding, decoding."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_records import CONSENSUS_RECORD, body

from schemas import (
    Anomaly,
    ConsensusMetrics,
    Contribution,
    ErrorCode,
    Incident,
    RecordError,
    Source,
    alert_fingerprint,
    alert_id,
    anomaly_id,
    decode_anomaly,
    decode_record,
    encode,
)

ANOMALY = Anomaly(
    id=anomaly_id("consensus", "n0", 1_795_423_734_049),
    ts_ms=1_795_423_734_049,
    node_id="fra>ams",
    detector="consensus",
    model_version="consensus-1a2b3c4d",
    score=41.3,
    threshold=12.5,
    severity="critical",
    window_start_ms=1_795_423_705_049,
    window_end_ms=1_795_423_734_049,
    contributions=(Contribution("latency_p99", 0.6, 88.0, 6.0, 9.0), Contribution("queue_depth", 0.2)),
    source=Source("dwcp.metrics.link", 3, 17),
)


def test_an_anomaly_survives_the_wire():
    assert decode_anomaly(encode(ANOMALY)) == ANOMALY


def test_an_anomalys_fields_stand_in_the_contracts_order():
    order = "v id ts_ms node_id cluster region detector model_version score threshold severity window_start_ms"
    order += " window_end_ms contributions source kind confidence expected_in_minutes"
    assert list(json.loads(encode(ANOMALY))) == order.split()


def test_ids_are_pinned_because_consumers_keep_them():
    assert anomaly_id("consensus", "etcd-a-n0", 1_795_423_734_049) == "09f8b5c9462ff052d67d5e3b228abe70"
    assert alert_fingerprint("cluster:etcd-a", 1_795_423_734_049) == "1e7382540f93b15670a3f031bc49fa28"
    assert alert_id("0f" * 16, 2) == "4643b315d32d33bdebf34c01ca0f8808"


@given(st.tuples(st.text(), st.text(), st.integers(0)), st.tuples(st.text(), st.text(), st.integers(0)))
def test_different_verdicts_have_different_ids(one, other):
    assert (anomaly_id(*one) == anomaly_id(*other)) == (one == other)


def test_texts_that_run_together_have_different_ids():
    assert anomaly_id("a", "1:b", 1) != anomaly_id("a1", ":b", 1)
    assert anomaly_id("ab", "c", 1) != anomaly_id("a", "bc", 1)
    assert anomaly_id("a", "b1", 2) != anomaly_id("a", "b", 12)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, ErrorCode.TOMBSTONE),
        (b"[]", ErrorCode.NOT_OBJECT),
        (b'{"a":' * 5_000, ErrorCode.TOO_DEEP),
        (encode(ANOMALY).replace(b'"v":1', b'"v":2'), ErrorCode.UNKNOWN_VERSION),
        (encode(ANOMALY).replace(b'"critical"', b'"fatal"'), ErrorCode.UNKNOWN_VALUE),
        (encode(ANOMALY).replace(b"41.3", b"NaN"), ErrorCode.NOT_FINITE),
        (encode(ANOMALY).replace(b'"share":0.6', b'"share":"much"'), ErrorCode.WRONG_TYPE),
        (encode(ANOMALY).replace(b'"source":{', b'"source":7,"was":{'), ErrorCode.WRONG_TYPE),
    ],
)
def test_what_is_no_anomaly_is_refused_with_a_code(value, code):
    with pytest.raises(RecordError) as raised:
        decode_anomaly(value)
    assert raised.value.code == code
    assert str(raised.value).startswith(f"{code}: ")


def test_a_single_metrics_record_is_checked_like_a_batch():
    record = decode_record(ConsensusMetrics, body(queue_depth=4.0))
    assert record == ConsensusMetrics(**CONSENSUS_RECORD)
    with pytest.raises(RecordError, match=r"unordered-quantiles: latency_p50 is 8\.0"):
        decode_record(ConsensusMetrics, body(latency_p50=8.0))
    with pytest.raises(RecordError, match="too-large"):
        decode_record(ConsensusMetrics, body(), max_bytes=10)


def test_an_open_incident_has_no_end():
    incident = Incident(node_id="n0", start_ms=5, kind="disk_degradation", severity="critical")
    assert decode_record(Incident, encode(incident)).end_ms is None
    with pytest.raises(RecordError, match="missing-field: start_ms"):
        decode_record(Incident, b'{"v":1,"node_id":"n0","kind":"x","severity":"y"}')


def test_messages_cannot_be_changed_by_those_they_are_handed_to():
    with pytest.raises(AttributeError):
        ANOMALY.score = 0.0  # type: ignore[misc]
    assert msgspec.structs.replace(ANOMALY, score=0.0).score == 0.0
