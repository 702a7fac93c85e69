"""What the codec makes of good and bad records, one batch at a time."""

import json
import threading

import numpy as np
import pytest
from wire_records import CONSENSUS_RECORD, CONSENSUS_ROW, MALFORMED, body, literal

from schemas import CONSENSUS, LINK, NODE, ErrorCode, RecordCodec, Rejection, encode
from schemas.metrics import ConsensusMetrics


def decode_one(value, key=b"n0", codec=None):
    return (codec or RecordCodec(CONSENSUS)).decode([key], [value])


def test_a_good_record_becomes_a_row_in_the_contracts_order():
    decoded = decode_one(body())
    assert len(decoded) == 1
    assert decoded.rejections == []
    assert decoded.keys == ["n0"]
    assert decoded.clusters == ["etcd-a"]
    assert decoded.regions == ["lab"]
    assert decoded.ts_ms.tolist() == [1_795_423_734_049]
    assert decoded.index.tolist() == [0]
    np.testing.assert_array_equal(decoded.rows, np.array([CONSENSUS_ROW], dtype=np.float32))
    assert (decoded.rows.dtype, decoded.ts_ms.dtype, decoded.index.dtype) == (np.float32, np.int64, np.int64)


def test_an_empty_batch_gives_empty_arrays_of_the_right_shape():
    decoded = RecordCodec(CONSENSUS).decode([], [])
    assert len(decoded) == 0
    assert decoded.rows.shape == (0, 12)
    assert decoded.rejections == []


def test_missing_cluster_and_region_are_none():
    value = json.dumps({k: v for k, v in CONSENSUS_RECORD.items() if k != "cluster"} | {"region": None}).encode()
    decoded = decode_one(value)
    assert (decoded.clusters, decoded.regions) == ([None], [None])


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_record_is_rejected_with_its_code_and_a_text_that_names_it(kind):
    code, value, named = MALFORMED[kind]
    decoded = decode_one(value)
    assert len(decoded) == 0
    (rejection,) = decoded.rejections
    assert (rejection.index, rejection.code) == (0, ErrorCode(code))
    assert named in rejection.text
    assert len(rejection.text) < 400


def test_the_malformed_records_cover_every_code_but_that_of_a_missing_key():
    assert {code for code, _, _ in MALFORMED.values()} == set(ErrorCode) - {ErrorCode.MISSING_KEY}
    assert len(MALFORMED) >= 60


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, ErrorCode.MISSING_KEY),
        (b"", ErrorCode.MISSING_KEY),
        (b"\xff\xfe", ErrorCode.INVALID_UTF8),
        (b'"n0"', ErrorCode.KEY_MISMATCH),
        (b"n0 ", ErrorCode.KEY_MISMATCH),
        (b"n" * 100_000, ErrorCode.KEY_MISMATCH),
    ],
)
def test_a_wrong_key_is_rejected(key, code):
    (rejection,) = decode_one(body(), key=key).rejections
    assert rejection.code == code
    assert "node_id" in rejection.text


def test_all_kinds_in_one_batch_leave_the_good_records_between_them_untouched():
    good, keys, values = [], [], []
    for place, (_, value, _) in enumerate(MALFORMED.values()):
        good.append(len(values))
        keys += [b"n0", b"n0"]
        values += [body(queue_depth=place), value]
    decoded = RecordCodec(CONSENSUS).decode(keys, values)
    assert decoded.index.tolist() == good
    assert decoded.rows[:, 0].tolist() == list(range(len(MALFORMED)))
    assert [rejection.index for rejection in decoded.rejections] == [place + 1 for place in good]
    assert [rejection.code.value for rejection in decoded.rejections] == [code for code, _, _ in MALFORMED.values()]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(body(queue_depth=4.0, ts_ms=1_795_423_734_049.0), id="whole floats are counts"),
        pytest.param(body(v=1.0), id="so is the version"),
        pytest.param(body(unknown="x", nested={"a": [1, {"b": None}]}), id="unknown fields are ignored"),
        pytest.param(literal("queue_depth", '"x", "queue_depth": 4'), id="of a repeated field the last one counts"),
        pytest.param(b" \r\n" + body() + b"\n ", id="white space around the document"),
        pytest.param(json.dumps(CONSENSUS_RECORD, indent=4).encode(), id="indented"),
        pytest.param(body(region="München", note="日本"), id="any characters"),
        pytest.param(literal("extra", "[" * 31 + "]" * 31), id="nesting up to the limit"),
        pytest.param(literal("extra", '"' + "[{" * 500 + '"'), id="brackets in text are no nesting"),
        pytest.param(literal("extra", '"\\"' + "[{" * 500 + '\\\\"'), id="nor behind an escaped quote"),
        pytest.param(body(az="eu-1a", split="train", label=None), id="labels of a recording"),
    ],
)
def test_what_is_unusual_but_right_gives_the_same_row(value):
    decoded = decode_one(value)
    assert decoded.rejections == []
    np.testing.assert_array_equal(decoded.rows, np.array([CONSENSUS_ROW], dtype=np.float32))


def test_equal_quantiles_and_limits_themselves_are_valid():
    decoded = decode_one(body(latency_p50=7.0, latency_p95=7.0, latency_p99=7.0, queue_depth=10**15, active_nodes=0))
    assert decoded.rejections == []
    assert decoded.rows[0, 0] == np.float32(1e15)


def test_a_record_of_exactly_the_limit_passes_and_one_byte_more_does_not():
    value = body()
    assert len(decode_one(value, codec=RecordCodec(CONSENSUS, max_bytes=len(value)))) == 1
    (rejection,) = decode_one(value, codec=RecordCodec(CONSENSUS, max_bytes=len(value) - 1)).rejections
    assert rejection.code == ErrorCode.TOO_LARGE


def test_rates_and_percents_of_a_node_have_their_limits():
    node = dict.fromkeys(NODE.features, 0.5) | {
        "v": 1,
        "ts_ms": 1,
        "node_id": "n0",
        "sla_violations": 0,
        "connection_failures": 0,
        "health_check_failures": 0,
        "dwcp_mode": "fallback",
        "network_tier": "tier3",
    }
    codec = RecordCodec(NODE)
    good = decode_one(json.dumps(node).encode(), codec=codec)
    assert good.rows[0, -2:].tolist() == [2.0, 2.0]
    for field, value in [("error_rate", 1.01), ("packet_loss_rate", -0.1), ("cpu_usage", 100.5), ("memory_usage", -1)]:
        (rejection,) = decode_one(json.dumps(node | {field: value}).encode(), codec=codec).rejections
        assert rejection.code == ErrorCode.OUT_OF_RANGE
        assert field in rejection.text


def link(node="fra", peer="ams"):
    counts = ("bytes_tx", "bytes_rx", "retransmits", "congestion_window", "queue_depth")
    texts = {"link_type": "edge", "dwcp_mode": "turbo", "network_tier": "economy", "transport_type": "quic"}
    numbers = {name: 0.25 for name in LINK.features if name not in texts}
    header = {"v": 1, "ts_ms": 1, "node_id": node, "peer_id": peer}
    return json.dumps(header | numbers | dict.fromkeys(counts, 3) | texts).encode()


def test_a_links_key_is_both_ids():
    decoded = decode_one(link(), key=b"fra>ams", codec=RecordCodec(LINK))
    assert decoded.keys == ["fra>ams"]
    assert decoded.rows[0].tolist() == [3, 0.25, 0.25, 0.25, 3, 3, 0.25, 3, 3, 3, 1, 2, 2]


@pytest.mark.parametrize(
    ("value", "key", "code"),
    [
        (link(), b"fra", ErrorCode.KEY_MISMATCH),
        (link(), b"ams>fra", ErrorCode.KEY_MISMATCH),
        (link("a>b", "c"), b"a>b>c", ErrorCode.INVALID_ID),
        (link("a", "b>c"), b"a>b>c", ErrorCode.INVALID_ID),
        (link("", "c"), b">c", ErrorCode.INVALID_ID),
    ],
)
def test_a_links_key_cannot_be_read_in_two_ways(value, key, code):
    (rejection,) = decode_one(value, key=key, codec=RecordCodec(LINK)).rejections
    assert rejection.code == code


def test_bombs_do_not_overrun_a_threads_small_stack():
    rejections: list[Rejection] = []

    def work():
        codec = RecordCodec(CONSENSUS, max_bytes=6_000_000)
        bombs = [b"[" * 5_000_000, b'{"a":' * 1_000_000, b'{"a":[' * 100_000, literal("x", "[" * 9_000 + "]" * 9_000)]
        rejections.extend(codec.decode([b"n0"] * len(bombs), bombs).rejections)

    before = threading.stack_size(192 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert [rejection.code for rejection in rejections] == [ErrorCode.TOO_DEEP] * 4


def test_one_flat_batch_with_a_bomb_that_hides_in_the_sum_of_braces_is_still_safe():
    values = [b'{"a":' * 1_000, *([b'"'] * 999)]  # as many braces as records
    decoded = RecordCodec(CONSENSUS).decode([b"n0"] * 1_000, values)
    assert decoded.rejections[0].code == ErrorCode.TOO_DEEP
    assert len(decoded.rejections) == 1_000


def test_more_ids_than_the_cache_holds_change_nothing(monkeypatch):
    monkeypatch.setattr("schemas.codec._MAX_NAMES", 8)
    codec = RecordCodec(CONSENSUS)
    ids = [f"n{number}" for number in range(40)] * 2
    decoded = codec.decode([one.encode() for one in ids], [body(node_id=one) for one in ids])
    assert decoded.keys == ids


def test_keys_and_values_must_be_of_one_length():
    with pytest.raises(ValueError, match="2 keys and 1 values"):
        RecordCodec(CONSENSUS).decode([b"a", b"b"], [b"{}"])


def test_a_codec_needs_room_for_a_record():
    with pytest.raises(ValueError, match="max_bytes is 0"):
        RecordCodec(CONSENSUS, max_bytes=0)


def test_an_encoded_message_is_decoded_to_the_same_values():
    record = ConsensusMetrics(**{name: item for name, item in CONSENSUS_RECORD.items() if name != "v"})
    decoded = decode_one(encode(record))
    np.testing.assert_array_equal(decoded.rows, np.array([CONSENSUS_ROW], dtype=np.float32))
