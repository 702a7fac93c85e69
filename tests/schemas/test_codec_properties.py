"""What holds for every batch, whatever its bytes."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from wire_records import CONSENSUS_RECORD, MALFORMED, body

from schemas import COMPRESSION, CONSENSUS, LINK, NODE, RecordCodec, encode
from schemas.generate import json_schema
from schemas.metrics import ConsensusMetrics

CODECS = {stream.name: RecordCodec(stream) for stream in (CONSENSUS, NODE, LINK, COMPRESSION)}
VALIDATOR = Draft202012Validator(json_schema(ConsensusMetrics))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
damaged = st.builds(
    lambda value, place, junk: value[:place] + junk + value[place + len(junk) :],
    st.just(body()),
    st.integers(0, len(body())),
    st.binary(max_size=4) | st.sampled_from([b"NaN", b"1e999", b"[" * 40, b"{" * 40, b'"', b"\\ud800", b"-"]),
)
changed = st.builds(
    lambda changes: json.dumps(CONSENSUS_RECORD | changes).encode(),
    st.dictionaries(st.sampled_from(list(CONSENSUS_RECORD)), json_values, max_size=2),
)
values = st.one_of(
    st.just(body()),
    st.none(),
    st.binary(max_size=60),
    damaged,
    changed,
    json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from([value for _, value, _ in MALFORMED.values() if value is None or len(value) < 10_000]),
)
keys = st.sampled_from([b"n0"] * 6 + [b"n1", b"", b"\xff", None]) | st.binary(max_size=6)
batches = st.lists(st.tuples(keys, values), max_size=12)


def decode(batch, name="consensus"):
    return CODECS[name].decode([key for key, _ in batch], [value for _, value in batch])


def outcomes(batch, name="consensus"):
    """Give what became of each record, comparable between ways of cutting."""
    decoded = decode(batch, name)
    found = {rejection.index: (rejection.code, rejection.text) for rejection in decoded.rejections}
    for place, index in enumerate(decoded.index.tolist()):
        row = decoded.rows[place].tobytes()
        header = (decoded.keys[place], decoded.clusters[place], decoded.regions[place], int(decoded.ts_ms[place]))
        found[index] = (*header, row)
    return [found[index] for index in range(len(batch))]


@given(batches, st.sampled_from(list(CODECS)))
def test_every_record_is_decoded_or_rejected_exactly_once_and_in_order(batch, name):
    decoded = decode(batch, name)
    kept, rejected = decoded.index.tolist(), [rejection.index for rejection in decoded.rejections]
    assert all(a < b for a, b in pairwise(kept))
    assert all(a < b for a, b in pairwise(rejected))
    assert sorted(kept + rejected) == list(range(len(batch)))
    lengths = (decoded.keys, decoded.ts_ms, decoded.rows, decoded.clusters, decoded.regions)
    assert {len(each) for each in lengths} == {len(decoded)}
    assert np.isfinite(decoded.rows).all()
    for rejection in decoded.rejections:
        rejection.text.encode()
        assert rejection.text.isprintable()


@given(batches, st.data())
def test_the_result_does_not_depend_on_how_the_log_is_cut_into_batches(batch, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(batch)), max_size=4)))
    edges = [0, *cuts, len(batch)]
    pieces = [outcome for a, b in pairwise(edges) for outcome in outcomes(batch[a:b])]
    assert pieces == outcomes(batch)


@given(values, keys, st.integers(0, 3))
def test_one_bad_record_never_touches_the_others(value, key, place):
    good = [(b"n0", body(queue_depth=number)) for number in range(3)]
    mixed = [*good[:place], (key, value), *good[place:]]
    assert [outcome for index, outcome in enumerate(outcomes(mixed)) if index != place] == outcomes(good)


@given(changed)
def test_a_record_is_accepted_if_and_only_if_its_json_schema_and_the_order_of_quantiles_say_so(value):
    try:
        record = json.loads(value, parse_constant=lambda word: f"not JSON: {word}")
        encodes = all(not isinstance(item, str) or item.encode() is not None for item in record.values())
    except UnicodeEncodeError:
        encodes = False
    node_id = record.get("node_id")
    key = node_id.encode(errors="replace") if isinstance(node_id, str) else b"n0"
    valid = encodes and VALIDATOR.is_valid(record) and not str(node_id).endswith("\n")
    ordered = valid and record["latency_p50"] <= record["latency_p95"] <= record["latency_p99"]
    assert len(CODECS["consensus"].decode([key], [value])) == int(ordered)


counts = st.integers(0, 10**15)
latencies = st.lists(st.floats(0, 1e15), min_size=3, max_size=3).map(sorted)
ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=255)
names = st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=255)
records = st.builds(
    lambda quantiles, **fields: ConsensusMetrics(
        latency_p50=quantiles[0], latency_p95=quantiles[1], latency_p99=quantiles[2], **fields
    ),
    latencies,
    ts_ms=st.integers(1, 4_102_444_799_999),
    node_id=ids,
    cluster=names,
    region=names,
    queue_depth=counts,
    proposals_pending=counts,
    proposals_committed=counts,
    leader_changes=counts,
    quorum_size=st.integers(1, 10**15),
    active_nodes=counts,
    network_tier=st.sampled_from(["lan", "wan"]),
    dwcp_mode=st.sampled_from(["optimistic", "normal", "conservative"]),
    consensus_type=st.sampled_from(["raft", "pbft", "hotstuff"]),
)


@given(st.lists(records, max_size=5))
def test_what_is_encoded_is_decoded_to_the_same_values(batch):
    decoded = CODECS["consensus"].decode([record.node_id.encode() for record in batch], [encode(r) for r in batch])
    assert decoded.rejections == []
    assert decoded.keys == [record.node_id for record in batch]
    assert decoded.clusters == [record.cluster for record in batch]
    assert decoded.regions == [record.region for record in batch]
    assert decoded.ts_ms.tolist() == [record.ts_ms for record in batch]
    for row, record in zip(decoded.rows, batch, strict=True):
        for cell, name in zip(row, CONSENSUS.features, strict=True):
            value = getattr(record, name)
            assert cell == np.float32(CONSENSUS.codes[name][value] if name in CONSENSUS.codes else value)


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_record_reads_the_same_alone_as_in_any_company(kind):
    _, value, _ = MALFORMED[kind]
    alone = outcomes([(b"n0", value)])
    company = [(b"n0", body()), (b"n0", body(region="é")), (b"n0", None), (b"n0", value)]
    assert outcomes(company)[-1:] == alone
